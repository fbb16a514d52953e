"""The life of one job, from its pinned inputs to its output commit.

A runner looks at the job record and does what its state asks for, until nothing is left to do:

    LISTING   list windows, publish datums (`listing`), while outcomes come in and workers work
    RUNNING   wait until every datum has its outcome or is skipped; look for lost ones (`repair`)
    MERGING   wait for earlier jobs of the pipeline to end, merge the outputs and archive the outcomes
              (`merging`), record the archive and that the output is being committed, commit it, SUCCESS
    KILLING   tell the workers, take the queue away, KILLED
    ended     put the outcomes away (`finishing`)

It is told nothing else, remembers nothing else, and may be stopped at any instant; a new one looks at
the same record. What is left where the process dies:

- in LISTING: see `listing`; the fold is built again from the record's windows and the stream;
- in RUNNING: nothing is done here that could be lost; for datums that are restarted, see `restarting`,
  for the job's own time limit, `deadlines`, for copies of those that take long, `speculating`;
- in MERGING before `committing`: a manifest and an archive that nobody names, made again. After it:
  the branch is looked at first. If it has the commit, the record becomes SUCCESS, whether or not what
  the output was made of can still be read; if not, all is made again. From `committing` on a kill
  comes too late: a job is never KILLED, nor FAILURE, with its output on the branch;
- with a bad datum: RUNNING becomes FAILURE in one change, with its reason;
- in KILLING: each step is repeated;
- ended: see `finishing`.

A server or a store that is away costs a pause with back-off, after which the record is looked at
again. Whatever else is raised is ours, and ends the process.
"""

import asyncio
import logging
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from trunkline.bus import jetstream
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import BatchPublisher
from trunkline.contracts import errors, records
from trunkline.contracts.states import JobState
from trunkline.contracts.wards import Wards
from trunkline.contracts.wording import counted
from trunkline.coordinator.archiving import Archive, Archiver
from trunkline.coordinator.assignments import Assignments
from trunkline.coordinator.core import windows
from trunkline.coordinator.core.job import Fold, Killed, ListingEnded, Opened, WindowListed
from trunkline.coordinator.deadlines import Deadlines
from trunkline.coordinator.done import Done
from trunkline.coordinator.events import Events
from trunkline.coordinator.finishing import Finisher
from trunkline.coordinator.folding import LiveJob, OutcomeFolder
from trunkline.coordinator.inputs import Inputs
from trunkline.coordinator.jobs import InvalidJobChangeError, JobStore, settled
from trunkline.coordinator.listing import Lister, MovedOnError
from trunkline.coordinator.merging import Merger, OutputError
from trunkline.coordinator.outcomes import Outcomes
from trunkline.coordinator.queue import JobQueue
from trunkline.coordinator.repair import Repairer
from trunkline.coordinator.restarting import Restarter
from trunkline.coordinator.settings import Settings
from trunkline.coordinator.speculating import Speculator
from trunkline.coordinator.tables import Tables
from trunkline.runtime import backoff, tracing
from trunkline.runtime.clock import Clock
from trunkline.storage.store import Store

log = logging.getLogger(__name__)

_WORKING = frozenset({JobState.LISTING, JobState.RUNNING, JobState.MERGING})
_AGAIN = (
    errors.UnavailableError,
    errors.RefusedError,
    errors.ConflictError,
    jetstream.JetStreamError,
    OSError,
)
"""What passes by itself: the server or the store is away or full, or the scratch disk is."""
_LOST = (errors.NotFoundError, errors.CorruptObjectError, errors.MalformedMessageError)
"""What does not: something that the job needs is gone from the store."""
_REASON_LENGTH = 1000


class Commits(Protocol):
    """What is needed of `repos.Committer`."""

    async def commit_output(
        self, job: records.Job, manifest: str, files: int, size: int
    ) -> records.Commit:
        """Commit a job's output and move its branch there; the same again changes nothing."""
        ...

    async def has_committed(self, job: records.Job) -> bool:
        """Return whether the branch is at the job's output already."""
        ...


