"""The coordinator's loops, and what they are made of.

A *round* makes everything so that follows from what is stored: topology, what a half-done request
has left behind, the missing jobs, the ticks that are due, the jobs that must not go on, those that may begin, and one task for each
job that is under way. It is level-triggered: whatever changes a record wakes it, and it runs at the next
tick, and every `resync_s` anyway.
Nothing that a round does depends on the one before, so the first round after a start is the repair
of whatever the process was killed in, and no request is answered before it is through. Later ones look for
missing jobs where something has changed (`core.dag`), and every `resync_s` everywhere.

All of this is what a *leader* does, and it is made anew for each term (see `runtime.leading`); who stands by has
its program, a connection and nothing else, and answers no request.

What runs beside the rounds: the mirrors of the buckets, the API, the published specs, the folding of
outcomes, and the tasks of jobs. A job whose task fails is tried again with back-off, and its
neighbours never notice; what fails in any other loop ends the process, which is started again.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Iterator
from pathlib import Path

from trunkline.bus import connection, topology, watching
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ingest import Ingest
from trunkline.bus.publishing import Window
from trunkline.bus.tables import KvTable
from trunkline.contracts import errors, records, subjects
from trunkline.contracts.states import JobState
from trunkline.contracts.wards import Wards
from trunkline.coordinator import closing
from trunkline.coordinator.api import ApiServer
from trunkline.coordinator.assignments import Assignments
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.collecting import Collector
from trunkline.coordinator.commands import Commands
from trunkline.coordinator.commits import Commits
from trunkline.coordinator.conduct import Conduct
from trunkline.coordinator.counting import Counting, of_pipelines
from trunkline.coordinator.datum_views import DatumViews
from trunkline.coordinator.declaring import Declaring
from trunkline.coordinator.deleting import Deleting
from trunkline.coordinator.events import Events
from trunkline.coordinator.folding import OutcomeFolder
from trunkline.coordinator.handlers import Handlers
from trunkline.coordinator.inputs import Inputs
from trunkline.coordinator.jobsets import JobSets
from trunkline.coordinator.mending import Mending
from trunkline.coordinator.outcomes import Outcomes
from trunkline.coordinator.pipeline_verbs import PipelineVerbs
from trunkline.coordinator.pipelines import Pipelines
from trunkline.coordinator.planning import Planning
from trunkline.coordinator.readers import Readers
from trunkline.coordinator.repos import Committer, Repos
from trunkline.coordinator.retention import Retention
from trunkline.coordinator.runner import JobRunner
from trunkline.coordinator.settings import Settings
from trunkline.coordinator.streams import Streams
from trunkline.coordinator.tables import tables_of
from trunkline.coordinator.ticking import Ticking
from trunkline.coordinator.upkeep import Upkeep
from trunkline.runtime import backoff, leading, metric_names, probes
from trunkline.runtime.clock import SystemClock
from trunkline.runtime.leading import Candidacy, Fence
from trunkline.runtime.metrics import COORDINATOR, Sample
from trunkline.runtime.showing import Shown
from trunkline.storage import health
from trunkline.storage.secrets import Secrets
from trunkline.storage.store import open_store

log = logging.getLogger(__name__)

PAUSE_S = 1.0
"""Seconds between two rounds at most, where there is a reason for the second one."""

ASKED = "STREAM.NAMES"
"""See `watching`."""


async def run(settings: Settings) -> None:
    """Stand by and lead in turn until cancelled, or until a connection is closed for good."""
    readiness = probes.Readiness()
    shown = Shown(COORDINATOR, lambda: readiness.reasons)
    inbox, name = subjects.COORDINATOR_INBOX, "coordinator-election"
    async with (
        probes.served(
            settings.probe_host, settings.probe_port, readiness, shown, fd=settings.probe_fd
        ),
        connection.connect(settings.ctl_url, name=name, inbox=inbox) as ctl,
        asyncio.TaskGroup() as tasks,
    ):
        beside = [
            tasks.create_task(closing.end_with(ctl, name), name="closed-election"),
            tasks.create_task(watching.watch(ctl, ASKED), name="watch-election"),
        ]
        candidacy = Candidacy(
            KvTable(ctl, subjects.LEADERS, records.Candidate, write_s=leading.WRITE_S),
            subjects.COORDINATOR,
            name=settings.name,
            declare=functools.partial(topology.declare_leaders, ctl, settings.durability),
        )
        try:
            async with leading.standing(candidacy), shown.about(candidacy.samples, ctl):
                await candidacy.in_turn(
                    lambda: lead(settings, candidacy, readiness, shown),
                    stands_by=lambda: readiness.judge_by(
                        lambda: [*ctl.problems, *candidacy.problems]
                    ),
                )
        finally:
            for each in beside:
                each.cancel()


async def lead(
    settings: Settings, candidacy: Candidacy, readiness: probes.Readiness, shown: Shown
) -> None:
    """Serve until cancelled; what it is served by is made here, and gone at the end."""
    wards, inbox = Wards(settings.data_key), subjects.COORDINATOR_INBOX
    api, fence = subjects.data_api(wards), candidacy.holds
    readiness.judge_by(lambda: ["it begins to lead"])
    async with (
        connection.connect(settings.ctl_url, name="coordinator", inbox=inbox, fence=fence) as ctl,
        connection.connect(
            settings.data_url, name="coordinator-data", inbox=inbox, api=api, fence=fence
        ) as data,
        asyncio.TaskGroup() as tasks,
    ):
        for each in (ctl, data):
            tasks.create_task(watching.watch(each, ASKED), name=f"watch-{each.name}")
        tasks.create_task(closing.end_with(ctl, "coordinator"), name="closed-ctl")
        tasks.create_task(closing.end_with(data, "coordinator-data"), name="closed-data")
        coordinator = Coordinator(ctl, data, wards, settings, candidacy.holds)
        readiness.judge_by(lambda: [*coordinator.problems(), *candidacy.problems])
        async with shown.about(coordinator.samples, ctl, data):
            await coordinator.serve()


class Coordinator:
    """All parts of the coordinator, put together."""

    def __init__(
        self,
        ctl: NatsConnection,
        data: NatsConnection,
        wards: Wards,
        settings: Settings,
        holds: Fence,
    ) -> None:
        self._ctl, self._data, self._settings = ctl, data, settings
        clock = SystemClock()
        self._store = store = open_store(settings.store)
        store.health.doubt()
        tables = tables_of(ctl)
        events = Events(Window(ctl), clock)
        self._counting = counting = Counting(clock, self._is_known)
        self._catalog = Catalog(
            tables,
            clock,
            local=settings.local,
            secrets=Secrets(Path(settings.secrets_dir)) if settings.secrets_dir else None,
            counting=counting,
        )
        self._jobsets = JobSets(self._catalog, events, clock)
        self._repos = Repos(self._catalog, clock)
        self._ticking = Ticking(self._catalog, self._jobsets, store, events, clock)
        publisher = Window(data)
        outcomes = Outcomes(data, wards, store)
        self._assignments = Assignments(self._catalog.jobs, wards, data, publisher)
        self._pipelines = Pipelines(
            self._catalog,
            self._repos,
            self._jobsets,
            self._assignments,
            data,
            wards,
            events,
            clock,
            durability=settings.durability,
        )
        self._conduct = Conduct(self._catalog, self._jobsets, events, clock)
        self._deleting = Deleting(
            self._catalog, self._repos, self._assignments, data, wards, events
        )
        commits = Commits(self._catalog, self._repos, self._jobsets, store, clock)
        jobs = self._catalog.jobs
        self._folder = OutcomeFolder(data, wards, outcomes, jobs, events, counting=counting)
        self._streams = Streams(ctl, data, wards, jobs.unsettled, counting.pipelines, clock)
        self._runner = JobRunner(
            settings=settings,
            tables=tables,
            jobs=self._catalog.jobs,
            connection=data,
            ingest=Ingest(data),
            wards=wards,
            store=store,
            folder=self._folder,
            outcomes=outcomes,
            assignments=self._assignments,
            committer=Committer(tables, clock, self._catalog.branches.take),
            events=events,
            clock=clock,
        )
        self._retention = Retention(self._catalog, settings, clock)
        self._collector = Collector(
            self._catalog, self._retention, outcomes, store, settings, clock, holds=holds
        )
        self._commands = Commands(ctl, self._pipelines, events)
        self._mending = Mending(self._catalog, self._assignments, events)
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._synced = asyncio.Event()
        self._failure = ""
        self._looked_at_all_s = 0.0
        self._declaring = Declaring(
            ctl,
            data,
            self._catalog,
            self._pipelines,
            self._assignments,
            events,
            settings.durability,
            topology.Kept(settings.log_keep_s, settings.log_keep_bytes),
            outcomes_lost=self._begin_anew,
        )
        folds = self._folder.fold
        handlers = {
            **Handlers(
                self._catalog,
                self._repos,
                commits,
                self._ticking,
                folds,
                ctl,
                KvTable(ctl, subjects.LEADERS, records.Candidate),
                self.problems,
                settings,
            ).all(),
            **PipelineVerbs(
                self._catalog,
                self._pipelines,
                self._conduct,
                self._deleting,
                Planning(self._catalog, store, settings, clock),
                ctl,
            ).all(),
            **DatumViews(
                self._catalog, outcomes, folds, data, wards, Inputs(tables.commits, store)
            ).all(),
            **Readers(ctl, data, wards).all(),
            **Upkeep(self._collector, self._retention, self._repos).all(),
        }
        self._api = ApiServer(
            ctl,
            handlers,
            self._synced,
            places=settings.requests,
            timeout_s=settings.request_timeout_s,
        )

    def _is_known(self, pipeline: str) -> bool:
        return pipeline in self._catalog.dag.pipelines

    def problems(self) -> list[str]:
        """Return what keeps the coordinator from its work, in sentences for people."""
        found = [*self._ctl.problems, *self._data.problems, *self._store.health.problems]
        found += [*self._declaring.problems, *self._catalog.tables.problems]
        if self._failure:
            found.append(f"the coordinator's last round failed: {self._failure}")
        if not self._synced.is_set():
            found.append("the coordinator has not gone through what is stored yet")
        return found

    def samples(self) -> Iterator[Sample]:
        """Yield what is counted and known of the installation; a source of metrics."""
        catalog, counting = self._catalog, self._counting
        yield from counting.counted()
        yield from counting.of_jobs(catalog.jobs.unsettled())
        yield from counting.of_folds(self._folder.folds())
        yield from of_pipelines(catalog.all_pipelines())
        yield from self._streams()
        yield metric_names.STORE_ERRORS, (COORDINATOR,), self._store.health.failures

    async def serve(self) -> None:
        """Run all loops until cancelled."""
        forget = [conn.on_reconnect(self._reconnected) for conn in (self._ctl, self._data)]
        try:
            await self._declare_first()
            async with self._catalog.following(), asyncio.TaskGroup() as tasks:
                tasks.create_task(health.watch(self._store, owner=True), name="store")
                tasks.create_task(self._folder.run(), name="outcomes")
                tasks.create_task(self._streams.run(), name="streams")
                tasks.create_task(self._rounds(tasks), name="rounds")
                tasks.create_task(self._api.run(), name="api")
                await self._synced.wait()
                tasks.create_task(self._commands.run(), name="commands")
                tasks.create_task(self._retention.run(), name="retention")
                tasks.create_task(self._collector.run(), name="collector")
        finally:
            for each in forget:
                each()

    async def _declare_first(self) -> None:
        """Declare what the mirrors need, however long the server takes."""
        failures = 0
        while not self._declaring.declared:
            try:
                await self._declaring.look()
            except errors.UnavailableError as error:
                failures += 1
                log.warning("cannot declare streams yet", extra={"reason": str(error)})
                await asyncio.sleep(backoff.delay_s(failures, most_s=2.0))

    def _reconnected(self) -> None:
        """The server may be another one, or have lost what is not on its disk: declare again."""
        self._declaring.doubt()
        self._catalog.woken.set()

    def _begin_anew(self) -> None:
        """Take up all jobs from their records: what is folded of their outcomes is not stored any more."""
        for key, task in self._running.items():
            job = self._catalog.jobs.known(*key)
            if job is not None and job.state in (JobState.LISTING, JobState.RUNNING):
                task.add_done_callback(lambda _: self._catalog.woken.set())
                task.cancel()

    async def _rounds(self, tasks: asyncio.TaskGroup) -> None:
        failures, loop = 0, asyncio.get_running_loop()
        while True:
            self._catalog.woken.clear()
            began_s = loop.time()
            try:
                wait_s = await self._round(tasks)
            except errors.TrunklineError as error:
                failures += 1
                self._failure = str(error)
                self._counting.round_failed()
                log.warning("round must be repeated", extra={"reason": self._failure})
                await asyncio.sleep(backoff.delay_s(failures, most_s=2.0))
                continue
            failures, self._failure = 0, ""
            self._counting.round(loop.time() - began_s)
            self._synced.set()
            # where a round is long, among thousands of pipelines, leave as much time to all else
            await asyncio.sleep(min(loop.time() - began_s, PAUSE_S))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(wait_s, self._settings.resync_s)):
                    await self._catalog.woken.wait()

    async def _round(self, tasks: asyncio.TaskGroup) -> float:
        """Make everything so that follows from what is stored; return the seconds until a tick."""
        doubted = not (self._declaring.declared and self._synced.is_set())
        if doubted or self._failure or self._declaring.due:
            await self._declaring.look()
        await self._mending.round()
        if doubted:
            await self._repos.repair()
            self._pipelines.doubt_all()
        await self._pipelines.ensure_all()
        now_s = asyncio.get_running_loop().time()
        if doubted or now_s - self._looked_at_all_s >= self._settings.resync_s:
            self._catalog.dag.mark_all()
            self._looked_at_all_s = now_s
        async with self._catalog.graph:
            await self._jobsets.create_missing()
        wait_s = await self._ticking.round()
        await self._conduct.round()
        await self._jobsets.advance()
        await self._deleting.round()
        for job in self._catalog.jobs.unsettled():
            key = (job.pipeline, job.id)
            if job.state is not JobState.WAITING and key not in self._running:
                task = tasks.create_task(self._drive(*key), name=f"job-{job.pipeline}@{job.id}")
                self._running[key] = task
        return wait_s

    async def _drive(self, pipeline: str, job: str) -> None:
        """Drive one job to its end, whatever happens."""
        failures = 0
        try:
            while True:
                try:
                    await self._runner.run(pipeline, job)
                except Exception:  # the outermost loop of a job
                    failures += 1
                    where = {"pipeline": pipeline, "job": job, "failures": failures}
                    log.exception("job failed to go on, trying again", extra=where)
                    await asyncio.sleep(backoff.delay_s(failures))
                else:
                    return
        finally:
            del self._running[pipeline, job]
