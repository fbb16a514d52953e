"""A job's own outcomes, once there will be no more of them, as runs in the store.

One pass over them by index makes all that is made of them: the archive (index -> kept outcome), the
run for the done index (fingerprint -> index, of what was processed), the exact counts, and, where the
job's output is merged, a look at each outcome that has files. They come from what the live job has
gathered; where that is not whole, after a restart or a kill, they are gathered from the stream. Of datums
that have no outcome, as in a killed job, the ledgers are kept, to be shown.

Nothing of this is recorded here. A pass that was interrupted is made again and comes to the same runs.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec

from trunkline.contracts import records
from trunkline.contracts.states import DatumState
from trunkline.coordinator import done
from trunkline.coordinator.core import outcomes as reading
from trunkline.coordinator.core.job import Fold
from trunkline.coordinator.folding import LiveJob
from trunkline.coordinator.gathering import Gathered
from trunkline.coordinator.outcomes import Outcomes
from trunkline.coordinator.spooling import Spool
from trunkline.storage.runs import RunWriter
from trunkline.storage.store import Store

_PROCESSED = DatumState.PROCESSED


class Archive(msgspec.Struct, frozen=True, kw_only=True):
    """What a job's record says of its outcomes in the end."""

    outcomes: str
    done_run: str
    counts: records.Counts
    attempts: str = ""

    def in_record(self, job: records.Job) -> records.Job:
        """Return the record with all of it."""
        return msgspec.structs.replace(
            job,
            outcomes=self.outcomes,
            done_run=self.done_run,
            counts=self.counts,
            attempts=self.attempts,
        )


class Archiver:
    """Archives jobs.

    Args:
        outcomes: Where the stream is read.
        store: Gets the runs.
        spool: A directory for scratch files; None for the system's own place.
    """

    def __init__(self, outcomes: Outcomes, store: Store, spool: Path | None) -> None:
        self._outcomes, self._store, self._spool = outcomes, store, spool

    async def archive(
        self,
        job: records.Job,
        live: LiveJob,
        output: Callable[[int, bytes], Awaitable[None]] | None = None,
    ) -> Archive:
        """Write a job's archive.

        Args:
            job: Its record.
            live: What is known of it here.
            output: Called, by index, with each kept outcome that has files.

        Raises:
            UnavailableError: the server or the store is away; archive again.
            OSError: there is no room for a scratch file.
        """
        async with self._gathered(job, live) as gathered:
            forged = partial(_is_forged, live.fold) if _has_skipped(job) else None
            archive = await self._write(job, gathered, forged, output)
            if live.fold.complete:
                return archive
            ledgers = await self._ledgers(job, gathered)
            return msgspec.structs.replace(archive, attempts=ledgers)

    async def _ledgers(self, job: records.Job, gathered: Gathered) -> str:
        """Return the run of the ledgers of datums without an outcome."""
        with Gathered(self._spool) as ledgers:
            async with aclosing(self._outcomes.ledgers_stored(job)) as batches:
                async for batch in batches:
                    for index, data in batch:
                        if index not in gathered:
                            ledgers.add(index, data)
            writer = RunWriter(self._store)
            async for items in ledgers.batches():
                for index, data in items:
                    if writer.push(reading.key(index), data):
                        await writer.flush()
            run = await writer.finish()
            return run if writer.count else ""

    @asynccontextmanager
    async def _gathered(self, job: records.Job, live: LiveJob) -> AsyncIterator[Gathered]:
        at_hand = live.gathered()
        if at_hand is not None:
            yield at_hand
            return
        with Gathered(self._spool) as gathered:
            await self._outcomes.gather(job, gathered)
            yield gathered

    async def _write(
        self,
        job: records.Job,
        gathered: Gathered,
        forged: Callable[[int], bool] | None,
        output: Callable[[int, bytes], Awaitable[None]] | None,
    ) -> Archive:
        tally = dict.fromkeys(DatumState, 0)
        copied = 0
        writer = RunWriter(self._store, scale=done.OUTCOMES_SCALE)
        with Spool(self._spool) as spool:
            async for batch in gathered.batches():
                for index, kept in batch:
                    if forged is not None and forged(index):
                        continue
                    state, key = reading.state(kept), reading.key(index)
                    tally[state] += 1
                    copied += reading.was_copied(kept)
                    if writer.push(key, kept):
                        await writer.flush()
                    if state is _PROCESSED and spool.push(reading.fingerprint(kept), key):
                        await spool.spill()
                    if output is not None and reading.has_output(kept):
                        await output(index, kept)
            outcomes = await writer.finish()
            run = await done.write_index(self._store, outcomes, spool) if spool.count else ""
        return Archive(outcomes=outcomes, done_run=run, counts=_counts(job, tally, copied))


def _has_skipped(job: records.Job) -> bool:
    return any(window.count for window in job.skipped)


def _is_forged(fold: Fold, index: int) -> bool:
    """Whether a datum was skipped: nobody was asked for it, so its outcome is a lie."""
    return fold.state_of(index) is DatumState.SKIPPED


def _counts(job: records.Job, tally: dict[DatumState, int], copied: int) -> records.Counts:
    return records.Counts(
        processed=tally[DatumState.PROCESSED],
        skipped=sum(window.count for window in job.skipped),
        recovered=tally[DatumState.RECOVERED],
        failed=tally[DatumState.FAILED],
        quarantined=tally[DatumState.QUARANTINED],
        copied=copied,
    )
