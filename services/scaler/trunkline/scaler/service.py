"""The scaler's loop: look at everything, decide purely, act by name; events only wake it.

What a death between any two steps leaves: nothing that the next look does not show. A worker that was
created is listed by the cluster, one that was asked to drain says so in its claim, one that has
drained is still there to be deleted. Names are deterministic, so a creation that is repeated is
refused. An effect that comes late (this process was stopped, and another decides meanwhile) does no
harm either: a drain names an incarnation, a deletion a worker that had drained, which is one way,
and a surplus worker is drained like any other.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence

from trunkline.bus.ports import Publisher, Table
from trunkline.contracts import records, spec
from trunkline.contracts.wards import Wards
from trunkline.runtime import backoff
from trunkline.runtime.clock import Clock
from trunkline.runtime.metrics import Sample
from trunkline.scaler.core import plan, showing, sight
from trunkline.scaler.core.decision import decide
from trunkline.scaler.core.eligibility import Eligibility
from trunkline.scaler.core.plan import Phase, Seen
from trunkline.scaler.core.quiet import Quiet
from trunkline.scaler.core.sight import Signs
from trunkline.scaler.core.standby import Standby
from trunkline.scaler.counting import Counting
from trunkline.scaler.drains import Drains
from trunkline.scaler.explaining import Explaining
from trunkline.scaler.giving_back import Deliveries
from trunkline.scaler.hands import Hands
from trunkline.scaler.ports import (
    ANYWHERE,
    Cluster,
    ClusterUnavailableError,
    ClusterView,
    Gone,
    Node,
    Worker,
)
from trunkline.scaler.presence import Presence
from trunkline.scaler.reaper import DataConnection, Reaper
from trunkline.scaler.settings import Settings
from trunkline.scaler.status import Status
from trunkline.scaler.telling import Telling
from trunkline.scaler.unclaimed import Leases, Unclaimed
from trunkline.scaler.views import Measure, Views

log = logging.getLogger(__name__)

_REPEAT_S = 0.25
"""Seconds between looks while somebody was asked to drain and has not answered."""
_PACE_S = 0.01
"""The least between two looks, so that a crowd of events makes one round."""
_REST = 3
"""Times a round's own time."""
_PAUSE_S = 1.0
"""The most that a round leaves to all else before the next one."""
_PROBLEM_MAX = 300


