"""The collector: removes what is in the store and needed by nobody.

One collection, in this order:

1. what an earlier one was killed with in its hands is put back (`sweeping`);
2. old records go (`retention`): a deleted repo's and a squashed branch's are gone already;
3. the roots are taken: commits, done indexes, and what the records of jobs name;
4. everything that can be reached from there is marked (`marking`);
5. part by part, objects that are not marked and older than the grace are removed.

It remembers nothing: killed between any two lines, or in the middle of one, it has removed some of what
nobody needs, and the next one begins anew. Only a collection that could read all that it must removes
anything.

*Why nothing is removed that is needed, or comes to be while it runs.* What is stored while it runs is
young: who writes an object that is there already writes it anew if it is a day old
(`store.REFRESH_AFTER_S`). So what is removed was last written a whole grace ago, and its writer has had
the grace less a day to have it named by a record, or by an outcome in the stream. What is named by
something new without being written is named by something older, which is marked:

- a commit takes over blocks of its parent, which is a head;
- a job that begins pins runs of the done index. The heads of the indexes and the jobs that are not
  settled are looked at while none can begin (`Catalog.pins`): either the job is seen, or it pins what
  is marked, and what has come since: merged runs are written anew, and a job's own run is made of its
  outcomes;
- a listing takes over the outcomes of what is done, from the runs that its job has pinned;
- a job's outcomes are read from the stream, or if its record says so meanwhile, from its archive: what
  comes later has just been stored;
- what is merged is committed right away: a job waits for the earlier ones before it merges, not after;
- a group's own manifests are named by messages only: a job that is being worked on so long is listed
  once more, which writes them anew.

Of jobs that are settled only their archives are kept, to be shown. What they have made is kept by the
output commit, and by the done index.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import aclosing
from itertools import groupby, islice
from pathlib import Path
from typing import Protocol

import msgspec

from trunkline.contracts import api, errors, records, spec
from trunkline.contracts.messages import Outcome
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.inputs import Inputs
from trunkline.coordinator.jobs import settled
from trunkline.coordinator.marking import Kind, Marking
from trunkline.coordinator.retention import Retention
from trunkline.coordinator.settings import Settings
from trunkline.coordinator.tables import commit_key, job_key
from trunkline.runtime.clock import Clock
from trunkline.runtime.leading import Fence
from trunkline.storage.store import REFRESH_AFTER_S, Store
from trunkline.storage.sweeping import PARTS, Found

log = logging.getLogger(__name__)

_LEAST_GRACE_S = REFRESH_AFTER_S + 3600
_REMOVE_AT_ONCE = 1000
_DAMAGE_SHOWN = 10


class Stream(Protocol):
    """What is needed of `outcomes.Outcomes`."""

    def stored(self, job: records.Job) -> AsyncGenerator[Sequence[tuple[Outcome, object]], None]:
        """Yield what the stream holds now of the job, in batches."""
        ...


class Collector:
    """Collects when it is asked to; one collection at a time.

    Args:
        catalog: All records.
        retention: Takes old ones away.
        outcomes: Reads those of jobs that are not settled.
        store: What is swept.
        settings: How old an object must be.
        clock: Says how old it is.
        spool: A directory for scratch files; None for the system's own place.
        holds: Whether this process leads at this instant: a leader of another one marks for itself.
    """

    def __init__(
        self,
        catalog: Catalog,
        retention: Retention,
        outcomes: Stream,
        store: Store,
        settings: Settings,
        clock: Clock,
        spool: Path | None = None,
        *,
        holds: Fence = lambda: True,
    ) -> None:
        self._catalog, self._retention, self._outcomes = catalog, retention, outcomes
        self._store, self._settings, self._clock, self._spool = store, settings, clock, spool
        self._holds = holds
        self._inputs = Inputs(catalog.tables.commits, store, spool)
        self._asked = asyncio.Event()
        self.report: api.Collection | None = None
        """Of the last collection, or the one that runs."""

    def start(self, request: api.Collect) -> api.Collection:
        """Have a collection made, unless one runs; return its report so far."""
        if self.report is None or self.report.ended_ns:
            self.report = api.Collection(
                dry_run=request.dry_run,
                despite_damage=request.despite_damage,
                began_ns=self._clock.wall_ns(),
            )
            self._asked.set()
        return self.report

    async def run(self) -> None:
        """Collect for ever, whenever it is asked for."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            problem = ""
            try:
                await self._collect()
            except (errors.TrunklineError, OSError) as error:
                problem = str(error)
                log.warning("collection has come to nothing", extra={"reason": problem})
            self._note(problem=problem, ended_ns=self._clock.wall_ns())

    async def _collect(self) -> None:
        report = self._running()
        before_s = report.began_ns / 1e9 - max(self._settings.gc_grace_s, _LEAST_GRACE_S)
        await self._store.objects().recover()
        spare = await self._records(dry_run=report.dry_run)
        with Marking(self._store, self._spool) as marking:
            await self._add_roots(marking, spare)
            await marking.walk()
            marking.damaged += self._catalog.tables.problems
            if marking.damaged:
                self._note(damaged=tuple(marking.damaged[:_DAMAGE_SHOWN]))
                if not report.despite_damage:
                    raise DamagedError(len(marking.damaged))
            await self._sweep(marking, before_s)
        done = self._running()
        extra = {"removed": done.removed, "bytes": done.removed_bytes, "dry_run": done.dry_run}
        log.info("store collected", extra=extra)

    async def _records(self, *, dry_run: bool) -> Collection[str]:
        """Take old records away; in a dry run, return the keys of those that would be."""
        if not dry_run:
            jobs, commits = await self._retention.take_away()
            self._note(jobs=jobs, commits=commits)
            return frozenset()
        spare: set[str] = set()
        for pipeline in self._catalog.all_pipelines():
            found = await self._retention.spare_jobs(pipeline.name)
            spare.update(job_key(each.pipeline, each.id) for each in found)
        self._note(jobs=len(spare))
        read = self._retention.read()
        for repo in self._catalog.repos.values():
            old = await self._retention.spare_commits(repo.name, read)
            self._note(commits=self._running().commits + len(old))
            spare.update(commit_key(each.repo, each.id) for each in old)
        return spare

    async def _add_roots(self, marking: Marking, spare: Collection[str]) -> None:
        async with self._catalog.pins:
            unsettled = list(self._catalog.jobs.unsettled())
            indexes = await self._catalog.tables.done.all()
        for index in indexes:
            for run in index.value.runs if index.value else ():
                await marking.add(Kind.INDEX, run)
        for job in unsettled:
            await self._add_unsettled(marking, job)
        for repo in self._catalog.repos.values():
            for entry in await self._catalog.tables.commits.all(f"{repo.name}."):
                if entry.value is not None and entry.key not in spare:
                    await marking.add(Kind.MANIFEST, entry.value.manifest)
        for pipeline in self._catalog.all_pipelines():
            for job in await self._catalog.jobs.every(pipeline.name):
                if settled(job) and job_key(job.pipeline, job.id) not in spare:
                    await _add_settled(marking, job)

    async def _add_unsettled(self, marking: Marking, job: records.Job) -> None:
        for run in (*job.done_runs, job.done_run):
            await marking.add(Kind.INDEX, run)
        for window in job.skipped:
            await marking.add(Kind.OUTCOMES, window.run)
        await marking.add(Kind.OUTCOMES, job.outcomes)
        await marking.add(Kind.RECORDS, job.attempts)
        if not job.outcomes:
            async with aclosing(self._outcomes.stored(job)) as batches:
                async for batch in batches:
                    for outcome, _ in batch:
                        await marking.add_outcome(outcome)
            # what was purged while it was read is in the archive, which the record names by then
            found = await self._catalog.jobs.get(job.pipeline, job.id)
            await marking.add(Kind.OUTCOMES, found.outcomes if found is not None else "")
            await marking.add(Kind.RECORDS, found.attempts if found is not None else "")
        if self._is_old(job) and any(leaf.group_by for leaf in spec.inputs(job.spec.input)):
            await self._list_again(job)

    def _is_old(self, job: records.Job) -> bool:
        age_s = (self._clock.wall_ns() - job.started_ns) / 1e9
        return job.started_ns > 0 and not job.state.ended and age_s > REFRESH_AFTER_S

    async def _list_again(self, job: records.Job) -> None:
        async with aclosing(self._inputs.datums(job, lambda _: False)) as listed:
            async for _ in listed:
                pass

    async def _sweep(self, marking: Marking, before_s: float) -> None:
        objects = self._store.objects()
        async for part, needed in _parts(marking):
            found = await objects.of_part(part)
            going = doomed(found, needed, before_s)
            for at in range(0, len(going), _REMOVE_AT_ONCE):
                some: Sequence[Found] = going[at : at + _REMOVE_AT_ONCE]
                if not self._running().dry_run:
                    if not self._holds():
                        raise errors.NotLeadingError("the collection")
                    some = await objects.remove(some, before_s)
                self._count(removed=len(some), removed_bytes=sum(each.size for each in some))
            self._count(
                objects=len(found), bytes=sum(each.size for each in found), needed=len(needed)
            )

    def _running(self) -> api.Collection:
        assert self.report is not None  # `start` has made it
        return self.report

    def _note(self, **facts: object) -> None:
        self.report = msgspec.structs.replace(self._running(), **facts)

    def _count(self, **more: int) -> None:
        report = self._running()
        self._note(**{name: getattr(report, name) + count for name, count in more.items()})


class DamagedError(errors.TrunklineError):
    """Something that must be readable is not, so what it needs is unknown."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"{count} objects or records that others hang on cannot be read, so nothing was removed:"
            " put them back from a copy, or collect `--despite-damage`"
        )
        self.count = count


def doomed(found: Sequence[Found], needed: Collection[bytes], before_s: float) -> list[Found]:
    """Return what is to go: old, and no object that is needed."""
    return [each for each in found if each.modified_s < before_s and each.sha256 not in needed]


async def _add_settled(marking: Marking, job: records.Job) -> None:
    for run in (job.outcomes, job.attempts, *(window.run for window in job.skipped)):
        await marking.add(Kind.RECORDS, run)


async def _parts(marking: Marking) -> AsyncIterator[tuple[int, Collection[bytes]]]:
    """Yield every part of the store with what is needed of it."""
    groups = groupby(marking.marked(), key=lambda sha256: sha256[0])
    upcoming = next(groups, None)
    for part in range(PARTS):
        needed: set[bytes] = set()
        if upcoming is not None and upcoming[0] == part:
            while some := list(islice(upcoming[1], _REMOVE_AT_ONCE)):
                needed.update(some)
                await asyncio.sleep(0)
            upcoming = next(groups, None)
        yield part, needed
