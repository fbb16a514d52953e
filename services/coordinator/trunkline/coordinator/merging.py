"""The merge of all outcomes of a job into the manifest of its output.

Outcomes are read once, from the stream and from the skipped windows, in whatever order; their files
are sorted by path outside of memory, and written as a manifest. Nothing of it is kept: a merge that
was interrupted is made again and comes to the same manifest, most of whose blocks are in the store
already.

What workers say is checked here: each path is a path in a repo, each reference names an object. Two
datums that write one path, or one that writes a file where another one has a directory, are told
with both datums; see `OutputError`.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from pathlib import Path

from trunkline.contracts import errors, names, records
from trunkline.contracts.messages import File, Outcome
from trunkline.coordinator.inputs import Inputs
from trunkline.coordinator.outcomes import Outcomes
from trunkline.storage import manifests
from trunkline.storage.manifests import Written
from trunkline.storage.sorting import Sorter
from trunkline.storage.store import Store

_UNUSABLE = (
    errors.InvalidPathError,
    errors.NotFoundError,
    errors.CorruptObjectError,
    errors.MalformedMessageError,
)
"""What reading an output raises that no repetition can mend."""


class OutputError(errors.TrunklineError):
    """What the datums of a job have written cannot be one output: the job's own fault."""

    def __init__(self, reason: str, indexes: Iterable[int]) -> None:
        super().__init__(reason)
        self.reason, self.indexes = reason, tuple(indexes)


class _DuplicateError(Exception):
    def __init__(self, path: str, first: int, second: int) -> None:
        super().__init__(path)
        self.path, self.first, self.second = path, first, second


class Merger:
    """Merges outputs.

    Args:
        outcomes: Where outcomes are read.
        inputs: Names datums.
        store: Holds outputs, and gets the manifest.
        spool: A directory for what is too large for memory while it is sorted.
    """

    def __init__(self, outcomes: Outcomes, inputs: Inputs, store: Store, spool: Path) -> None:
        self._outcomes, self._inputs, self._store = outcomes, inputs, store
        self._spool = spool

    async def merge(self, job: records.Job) -> Written:
        """Return the manifest of all that the job's datums have written.

        Raises:
            OutputError: it cannot be one output.
            UnavailableError: the server or the store is away; merge again.
        """
        with Sorter(self._spool) as sorter:
            await self._collect(job, sorter)
            try:
                return await manifests.write(self._store, _files(sorter.sorted()))
            except _DuplicateError as error:
                first, second = error.first, error.second
                told = await self._inputs.named(job, {first, second})
                duplicate = errors.DuplicatePathError(error.path, told[first], told[second])
                raise OutputError(str(duplicate), (first, second)) from error

    async def _collect(self, job: records.Job, sorter: Sorter) -> None:
        async with aclosing(self._outcomes.stored(job)) as batches:
            async for batch in batches:
                for outcome in batch:
                    await self._add(job, outcome, sorter)
        async with aclosing(self._outcomes.skipped(job)) as skipped:
            async for outcome in skipped:
                await self._add(job, outcome, sorter)

    async def _add(self, job: records.Job, outcome: Outcome, sorter: Sorter) -> None:
        try:
            if outcome.files is not None:
                await sorter.add(outcome.files, outcome.index)
            elif outcome.manifest:
                manifest = await manifests.open_manifest(self._store, outcome.manifest)
                async for batch in manifest.batches():
                    await sorter.add(batch, outcome.index)
        except _UNUSABLE as error:
            told = await self._inputs.named(job, {outcome.index})
            reason = f"the output of {told[outcome.index]} cannot be used: {error}"
            raise OutputError(reason, (outcome.index,)) from error


async def _files(items: AsyncIterator[tuple[File, int]]) -> AsyncIterator[File]:
    """Yield files by path; raise _DuplicateError where a path is there twice, or is a directory."""
    last, path, writer = b"\0\0", "", -1
    async for file, index in items:
        key = names.path_key(file.path)
        if key == last and index == writer:  # a stream that was remade is read again
            continue
        if key.startswith(last) and (key == last or key[len(last)] == 0):
            raise _DuplicateError(path, writer, index)
        last, path, writer = key, file.path, index
        yield file