class Scaler:
    """Keeps each pipeline's workers at what its spec, its jobs and the nodes ask for."""

    def __init__(
        self,
        config: Settings,
        cluster: Cluster,
        wards: Wards,
        *,
        data: DataConnection,
        data_publisher: Publisher,
        ctl_publisher: Publisher,
        pipelines: Table[records.Pipeline],
        jobs: Table[records.Job],
        scaling: Table[records.Scaling],
        measure: Measure,
        deliveries: Deliveries,
        leases: Leases,
        clock: Clock,
    ) -> None:
        self._config, self._cluster, self._clock, self._data = config, cluster, clock, data
        self._woken = asyncio.Event()
        self._counting, wake = Counting(self._is_known), self._woken.set
        self._views = Views(pipelines, jobs, measure, wake=wake, gauge_s=config.gauge_s)
        telling = Telling(ctl_publisher)
        self._explaining = Explaining(
            data,
            data_publisher,
            telling,
            wards,
            clock=clock,
            live=self._views.live,
            wake=wake,
        )
        self._reaper = Reaper(
            data,
            data_publisher,
            telling,
            wards,
            clock=clock,
            deliveries=deliveries,
            live=self._views.live,
            wake=wake,
            told=self._explaining.heard,
            counting=self._counting,
        )
        self._unclaimed = Unclaimed(
            data,
            leases=leases,
            jobs=self._views.live_jobs,
            living=self._reaper.living,
            lost=self._reaper.lost,
        )
        self._drains = Drains(data, wards, self._reaper.claim, clock)
        self._hands = Hands(
            cluster,
            self._drains,
            wards,
            clock,
            at_once=config.actions,
            wake=wake,
            counting=self._counting,
        )
        self._presence = Presence(self._reaper, self._drains, self._hands, self._explaining, clock)
        self._status = Status(scaling, ctl_publisher, clock)
        self._standby: dict[str, Standby] = {}
        self._quiet = Quiet()
        self._versions: dict[str, int] = {}
        """Of each pipeline, as they were decided last."""
        self.problems: Sequence[str] = ("the scaler has not seen all there is yet",)
        """What keeps it from its work, in sentences for people."""

    def samples(self) -> Iterator[Sample]:
        """Yield what is counted and was decided; a source of metrics."""
        return self._counting.samples(self._status.latest)

    async def run(self) -> None:
        """Scale and reap for ever."""
        ends = self._data.on_reconnect(self._presence.hear_anew)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._reaper.run(), name="reaper")
                tasks.create_task(self._views.follow_pipelines(), name="follow-pipelines")
                tasks.create_task(self._views.follow_jobs(), name="follow-jobs")
                tasks.create_task(self._views.follow_gauges(), name="follow-gauges")
                await self._views.loaded()
                status = self._status.write_forever(frozenset(self._views.names))
                tasks.create_task(status, name="status")
                await self._reaper.loaded()
                tasks.create_task(self._follow_cluster(), name="follow-cluster")
                tasks.create_task(self._unclaimed.run(), name="unclaimed")
                log.info("ready", extra={"pipelines": len(self._views.names)})
                await self._reconcile_forever(tasks)
        finally:
            ends()

    # --- look -------------------------------------------------------------------------------------

    async def _follow_cluster(self) -> None:
        async for event in self._cluster.watch():
            if isinstance(event, Gone):
                await self._presence.bury(event.worker, event.reason, event.cause, told=True)
            self._woken.set()

    async def _reconcile_forever(self, tasks: asyncio.TaskGroup) -> None:
        failures = 0
        while True:
            self._woken.clear()
            began_s = self._clock.monotonic_s()
            try:
                view = await self._cluster.look()
            except ClusterUnavailableError as error:
                failures += 1
                self.problems = (str(error),)
                self._reaper.listed(None)
                self._counting.round_failed()
                log.warning("cluster does not answer", extra={"reason": str(error)})
                await self._sleep(backoff.delay_s(failures, most_s=self._config.resync_s))
                continue
            failures = 0
            self.problems = ()
            await self._presence.look(view)
            await self._drains.repeat()
            next_s = self._round(view, tasks)
            took_s = self._clock.monotonic_s() - began_s
            self._counting.round(took_s)
            self._counting.nodes = len(view.nodes)
            await self._sleep(next_s)
            # among thousands of pipelines a round is long: leave more time to all else
            await asyncio.sleep(max(_PACE_S, min(_REST * took_s, _PAUSE_S)))

    async def _sleep(self, at_most_s: float) -> None:
        try:
            async with asyncio.timeout(at_most_s):
                await self._woken.wait()
        except TimeoutError:
            return

    # --- decide -----------------------------------------------------------------------------------

    def _round(self, view: ClusterView, tasks: asyncio.TaskGroup) -> float:
        """Decide all pipelines and begin what is to be done; return seconds until the next round."""
        next_s = [self._config.resync_s]
        if self._drains.unanswered:
            next_s.append(_REPEAT_S)
        eligibility = Eligibility(view.nodes)
        workers: dict[str, list[Worker]] = {name: [] for name in self._views.names}
        for worker in view.workers:
            workers.setdefault(worker.pipeline, []).append(worker)
        for name in [name for name in self._standby if name not in workers]:
            self._forget(name)
        self._quiet.look(view.nodes)
        for pipeline, its in workers.items():
            record = self._views.pipeline(pipeline)
            if not its and (record is None or record.spec is None):
                self._forget(pipeline)
                continue
            busy = bool(its) or self._views.busy(pipeline)
            if not self._quiet.holds(pipeline, record, busy=busy):
                next_s += self._decide_guarded(pipeline, its, eligibility, tasks)
        return max(0.0, min(next_s))

    def _decide_guarded(
        self,
        pipeline: str,
        workers: Sequence[Worker],
        eligibility: Eligibility,
        tasks: asyncio.TaskGroup,
    ) -> list[float]:
        """Decide one pipeline; if that fails, it is this pipeline's trouble, and the others go on.

        A record that ends us would end whoever takes over, too, and each one that is started again.
        """
        self._quiet.forget(pipeline)
        try:
            return self._decide(pipeline, workers, eligibility, tasks)
        except Exception as error:
            text = f"{type(error).__name__}: {error}".encode(errors="backslashreplace").decode()
            problem = f"the scaler cannot decide this pipeline: {text[:_PROBLEM_MAX]}"
            self._status.trouble(pipeline, problem)
            log.exception("pipeline not decided", extra={"pipeline": pipeline})
            return []

    def _decide(
        self,
        pipeline: str,
        workers: Sequence[Worker],
        eligibility: Eligibility,
        tasks: asyncio.TaskGroup,
    ) -> list[float]:
        """Decide one pipeline; return the seconds after which it may be decided otherwise."""
        now_s = self._clock.monotonic_s()
        jobs, record = self._views.jobs(pipeline), self._views.pipeline(pipeline)
        where = ANYWHERE
        if record is not None and record.spec is not None:
            where = self._cluster.placement(record.spec)
        nodes = eligibility.of(where)
        by_name = {node.name: node for node in nodes}
        current = self._current(pipeline, record)
        seen = [self._see(worker, by_name, now_s, current) for worker in workers]
        names = {each.name for each in seen}
        making = [each for each in self._hands.making(pipeline) if each.name not in names]
        decision = decide(
            record,
            jobs,
            self._views.gauges(pipeline),
            nodes,
            standing_by=self._standing_by(pipeline, seen, now_s),
            now_s=now_s,
            default_coefficient=self._config.default_coefficient,
            max_workers=self._config.max_workers,
        )
        self._counting.decided(pipeline, len(workers), decision.want, decision.kind)
        starts = self._hands.starts(pipeline)
        specs = {job.code_hash: job.spec for job in jobs}
        if record is not None and record.spec is not None:
            specs[spec.code_hash(record.spec.transform)] = record.spec
        acts: dict[str, list[str]] = {"create": [], "drain": []}
        changes = plan.plan(pipeline, decision.wants, [*seen, *making])
        for change in changes:
            code = change.code_hash if isinstance(change, plan.Create) else ""
            if self._hands.begin(pipeline, change, specs.get(code), tasks):
                acts.setdefault(type(change).__name__.lower(), []).append(change.name)
        acts.pop("delete", None)
        if not changes and all(each.phase is not Phase.STARTING for each in [*seen, *making]):
            starts.steady(now_s)
        problem = starts.problem or sight.trouble(workers, current[0])
        claims = [self._presence.claim(each) for each in workers]
        views = list(zip(workers, seen, claims, strict=True))
        self._status.note(showing.scaling(pipeline, decision, views, nodes, problem), acts=acts)
        waits = (decision.again_in_s, starts.wait_s(now_s) or None)
        again = [each for each in waits if each is not None]
        if not (workers or jobs or changes or making or again or problem):
            self._quiet.note(pipeline, record)
        return again

    def _current(self, pipeline: str, record: records.Pipeline | None) -> tuple[str, str]:
        """Return the code hash of a pipeline's newest version, and what its workers are made by."""
        if record is None or record.spec is None:
            return "", ""
        if self._versions.get(pipeline) != record.version:
            if pipeline in self._versions:
                self._hands.forget(pipeline)  # what did not start may well start now
            self._versions[pipeline] = record.version
        return spec.code_hash(record.spec.transform), self._cluster.makes(record.spec)

    def _see(
        self, worker: Worker, nodes: Mapping[str, Node], now_s: float, current: tuple[str, str]
    ) -> Seen:
        heard_s = self._presence.heard_s(worker, now_s)
        deaf = not self._data.connected
        return sight.see(
            worker,
            Signs(
                claim=self._presence.claim(worker),
                # while we hear nobody, nobody is silent
                silent_s=0.0 if heard_s is None or deaf else now_s - heard_s,
                asked_s=self._drains.asked_s(worker.name, worker.instance),
                # workers of older code only finish its jobs, and are right as they are
                outdated=worker.code_hash == current[0]
                and bool(worker.made_by and current[1])
                and worker.made_by != current[1],
            ),
            nodes,
            drain_answer_s=self._config.drain_answer_s,
            silent_s=self._config.silent_s,
        )

    def _standing_by(self, pipeline: str, seen: Sequence[Seen], now_s: float) -> Standby:
        found = self._standby.get(pipeline)
        if found is None:
            have = sum(each.phase in plan.STAYING for each in seen)
            found = Standby(have, now_s, cool_down_s=self._config.standby_cool_down_s)
            self._standby[pipeline] = found
        return found

    def _is_known(self, pipeline: str) -> bool:
        return self._views.pipeline(pipeline) is not None

    def _forget(self, pipeline: str) -> None:
        self._standby.pop(pipeline, None)
        self._versions.pop(pipeline, None)
        self._quiet.forget(pipeline)
        self._hands.forget(pipeline)
        self._status.forget(pipeline)
        self._counting.forget(pipeline)
