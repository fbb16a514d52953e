"""The merge of all outcomes of a job into the manifest of its output.

The job's own outcomes are gone through once, as they are archived (`archiving`), then those of its
skipped windows; their files are sorted by path outside of memory, and written as a manifest. Nothing
of it is kept: a merge that was interrupted is made again and comes to the same manifest, most of whose
blocks are in the store already.

What workers say is checked here: each path is a path in a repo, each reference names an object, and all
sizes together are one that can be. Two datums that write one path (unless the spec has them concatenated, see `concatenating`), or one that
writes a file where another one has a directory, are told with both datums; see `OutputError`.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from functools import partial
from pathlib import Path

from trunkline.contracts import bounds, errors, names, records
from trunkline.contracts.messages import File
from trunkline.coordinator import concatenating
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


class _TooLargeError(Exception):
    def __init__(self, path: str, index: int) -> None:
        super().__init__(path)
        self.index = index
        self.why = errors.MalformedMessageError(path, "with it the output is larger than any store")


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
            written = await self._write(job, sorter)
        return written, archive

    async def _write(self, job: records.Job, sorter: Sorter) -> Written:
        several = job.spec.same_path == "concatenate"
        items = _checked(sorter.sorted(), several=several)
        if several:
            files = concatenating.concatenated(self._store, self._spool, items)
        else:
            files = (file async for file, _ in items)
        try:
            return await manifests.write(self._store, files)
        except _DuplicateError as error:
            first, second = error.first, error.second
            told = await self._inputs.named(job, {first, second})
            duplicate = errors.DuplicatePathError(error.path, told[first], told[second])
            raise OutputError(str(duplicate), (first, second)) from error
        except (concatenating.PieceError, _TooLargeError) as error:
            raise await self._unusable(job, error.index, error.why) from error

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
            raise await self._unusable(job, index, error) from error

    async def _unusable(
        self, job: records.Job, index: int, error: errors.TrunklineError
    ) -> OutputError:
        told = await self._inputs.named(job, {index})
        return OutputError(f"the output of {told[index]} cannot be used: {error}", (index,))


async def _checked(
    items: AsyncIterator[tuple[File, int]], *, several: bool
) -> AsyncIterator[tuple[File, int]]:
    """Yield files by path, with who has written them.

    Raise _DuplicateError where a path is a directory, too, or is there twice (unless `several` datums
    may write it), and _TooLargeError where what all of them say of their sizes can be of no output.
    """
    last, path, writer, size = b"\0\0", "", -1, 0
    async for file, index in items:
        key = names.path_key(file.path)
        if key == last and index == writer:  # a worker that names a file twice
            continue
        if key.startswith(last) and (not several if key == last else key[len(last)] == 0):
            raise _DuplicateError(path, writer, index)
        last, path, writer, size = key, file.path, index, size + file.size
        if size > bounds.MOST:
            raise _TooLargeError(path, index)
        yield file, index
