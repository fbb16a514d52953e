"""The done index: what a pipeline has processed, by fingerprint, so that it need not be done again.

The index is a list of immutable runs, its head in KV. Each run maps fingerprints (16 bytes) to keys
of one *outcomes run*, which it names under the empty key, its first. For a job's own run that is the
job's archive; runs that were merged have an outcomes run of their own. So fingerprints, which have no
order that anybody could make use of, are small and read as a whole (`lookup`), while outcomes lie in
the order of their datums: a job that finds what the one before it did reads them from front to back.

Appending a job: its archive and the run over it are in the store, and in its record; the head moves,
with the job's id in it. Killed before the move, it is made again; killed after it, the second append
sees the id and does nothing. Merging moves the head in the same way, from runs to one that says the
same. Runs that the head names no more stay for the jobs that have pinned them.
"""

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec

from trunkline.bus.ports import Table
from trunkline.contracts import errors, records
from trunkline.coordinator import picking
from trunkline.coordinator.core import outcomes as reading
from trunkline.coordinator.core import tiers
from trunkline.coordinator.spooling import Spool
from trunkline.runtime.turns import Turns
from trunkline.storage import keys, runs
from trunkline.storage.runs import Run, RunWriter
from trunkline.storage.store import Store

log = logging.getLogger(__name__)

REMEMBERED = 256
"""Jobs whose append is remembered: far more than can be ending at once."""
_SOURCE = b""
"""The key under which a run names its outcomes run."""
OUTCOMES_SCALE = 2
"""Of the blocks of outcomes: they are read in a row or once in a while, and never shared by runs."""
_AT_ONCE = 4096

LOST = (errors.NotFoundError, errors.CorruptObjectError, errors.MalformedMessageError)
"""What reading a run raises that cannot be read, now or later."""


@dataclass(frozen=True)
class Segment:
    """One run of the index with its outcomes run, opened."""

    index: Run
    outcomes: Run

    async def places(self) -> AsyncGenerator[tuple[Sequence[bytes], Sequence[bytes]], None]:
        """Yield the index, some at a time: fingerprints, in order, and keys of the outcomes run."""
        async for some in self.index.batches(first=1):
            yield some


