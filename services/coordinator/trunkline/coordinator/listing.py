"""The listing of a job: window after window of datums, each looked up, put into the queue, recorded.

For each window (`core.windows`), in this order, and what is left where the process dies after it:

1. its datums are listed, and their fingerprints looked up in the pinned runs of the done index
   (nothing: both are functions of what the job record pins);
2. those that are not done are put into the queue, and all PubAcks waited for (some or all are there:
   they are put again with the same Msg-Ids, or else refused at their second outcome);
3. the outcomes of those that are done are stored as a run, as they are, by their new indexes (it is
   stored again);
4. the job record moves `listed_to` on, with that run (the next window begins).

The first window is small, so work begins while the listing goes on. The consumer is made, and the
job assigned to workers, before the first datum is put; a job whose datums are all done never has
either. Listing pauses while AHEAD datums are without an outcome.
"""

import logging
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial

import msgspec

from trunkline.contracts import errors, records
from trunkline.contracts.states import JobState
from trunkline.coordinator.assignments import Assignments
from trunkline.coordinator.core import outcomes as reading
from trunkline.coordinator.core import windows
from trunkline.coordinator.core.datums import Datum
from trunkline.coordinator.core.job import Fold, ListingEnded, Opened, WindowListed
from trunkline.coordinator.folding import LiveJob
from trunkline.coordinator.inputs import Inputs, Portions
from trunkline.coordinator.jobs import JobStore
from trunkline.coordinator.lookup import Lookup
from trunkline.coordinator.queue import JobQueue
from trunkline.storage.runs import RunWriter
from trunkline.storage.store import Store

log = logging.getLogger(__name__)

AHEAD = 200_000
"""Datums without an outcome beyond which a listing pauses: twice what 1,000 workers can hold with 100
leases each, and some 0.2 GB of the queue's disk (messages of one file; never more than 6.4 GB)."""


class MovedOnError(errors.TrunklineError):
    """The job record is not what this runner has made it: look at it again."""

    def __init__(self, job: records.Job) -> None:
        super().__init__(f"job {job.pipeline}@{job.id} is {job.state} now")


class Lister:
    """Lists jobs. See the module."""

    def __init__(
        self,
        jobs: JobStore,
        inputs: Inputs,
        queue: JobQueue,
        assignments: Assignments,
        store: Store,
    ) -> None:
        self._jobs, self._inputs = jobs, inputs
        self._queue, self._assignments, self._store = queue, assignments, store

    async def run(self, live: LiveJob, job: records.Job) -> records.Job:
        """List what is left of a job in LISTING; return it in RUNNING.

        Raises:
            MovedOnError: the job is not to be listed any more.
            UnavailableError: the server or the store is away; begin again.
        """
        lookup = Lookup(self._store, job.done_runs)
        first, opened = job.listed_to, False
        async with aclosing(self._inputs.datums(job, lambda index: index >= first)) as datums:
            portions = Portions(datums)
            while job.state is JobState.LISTING:
                size = windows.end(job.listed_to) - job.listed_to
                await live.until(partial(_has_room, size))
                live.handle(Opened(job.listed_to + size))
                window = await portions.next(size)
                hits = await lookup.find([datum.fingerprint for datum in window])
                misses = [datum for datum in window if datum.fingerprint not in hits]
                if misses and not opened:
                    await self._queue.open(job)
                    await self._assignments.publish(job.pipeline)
                    opened = True
                await self._queue.put(job, misses, round_=1)
                skipped = await self._skipped(window, hits)
                ended = len(window) < size
                barren = ended and not job.listed_to + len(window)
                reason = await self._inputs.why_none(job) if barren else ""
                job = await self._record(
                    job, window, skipped, ended=ended, reason=reason, live=live
                )
                indexes = [datum.index for datum in window if datum.fingerprint in hits]
                live.handle(WindowListed(job.listed_to, indexes))
                if job.total is not None:
                    live.handle(ListingEnded(job.total))
        return job

    async def _skipped(self, window: Sequence[Datum], hits: dict[bytes, bytes]) -> records.Skipped:
        if not hits:
            return records.Skipped(run="", count=0)
        writer = RunWriter(self._store)
        for datum in window:
            done = hits.get(datum.fingerprint)
            if done is not None and writer.push(reading.key(datum.index), done):
                await writer.flush()
        return records.Skipped(run=await writer.finish(), count=writer.count)

    async def _record(
        self,
        job: records.Job,
        window: Sequence[Datum],
        skipped: records.Skipped,
        *,
        ended: bool,
        reason: str,
        live: LiveJob,
    ) -> records.Job:
        to = job.listed_to + len(window)

        def moved(old: records.Job) -> records.Job:
            if old.state is not JobState.LISTING or old.listed_to != job.listed_to:
                raise MovedOnError(old)
            return msgspec.structs.replace(
                old,
                state=JobState.RUNNING if ended else JobState.LISTING,
                listed_to=to,
                total=to if ended else None,
                skipped=(*old.skipped, skipped),
                counts=live.fold.counts,
                reason=reason or old.reason,
            )

        job = await self._jobs.change(job.pipeline, job.id, moved)
        extra = {"pipeline": job.pipeline, "job": job.id, "listed": to, "skipped": skipped.count}
        log.info("window listed", extra=extra)
        return job


def _has_room(size: int, fold: Fold) -> bool:
    return fold.ahead + size <= AHEAD
