"""The merge of all outcomes of a job into the manifest of its output.

The job's own outcomes are gone through once, as they are archived (`archiving`), then those of its
skipped windows; their files are sorted by path outside of memory, and written as a manifest. Nothing
of it is kept: a merge that was interrupted is made again and comes to the same manifest, most of whose
blocks are in the store already.

What workers say is checked here: each path is a path in a repo, each reference names an object. Two
datums that write one path, or one that writes a file where another one has a directory, are told
with both datums; see `OutputError`.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from functools import partial
from pathlib import Path

from trunkline.contracts import errors, names, records
from trunkline.contracts.messages import File
from trunkline.coordinator.archiving import Archive, Archiver
from trunkline.coordinator.core import outcomes as reading
from trunkline.coordinator.folding import LiveJob
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
        archiver: Goes through the job's own outcomes.
        outcomes: Where those of skipped datums are read.
        inputs: Names datums.
        store: Holds outputs, and gets the manifest.
        spool: A directory for what is too large for memory while it is sorted.
    """

    def __init__(
        self, archiver: Archiver, outcomes: Outcomes, inputs: Inputs, store: Store, spool: Path
    ) -> None:
        self._archiver, self._outcomes, self._inputs = archiver, outcomes, inputs
        self._store, self._spool = store, spool

    async def merge(self, job: records.Job, live: LiveJob) -> tuple[Written, Archive]:
        """Return the manifest of all that the job's datums have written, and the job's archive.

        Raises:
            OutputError: it cannot be one output.
            UnavailableError: the server or the store is away; merge again.
        """
        with Sorter(self._spool) as sorter:
            archive = await self._archiver.archive(job, live, partial(self._add, job, sorter))
            async with aclosing(self._outcomes.kept_of_skipped(job)) as batches:
                async for batch in batches:
                    for index, kept in batch:
                        if reading.has_output(kept):
                            await self._add(job, sorter, index, kept)
            try:
                written = await manifests.write(self._store, _files(sorter.sorted()))
            except _DuplicateError as error:
                first, second = error.first, error.second
                told = await self._inputs.named(job, {first, second})
                duplicate = errors.DuplicatePathError(error.path, told[first], told[second])
                raise OutputError(str(duplicate), (first, second)) from error
        return written, archive

    async def _add(self, job: records.Job, sorter: Sorter, index: int, kept: bytes) -> None:
        outcome = reading.whole(kept)
        try:
            if outcome.files is not None:
                await sorter.add(outcome.files, index)
            elif outcome.manifest:
                manifest = await manifests.open_manifest(self._store, outcome.manifest)
                async for batch in manifest.batches():
                    await sorter.add(batch, index)
        except _UNUSABLE as error:
            told = await self._inputs.named(job, {index})
            reason = f"the output of {told[index]} cannot be used: {error}"
            raise OutputError(reason, (index,)) from error


async def _files(items: AsyncIterator[tuple[File, int]]) -> AsyncIterator[File]:
    """Yield files by path; raise _DuplicateError where a path is there twice, or is a directory."""
    last, path, writer = b"\0\0", "", -1
    async for file, index in items:
        key = names.path_key(file.path)
        if key == last and index == writer:  # a worker that names a file twice
            continue
        if key.startswith(last) and (key == last or key[len(last)] == 0):
            raise _DuplicateError(path, writer, index)
        last, path, writer = key, file.path, index
        yield file