class Done:
    """The done indexes of all pipelines.

    Args:
        table: Their heads.
        store: Holds the runs.
        spool: A directory for what is too large for memory while it is sorted.
    """

    def __init__(
        self, table: Table[records.DoneIndex], store: Store, spool: Path | None = None
    ) -> None:
        self._table, self._store, self._spool = table, store, spool
        self._turns = Turns()

    async def append(self, job: records.Job) -> None:
        """Put what a job has processed, by its record, into its pipeline's index; once."""
        async with self._turns.of(job.pipeline):
            while True:
                index, revision = await self._head(job.pipeline)
                if job.id in index.jobs:
                    return
                moved = records.DoneIndex(
                    runs=(*index.runs, job.done_run) if job.done_run else index.runs,
                    jobs=(*index.jobs, job.id)[-REMEMBERED:],
                )
                if await self._move(job.pipeline, moved, revision):
                    break
            await self._merge(job.pipeline)

    async def _head(self, pipeline: str) -> tuple[records.DoneIndex, int]:
        entry = await self._table.get(pipeline)
        if entry is None or entry.value is None:
            return records.DoneIndex(), 0
        return entry.value, entry.revision

    async def _move(self, pipeline: str, index: records.DoneIndex, revision: int) -> bool:
        try:
            if revision:
                await self._table.update(pipeline, index, revision)
            else:
                await self._table.create(pipeline, index)
        except (errors.ConflictError, errors.AlreadyExistsError):
            return False
        return True

    async def _merge(self, pipeline: str) -> None:
        """Merge the newest runs into one, if there are too many."""
        while True:
            index, revision = await self._head(pipeline)
            if len(index.runs) <= tiers.MOST:
                return
            counts = [await self._count(key) for key in index.runs]
            kept = len(counts) - tiers.newest_to_merge(counts)
            merged = await self._merged(index.runs[kept:])
            moved = msgspec.structs.replace(index, runs=(*index.runs[:kept], merged))
            if await self._move(pipeline, moved, revision):
                log.info("done index merged", extra={"pipeline": pipeline, "runs": len(moved.runs)})
                return

    async def _count(self, key: str) -> int:
        try:
            return (await runs.open_run(self._store, key)).count
        except LOST as error:
            warn(key, error)
            return 0

    async def _merged(self, keys: Sequence[str]) -> str:
        """Return a run that finds all that these find, the newest where they overlap."""
        segments = await open_segments(self._store, keys)
        with Spool(self._spool) as by_fingerprint, Spool(self._spool) as by_place:
            for number, segment in reversed(list(enumerate(segments))):
                try:
                    async for some, places in segment.places():
                        for fingerprint, place in zip(some, places, strict=True):
                            await by_fingerprint.add(fingerprint, number.to_bytes(4, "big") + place)
                except LOST as error:
                    warn(segment.index.key, error)
            last = _SOURCE
            for fingerprint, place in by_fingerprint.sorted():
                if fingerprint != last:
                    await by_place.add(place, fingerprint)
                last = fingerprint
            return await self._rewritten(segments, by_place)

    async def _rewritten(self, segments: Sequence[Segment], by_place: Spool) -> str:
        """Write the outcomes at (segment, key) one after the other, and the run that finds them."""
        writer = RunWriter(self._store, scale=OUTCOMES_SCALE)
        with Spool(self._spool) as spool:
            async with aclosing(_outcomes(segments, by_place)) as outcomes:
                async for fingerprint, outcome in outcomes:
                    place = reading.key(spool.count)
                    await spool.add(fingerprint, place)
                    await writer.add(place, outcome)
            return await write_index(self._store, await writer.finish(), spool)


async def write_index(store: Store, source: str, spool: Spool) -> str:
    """Write a run of the index from (fingerprint, key in the source) items; return it.

    Of equal fingerprints the first one counts.
    """
    writer = RunWriter(store)
    await writer.add(_SOURCE, source.encode())
    last = _SOURCE
    for fingerprint, place in spool.sorted():
        if fingerprint != last and writer.push(fingerprint, place):
            await writer.flush()
        last = fingerprint
    return await writer.finish()


async def open_segments(store: Store, keys: Sequence[str]) -> list[Segment]:
    """Open runs of the index, oldest first; one that cannot be read finds nothing any more."""
    segments: list[Segment] = []
    for key in keys:
        try:
            index = await runs.open_run(store, key)
            segments.append(Segment(index, await runs.open_run(store, await source(index))))
        except LOST as error:
            warn(key, error)
    return segments


async def source(index: Run) -> str:
    """Return the key of the outcomes run that a run of the index names."""
    found = await index.get(_SOURCE)
    try:
        return keys.of(keys.sha256((found or b"").decode()))
    except (errors.NotFoundError, UnicodeDecodeError):
        raise errors.MalformedMessageError(index.key, "it names no outcomes") from None


async def _outcomes(
    segments: Sequence[Segment], by_place: Spool
) -> AsyncGenerator[tuple[bytes, bytes], None]:
    """Yield (fingerprint, outcome) for sorted (segment number and key, fingerprint) items."""
    items = by_place.sorted()
    while chosen := list(islice(items, _AT_ONCE)):
        numbers = sorted({place[:4] for place, _ in chosen})
        for number in numbers:
            wanted = {place[4:]: each for place, each in chosen if place[:4] == number}
            outcomes = segments[int.from_bytes(number, "big")].outcomes
            try:
                async with aclosing(picking.pick(outcomes, sorted(wanted))) as found:
                    async for place, outcome in found:
                        yield wanted[place], outcome
            except LOST as error:
                warn(outcomes.key, error)


def warn(key: str, error: Exception) -> None:
    """Tell of a run that cannot be read."""
    log.warning("run of a done index cannot be read", extra={"run": key, "reason": str(error)})
