"""Makes the ticks of cron inputs: commits in the repos that those read.

A round looks at all pipelines that make jobs and makes what is due (`core.ticks`), then says when to look
again. It remembers nothing: which tick is the newest stands in the record of the branch that ticks go to,
and moves with its head by the one compare-and-set that makes the tick count. In this order, and what is
left where the process dies after each:

1. the manifest is stored (an object that nobody names);
2. the commit's record is created, under an id made of the pipeline, the input and the time (a record that
   no branch leads to; the next round makes the same tick again and finds it, or puts its own there if the
   branch has moved meanwhile, or makes a later tick that stands for both);
3. the branch moves, with the time of the tick (the jobs are missing, and the next round derives them);
4. the jobs that follow are created.

So no tick is made twice, and none is lost while the clock is right. A clock that goes back makes no tick
until it has come to where it was. What keeps one input from ticking, a store that is away, say, keeps no
other one: it is tried again a moment later.
"""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from trunkline.contracts import errors, records, schedules, spec
from trunkline.contracts.messages import File
from trunkline.contracts.schedules import Schedule
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.core import ticks
from trunkline.coordinator.events import Events
from trunkline.coordinator.jobsets import JobSets
from trunkline.coordinator.repos import MASTER
from trunkline.coordinator.tables import branch_key, commit_key
from trunkline.runtime import tracing
from trunkline.runtime.clock import Clock
from trunkline.storage import keys, manifests
from trunkline.storage.store import Store

log = logging.getLogger(__name__)

_AGAIN_S = 2.0
_NEVER_S = float("inf")


class Ticking:
    """See the module."""

    def __init__(
        self, catalog: Catalog, jobsets: JobSets, store: Store, events: Events, clock: Clock
    ) -> None:
        self._catalog, self._jobsets, self._store = catalog, jobsets, store
        self._events, self._clock = events, clock

    async def round(self) -> float:
        """Make all ticks that are due; return the seconds until there is another one."""
        wait_s = _NEVER_S
        for pipeline, cron in list(self._inputs()):
            try:
                wait_s = min(wait_s, await self._look(pipeline, cron))
            except errors.TrunklineError as error:
                extra = {"pipeline": pipeline, "input": cron.name, "reason": str(error)}
                log.warning("tick must be tried again", extra=extra)
                wait_s = min(wait_s, _AGAIN_S)
        return wait_s

    async def tick(self, name: str) -> list[records.Commit]:
        """Let all cron inputs of a pipeline tick now, whatever their schedules say; return the commits.

        Each call makes ticks of its own, if need be with the time of the next second.

        Raises:
            NotFoundError: there is none, or the pipeline is stopped.
            UnavailableError: unknown how far it came; repeat it.
        """
        made: list[records.Commit] = []
        async with self._catalog.graph:
            for pipeline, cron in self._inputs():
                branch = self._branch(cron)
                if pipeline == name and branch is not None:
                    newest = branch.ticks.get(ticks.name(pipeline, cron.name), 0)
                    tick = max(newest + 1, int(self._now().timestamp()))
                    at = datetime.fromtimestamp(tick, UTC)
                    made.append(await self._make(pipeline, cron, branch, [at]))
            if not made:
                raise errors.NotFoundError("running pipeline with a cron input", name)
            await self._jobsets.create_missing()
        return made

    async def _look(self, pipeline: str, cron: spec.CronInput) -> float:
        """Make one input's ticks that are due; return the seconds until the next one."""
        schedule = schedules.parse(cron.spec)
        newest = self._newest(pipeline, cron)
        if newest is None:
            return _AGAIN_S  # the pipeline is not complete yet
        if ticks.due(schedule, newest, cron.start, self._now()):
            newest = await self._make_due(pipeline, cron, schedule)
        following = ticks.following(schedule, newest, cron.start)
        if following is None:
            return _NEVER_S
        return max(0.0, (following - self._now()).total_seconds())

    async def _make_due(self, pipeline: str, cron: spec.CronInput, schedule: Schedule) -> int:
        """Make what is due by what is known with the lock on the graph held; return the newest tick."""
        async with self._catalog.graph:
            branch, newest = self._branch(cron), self._newest(pipeline, cron)
            if branch is None or newest is None:
                raise errors.NotFoundError("repo", cron.repo)
            found = ticks.due(schedule, newest, cron.start, self._now())
            if found:
                await self._make(pipeline, cron, branch, found)
                await self._jobsets.create_missing()
                newest = int(found[-1].timestamp())
            return newest

    async def _make(
        self, pipeline: str, cron: spec.CronInput, branch: records.Branch, found: list[datetime]
    ) -> records.Commit:
        """Commit ticks, oldest first; with the lock on the graph held."""
        tick, shown = found[-1], found[-1:] if cron.overwrite else found
        files = [File(path=ticks.path(each), size=0, sha256=keys.EMPTY_SHA256) for each in shown]
        base = "" if cron.overwrite or not branch.head else await self._manifest(branch)
        written = await manifests.overlay(self._store, base, files)
        now_ns = self._clock.wall_ns()
        commit = records.Commit(
            id=ticks.commit_id(pipeline, cron.name, tick),
            repo=branch.repo,
            branch=branch.name,
            manifest=written.manifest,
            files=written.files,
            size=written.size,
            created_ns=now_ns,
            parent=branch.head,
            traceparent=tracing.current.get(),
        )
        await self._record(commit)
        moved = msgspec.structs.replace(
            branch,
            head=commit.id,
            moved_ns=now_ns,
            ticks={**branch.ticks, ticks.name(pipeline, cron.name): int(tick.timestamp())},
        )
        await self._catalog.branches.replace(branch_key(branch.repo, branch.name), moved)
        told = f" with those from {ticks.path(found[0])[1:]} on" if len(found) > 1 else ""
        text = f"tick {ticks.path(tick)[1:]} of {cron.name}{told}: commit {branch.repo}@{commit.id}"
        log.info("tick", extra={"pipeline": pipeline, "commit": commit.id, "ticks": len(found)})
        await self._events.mention("tick", pipeline, text)
        return commit

    async def _record(self, commit: records.Commit) -> None:
        """Write a tick's commit.

        No branch leads to a record of this id, since the branch would know the tick: it may be replaced.
        Unless somebody else writes it at this moment: then it is the next leader's, and stays.
        """
        commits, key = self._catalog.tables.commits, commit_key(commit.repo, commit.id)
        present = await commits.get(key)
        if present is None:
            await commits.create(key, commit)
        else:
            await commits.update(key, commit, present.revision)

    async def _manifest(self, branch: records.Branch) -> str:
        """Return the head's; nothing where that is lost, since ticks would wait for it for ever."""
        entry = await self._catalog.tables.commits.get(commit_key(branch.repo, branch.head))
        if entry is None or entry.value is None:
            log.error("commit is lost", extra={"commit": f"{branch.repo}@{branch.head}"})
            return ""
        return entry.value.manifest

    def _inputs(self) -> Iterator[tuple[str, spec.CronInput]]:
        """Yield the cron inputs of all pipelines that make jobs."""
        for node in self._catalog.dag.ticking:
            for cron in node.crons:
                yield node.name, cron

    def _branch(self, cron: spec.CronInput) -> records.Branch | None:
        return self._catalog.branches.get(branch_key(cron.repo, MASTER))

    def _newest(self, pipeline: str, cron: spec.CronInput) -> int | None:
        branch = self._branch(cron)
        return None if branch is None else branch.ticks.get(ticks.name(pipeline, cron.name))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall_ns() / 1e9, UTC)
