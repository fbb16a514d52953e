"""What there is to read of an ended job: its record, its inputs, its outcomes, its output.

Nothing is asked of a coordinator, so this tells the same whether one runs or not. The records are read
from their buckets, outcomes from the archive in the store, or from the stream as long as there is none;
the datums are listed anew from the input commits, as the job's own coordinator once did. All of it is
read by users that can change nothing (`permissions`, `auditor`). The records are as new as when they are
asked for (`newest`): a job's end shows also where the server that answers has missed it.
"""

import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from trunkline.bus import connection
from trunkline.bus.connection import NatsConnection
from trunkline.bus.newest import Newest
from trunkline.bus.ports import Table
from trunkline.bus.tables import KvTable
from trunkline.contracts import errors, names, records, subjects
from trunkline.contracts.messages import Outcome
from trunkline.coordinator.core import outcomes as reading
from trunkline.coordinator.core.datums import Datum
from trunkline.coordinator.inputs import Inputs
from trunkline.coordinator.tables import commit_key, job_key
from trunkline.storage import runs
from trunkline.storage.store import Store, open_store

_ID_DIGITS = 32


class NotEndedError(errors.TrunklineError):
    """A job is still at work, so nothing can be said yet."""

    def __init__(self, job: records.Job) -> None:
        super().__init__(
            f"{job.pipeline}@{job.id} is {job.state}: it can be looked over once it has ended; see"
            " `trunkline wait`"
        )
        self.job = job.id


class Evidence:
    """See the module.

    Args:
        jobs: The bucket of jobs.
        commits: The bucket of commits.
        data: In DATA, for outcomes that are in no archive yet.
        store: Holds all else.
        spool: A directory for what is too large for memory while it is sorted.
    """

    def __init__(
        self,
        jobs: Table[records.Job],
        commits: Table[records.Commit],
        data: NatsConnection,
        store: Store,
        spool: Path,
    ) -> None:
        self._jobs, self._commits, self._data = jobs, commits, data
        self.store, self.spool = store, spool

    async def job(self, pipeline: str, digits: str) -> records.Job:
        """Return the pipeline's job whose id begins with these digits; its newest one for none.

        Raises:
            NotFoundError: there is none. UnclearError: there are several.
        """
        if len(digits) == _ID_DIGITS:
            entry = await self._jobs.get(job_key(pipeline, digits))
            found = [] if entry is None or entry.value is None else [entry.value]
        else:
            entries = await self._jobs.all(f"{names.pipeline(pipeline)}.")
            found = [each.value for each in entries if each.value is not None]
            found = [each for each in found if each.id.startswith(digits)]
        if not found:
            kind, named = ("job", f"{pipeline}@{digits}") if digits else ("a job of", pipeline)
            remedy = "or its record was taken away (TRUNKLINE_KEEP_JOBS), so nothing can be said"
            raise errors.NotFoundError(kind, named, remedy)
        if digits and len(found) > 1:
            raise UnclearError(pipeline, digits, len(found))
        return max(found, key=lambda each: each.order)

    async def commit(self, repo: str, identifier: str) -> records.Commit | None:
        """Return a commit's record, or None."""
        entry = await self._commits.get(commit_key(repo, identifier))
        return None if entry is None else entry.value

    def datums(self, job: records.Job) -> AsyncGenerator[Sequence[Datum], None]:
        """List the job's datums anew; close it (`aclosing`).

        Raises:
            NotFoundError: a commit or its manifest is gone.
        """
        inputs = Inputs(self._commits, self.store, self.spool, stores=False)
        return inputs.datums(job, lambda _: True)

    async def own(self, job: records.Job) -> AsyncGenerator[tuple[int, Outcome], None]:
        """Yield the job's own outcomes, each with the index of its place, in any order.

        Raises:
            NotFoundError, CorruptObjectError, MalformedMessageError: the archive is damaged.
        """
        if job.outcomes:
            async for index, outcome in self._run(job.outcomes):
                yield index, outcome
            return
        below = subjects.outcomes_anywhere(job.pipeline, job.id)
        async for page in self._data.reads.pages(subjects.OUTCOMES_STREAM, below):
            for stored in page:
                place = reading.place(stored.subject)
                if place and place.generation == job.generations.get(str(place.index), 1):
                    yield place.index, reading.read(place, stored.data)

    async def skipped(self, job: records.Job) -> AsyncGenerator[tuple[int, Outcome], None]:
        """Yield what earlier jobs have left of the job's skipped datums, with their indexes here.

        Raises as `own`.
        """
        for window in job.skipped:
            if window.count:
                async for index, outcome in self._run(window.run):
                    yield index, outcome

    async def _run(self, key: str) -> AsyncIterator[tuple[int, Outcome]]:
        run = await runs.open_run(self.store, key)
        async for place, kept in run.items():
            yield int.from_bytes(place, "big"), _whole(key, kept)


class UnclearError(errors.TrunklineError):
    """The first digits of an id are those of several jobs."""

    def __init__(self, pipeline: str, digits: str, count: int) -> None:
        super().__init__(f"{count} jobs of {pipeline!r} begin with {digits!r}: give more digits")
        self.pipeline, self.digits, self.count = pipeline, digits, count


def _whole(key: str, kept: bytes) -> Outcome:
    try:
        return reading.whole(kept)
    except ValueError as error:
        raise errors.MalformedMessageError(key, f"it holds no outcomes: {error}") from error


@asynccontextmanager
async def opened(control: str, data: str, store: str) -> AsyncIterator[Evidence]:
    """Connect as an auditor.

    Args:
        control: URL of NATS for the user `auditor`.
        data: The same for `auditor-data`.
        store: URL of the object store.
    """
    inbox = subjects.AUDITOR_INBOX
    async with (
        connection.connect(control, name="auditor", inbox=inbox) as records_there,
        connection.connect(data, name="auditor-data", inbox=inbox) as outcomes_there,
    ):
        reads = Newest(records_there)
        yield Evidence(
            KvTable(records_there, subjects.JOBS, records.Job, reads=reads),
            KvTable(records_there, subjects.COMMITS, records.Commit, reads=reads),
            outcomes_there,
            open_store(store),
            Path(tempfile.gettempdir()),
        )