class JobRunner:
    """Runs jobs; one for the whole process, `run` once for each job that is not settled.

    Args:
        settings: The coordinator's.
        tables: Commits and done indexes.
        jobs: All job records.
        connection: In DATA.
        ingest: On that connection.
        wards: For the subjects in DATA.
        store: The object store.
        folder: Somebody runs it.
        outcomes: Reads outcomes.
        assignments: Tells workers.
        committer: Makes the output commits.
        events: Why anything happened.
        clock: For the times in the records.
        spool: A directory for scratch files; None for the system's own place.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        tables: Tables,
        jobs: JobStore,
        connection: NatsConnection,
        ingest: BatchPublisher,
        wards: Wards,
        store: Store,
        folder: OutcomeFolder,
        outcomes: Outcomes,
        assignments: Assignments,
        committer: Commits,
        events: Events,
        clock: Clock,
        spool: Path | None = None,
    ) -> None:
        self._jobs, self._folder, self._outcomes = jobs, folder, outcomes
        self._assignments, self._committer = assignments, committer
        self._events, self._clock = events, clock
        self._inputs = Inputs(tables.commits, store, spool)
        self._queue = JobQueue(connection, ingest, wards, settings, tables.scaling)
        self._done = Done(tables.done, store, spool)
        self._lister = Lister(jobs, self._inputs, self._queue, assignments, store)
        quiet_s = settings.repair_quiet_s
        self._repairer = Repairer(jobs, self._inputs, self._queue, folder, events, quiet_s)
        self._restarter = Restarter(jobs, self._inputs, self._queue, assignments, events)
        self._speculator = Speculator(
            jobs, self._inputs, self._queue, outcomes, connection, wards, events, clock
        )
        self._deadlines = Deadlines(jobs, clock)
        scratch = spool or Path(tempfile.gettempdir())
        archiver = Archiver(outcomes, store, spool)
        self._merger = Merger(archiver, outcomes, self._inputs, store, scratch)
        self._finisher = Finisher(jobs, archiver, self._done, self._queue, assignments)

    async def run(self, pipeline: str, job: str) -> None:
        """Do all that is to be done for a job; return once it is settled, waits, or is gone."""
        failures = 0
        while True:
            try:
                await self._run(pipeline, job)
            except _AGAIN as error:
                extra = {"pipeline": pipeline, "job": job, "reason": str(error)}
                log.warning("job is held up", extra=extra)
                await asyncio.sleep(backoff.delay_s(failures))
                failures += 1
            except (MovedOnError, InvalidJobChangeError):
                failures = 0
            else:
                return

    async def _run(self, pipeline: str, identifier: str) -> None:
        job = await self._jobs.get(pipeline, identifier)
        if job is None or settled(job) or job.state is JobState.WAITING:
            return
        tracing.current.set(job.traceparent)
        async with self._folder.attached(job) as live:
            if job.committing and await self._committer.has_committed(job):
                job = await self._end(live, job, JobState.SUCCESS)
            if job.state in _WORKING and self._deadlines.over(job):
                job = await self._deadlines.kill(job)
            if job.state in _WORKING:
                try:
                    await self._work(live, job)
                except _LOST as error:
                    await self._fail(live, pipeline, identifier, error)
                job = self._jobs.known(pipeline, identifier)
                if job is None:
                    return
            if job.state is JobState.KILLING:
                job = await self._kill(live, job)
            if job.state.ended:
                await self._finisher.finish(live, job)

    async def _work(self, live: LiveJob, job: records.Job) -> None:
        """Bring a job to its end; or return when somebody else has taken it to another state."""
        await self._restore(live, job)
        try:
            async with asyncio.TaskGroup() as tasks:
                helpers = [
                    tasks.create_task(self._folder.catch_up(live, job), name="catch-up"),
                    tasks.create_task(self._repairer.watch(live, job), name="repair"),
                    tasks.create_task(self._restarter.watch(live, job), name="restarts"),
                    tasks.create_task(self._speculator.watch(live, job), name="speculation"),
                    tasks.create_task(self._deadlines.watch(job), name="deadline"),
                ]
                ends = [
                    tasks.create_task(self._advance(live, job), name="advance"),
                    tasks.create_task(self._taken_away(job), name="taken-away"),
                ]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for task in (*helpers, *ends):
                    task.cancel()
        except BaseExceptionGroup as group:
            raise _worst(group) from None

    async def _restore(self, live: LiveJob, job: records.Job) -> None:
        """Tell the fold what the record says; outcomes may be coming in already."""
        live.handle(Opened(windows.end(job.listed_to) if job.total is None else job.total))
        for window in range(len(job.skipped)):
            skipped = await self._outcomes.skipped_indexes(job, window)
            live.handle(WindowListed(min(windows.start(window + 1), job.listed_to), skipped))
        if job.total is not None:
            live.handle(ListingEnded(job.total))

    async def _taken_away(self, job: records.Job) -> None:
        """Return once the job is killed or deleted."""
        await self._jobs.until(
            job.pipeline,
            lambda jobs: (
                not any(each.id == job.id and each.state is not JobState.KILLING for each in jobs)
            ),
        )

    async def _advance(self, live: LiveJob, job: records.Job) -> None:
        if job.state is JobState.LISTING:
            await self._event(job, "is listing its datums")
            job = await self._lister.run(live, job)
        elif job.state is JobState.RUNNING and live.fold.ahead:
            await self._queue.open(job)
            await self._assignments.publish(job.pipeline)
        if job.state is JobState.RUNNING:
            await live.until(_complete)
            job = await self._judge(live, job)
        if job.state is JobState.MERGING:
            await self._assignments.publish(job.pipeline)
            await live.until(_complete)
            await self._commit(live, job)

    async def _judge(self, live: LiveJob, job: records.Job) -> records.Job:
        """Go on to MERGING, or end with FAILURE if a datum is bad."""
        if live.fold.bad:
            reason = await self._why(live, job)
            judged = partial(_judged, live.fold)
            return await self._end(live, job, JobState.FAILURE, reason=reason, only_if=judged)
        return await self._jobs.change(
            job.pipeline, job.id, _from(JobState.RUNNING, JobState.MERGING, live.fold)
        )

    async def _commit(self, live: LiveJob, job: records.Job) -> None:
        # the wait comes first: nothing names what a merge makes until it is committed, and only for so
        # short a time is its youth enough to keep collections from it
        await self._jobs.until(
            job.pipeline,
            lambda jobs: all(each.state.ended for each in jobs if each.order < job.order),
        )
        try:
            written, archive = await self._merger.merge(job, live)
        except OutputError as error:
            await self._end(live, job, JobState.FAILURE, reason=error.reason)
            return
        job = await self._jobs.change(job.pipeline, job.id, partial(_committing, archive))
        try:
            await self._committer.commit_output(job, written.manifest, written.files, written.size)
        except (errors.AlreadyExistsError, errors.NotFoundError) as error:
            await self._end(live, job, JobState.FAILURE, reason=str(error))
            return
        await self._end(live, job, JobState.SUCCESS)

    async def _end(
        self,
        live: LiveJob,
        job: records.Job,
        state: JobState,
        *,
        reason: str = "",
        only_if: Callable[[records.Job], bool] = lambda _: True,
    ) -> records.Job:
        now = self._clock.wall_ns()

        def ended(old: records.Job) -> records.Job:
            if old.state is not job.state or not only_if(old):
                raise MovedOnError(old)
            return msgspec.structs.replace(
                old,
                state=state,
                reason=reason[:_REASON_LENGTH] or old.reason,
                ended_ns=now,
                counts=old.counts if old.outcomes else live.fold.counts,
                output=old.id if state is JobState.SUCCESS else "",
                committing=False,
            )

        ended_job = await self._jobs.change(job.pipeline, job.id, ended)
        await self._event(ended_job, f"is {state}" + (f": {reason}" if reason else ""))
        return ended_job

    async def _fail(
        self, live: LiveJob, pipeline: str, identifier: str, error: errors.TrunklineError
    ) -> None:
        """End a job whose inputs, or what it has made of them, cannot be read any more."""
        job = await self._jobs.get(pipeline, identifier)
        if job is not None and job.state in _WORKING:
            await self._end(live, job, JobState.FAILURE, reason=str(error))

    async def _kill(self, live: LiveJob, job: records.Job) -> records.Job:
        live.handle(Killed())
        await self._assignments.publish(job.pipeline)
        await self._queue.close(job)
        return await self._end(live, job, JobState.KILLED)

    async def _why(self, live: LiveJob, job: records.Job) -> str:
        """Return what went wrong, with the first datum that failed."""
        job = self._jobs.known(job.pipeline, job.id) or job
        index = live.fold.failed(1)[0]
        outcome = await self._outcomes.of(job, index)
        told = (await self._inputs.named(job, {index}))[index]
        detail = outcome.reason if outcome is not None else "its outcome is gone"
        return f"{live.fold.bad} of {counted(job.total or 0, 'datum')} failed: {told}: {detail}"

    async def _event(self, job: records.Job, text: str) -> None:
        extra = {"pipeline": job.pipeline, "job": job.id, "state": job.state}
        log.info("job changed", extra=extra)
        text = f"job {job.pipeline}@{job.id} {text}"
        await self._events.mention("job-changed", job.pipeline, text, job=job.id)


def _complete(fold: Fold) -> bool:
    return fold.complete


def _judged(fold: Fold, job: records.Job) -> bool:
    """Whether all datums have ended, those too that were restarted in the very last moment."""
    return fold.complete and fold.knows(job.generations)


def _from(state: JobState, to: JobState, fold: Fold) -> Callable[[records.Job], records.Job]:
    def changed(old: records.Job) -> records.Job:
        if old.state is not state or not _judged(fold, old):
            raise MovedOnError(old)
        return msgspec.structs.replace(old, state=to, counts=fold.counts)

    return changed


def _committing(archive: Archive, old: records.Job) -> records.Job:
    if old.state is not JobState.MERGING:
        raise MovedOnError(old)
    return msgspec.structs.replace(archive.in_record(old), committing=True)


def _worst(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error in a group that says most: one that does not pass by itself, if there is."""
    found: list[BaseException] = []
    todo: list[BaseException] = [group]
    while todo:
        each = todo.pop()
        if isinstance(each, BaseExceptionGroup):
            todo += reversed(each.exceptions)
        else:
            found.append(each)
    return next((each for each in found if not isinstance(each, _AGAIN)), found[0])
