"""The outcomes of one job, wherever they lie: the outcome stream, its archive, its skipped windows.

While a job lives, its own outcomes are in the stream, in the order in which they came; once it is
compacted they are a run in the store, by index. Those of skipped datums are in the runs of its listing
windows all along, just as the job that did them stored them; they are read as SKIPPED, at their new
index. Callers see one sequence.
"""

import heapq
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from functools import partial
from itertools import islice
from operator import attrgetter

from trunkline.bus.connection import NatsConnection
from trunkline.bus.newest import Newest
from trunkline.bus.ports import Stored
from trunkline.contracts import records, subjects
from trunkline.contracts.messages import Outcome
from trunkline.contracts.states import DatumState
from trunkline.contracts.wards import Wards
from trunkline.coordinator.core import outcomes as reading
from trunkline.coordinator.core import windows
from trunkline.coordinator.core.job import Fold
from trunkline.coordinator.gathering import Gathered, Item
from trunkline.storage import runs, together
from trunkline.storage.store import Store

_AT_ONCE = 32
"""Single outcomes that are asked for at once."""


class Outcomes:
    """Reads outcomes.

    Args:
        connection: In DATA.
        wards: For the subjects.
        store: Holds archives and windows.
    """

    def __init__(self, connection: NatsConnection, wards: Wards, store: Store) -> None:
        self._connection, self._wards, self._store = connection, wards, store

    async def stored(
        self, job: records.Job
    ) -> AsyncGenerator[Sequence[tuple[Outcome, Stored]], None]:
        """Yield what the stream holds now of the job, in batches; what does not count is left out.

        Each comes with what it was read from. Close it (`aclosing`) if it is not read to its end.
        Of all that was stored before nothing is missed, whichever server answers (see `Newest`).

        Raises:
            UnavailableError: the server does not answer.
        """
        below = _bound(job)
        subject = subjects.outcomes_of(self._wards.of(job.pipeline), job.id)
        pages = Newest(self._connection).pages(subjects.OUTCOMES_STREAM, subject)
        async with aclosing(pages) as batches:
            async for batch in batches:
                found = [
                    (reading.read(place, each.data), each)
                    for each in batch
                    if (place := reading.place(each.subject)) is not None
                    and place.index < below
                    and place.generation == job.generations.get(str(place.index), 1)
                ]
                if found:
                    yield found

    async def gather(self, job: records.Job, gathered: Gathered) -> None:
        """Gather what the stream holds now of the job; the first of an index counts."""
        async with aclosing(self.stored(job)) as batches:
            async for batch in batches:
                for outcome, stored in batch:
                    if outcome.index not in gathered:
                        gathered.add(outcome.index, reading.keep(outcome, stored.data))

    async def skipped(self, job: records.Job, first: int = 0) -> AsyncGenerator[Outcome, None]:
        """Yield what stands for the job's skipped datums from an index on, by index."""
        async with aclosing(self.kept_of_skipped(job, first)) as batches:
            async for batch in batches:
                for index, kept in batch:
                    yield reading.skipped(reading.whole(kept), index)

    async def kept_of_skipped(
        self, job: records.Job, first: int = 0
    ) -> AsyncGenerator[Sequence[Item], None]:
        """Yield the same as an earlier job has left it: new indexes with kept outcomes, in batches."""
        for window in range(windows.number(first), len(job.skipped)):
            if job.skipped[window].count:
                run = await runs.open_run(self._store, job.skipped[window].run)
                async for some_keys, values in run.batches(await run.position(reading.key(first))):
                    indexes = [int.from_bytes(key, "big") for key in some_keys]
                    yield list(zip(indexes, values, strict=True))

    async def skipped_indexes(self, job: records.Job, window: int) -> Sequence[int]:
        """Return which indexes of a window are skipped; the run is read only if it must be."""
        start = windows.start(window)
        end = min(windows.start(window + 1), job.listed_to)
        skipped = job.skipped[window]
        if skipped.count == end - start:
            return range(start, end)
        if not skipped.count:
            return ()
        run = await runs.open_run(self._store, skipped.run)
        found: list[int] = []
        async for some_keys, _ in run.batches():
            found += (int.from_bytes(key, "big") for key in some_keys)
        return found

    async def of(self, job: records.Job, index: int) -> Outcome | None:
        """Return the job's own outcome of a datum, as the stream holds it."""
        generation = job.generations.get(str(index), 1)
        subject = subjects.outcome(self._wards.of(job.pipeline), job.id, index, generation)
        stored = await self._connection.last(subjects.OUTCOMES_STREAM, subject)
        if stored is None:
            return None
        return reading.read(reading.Place(job.pipeline, job.id, index, generation), stored.data)

    async def ledgers_stored(self, job: records.Job) -> AsyncGenerator[Sequence[Item], None]:
        """Yield indexes with what stands in the datums' attempt ledgers now, as workers sent it."""
        subject = subjects.attempts_of(self._wards.of(job.pipeline), job.id)
        pages = Newest(self._connection).pages(subjects.ATTEMPTS_STREAM, subject)
        async with aclosing(pages) as batches:
            async for batch in batches:
                found = [(reading.index_of(each.subject), each.data) for each in batch]
                yield [(at, data) for at, data in found if at is not None and at < _bound(job)]

    async def ledgers(self, job: records.Job, indexes: Collection[int]) -> dict[int, bytes]:
        """Return the attempt ledgers of datums without an outcome, where there are any."""
        if job.attempts:
            run = await runs.open_run(self._store, job.attempts)
            calls = [partial(run.get, reading.key(index)) for index in indexes]
            found = await together.run(calls)
        else:
            ward = self._wards.of(job.pipeline)
            named = [subjects.attempts(ward, job.id, index) for index in indexes]
            last = partial(self._connection.last, subjects.ATTEMPTS_STREAM)
            stored = await together.run([partial(last, subject) for subject in named])
            found = [None if each is None else each.data for each in stored]
        pairs = zip(indexes, found, strict=True)
        return {index: data for index, data in pairs if data is not None}

    async def page(
        self,
        job: records.Job,
        fold: Fold | None,
        *,
        after: int,
        limit: int,
        states: Collection[DatumState] = (),
    ) -> list[Outcome]:
        """Return outcomes by index, in whichever state the job is.

        Args:
            job: The job.
            fold: What is known of it, while it lives.
            after: The index after which to begin.
            limit: How many at most.
            states: Only these; empty for all.
        """
        wanted = frozenset(states) or frozenset(DatumState)
        own = await _first(self._own(job, fold, after + 1, limit, wanted), limit)
        skipped: list[Outcome] = []
        if DatumState.SKIPPED in wanted:
            skipped = await _first(self.skipped(job, after + 1), limit)
        return sorted(own + skipped, key=attrgetter("index"))[:limit]

    async def _own(
        self,
        job: records.Job,
        fold: Fold | None,
        first: int,
        limit: int,
        wanted: frozenset[DatumState],
    ) -> AsyncGenerator[Outcome, None]:
        if job.outcomes:
            run = await runs.open_run(self._store, job.outcomes)
            async for _, value in run.scan(reading.key(first)):
                if reading.state(value) in wanted:
                    yield reading.whole(value)
        elif fold is not None:
            async for outcome in self._live(job, fold, first, wanted):
                yield outcome
        else:
            for outcome in await self._searched(job, first, limit, wanted):
                yield outcome

    async def _live(
        self, job: records.Job, fold: Fold, first: int, wanted: frozenset[DatumState]
    ) -> AsyncGenerator[Outcome, None]:
        """Ask the stream for one outcome after the other: the fold says which there are."""
        own = wanted - {DatumState.SKIPPED}
        indexes = (index for index in range(first, fold.opened) if fold.state_of(index) in own)
        while chosen := list(islice(indexes, _AT_ONCE)):
            for outcome in await together.run([partial(self.of, job, index) for index in chosen]):
                if outcome is not None:
                    yield outcome

    async def _searched(
        self, job: records.Job, first: int, limit: int, wanted: frozenset[DatumState]
    ) -> list[Outcome]:
        """Look through all that the stream holds: only between a job's end and its archive."""
        found: list[Outcome] = []
        async with aclosing(self.stored(job)) as batches:
            async for batch in batches:
                found += (each for each, _ in batch if each.index >= first and each.state in wanted)
                found = heapq.nsmallest(limit, found, key=attrgetter("index"))
        return found


def _bound(job: records.Job) -> int:
    """Return the index below which all datums are that may have been published."""
    return windows.end(job.listed_to) if job.total is None else job.total


async def _first(outcomes: AsyncGenerator[Outcome, None], count: int) -> list[Outcome]:
    found: list[Outcome] = []
    async with aclosing(outcomes):
        async for outcome in outcomes:
            found.append(outcome)
            if len(found) >= count:
                break
    return found
