"""An output commit against what the outcomes say: the same files, and their bytes readable.

The files that outcomes name come sorted by path (`Sorter`), those of the commit's manifest as they stand
there; both are gone through side by side, so memory does not grow with their number.
"""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial

from trunkline.audit.core import findings
from trunkline.audit.core.findings import Finding
from trunkline.contracts import errors, names, records
from trunkline.contracts.messages import File
from trunkline.storage import manifests, together
from trunkline.storage.sorting import Sorter
from trunkline.storage.store import Store

DAMAGE = (
    errors.NotFoundError,
    errors.CorruptObjectError,
    errors.MalformedMessageError,
    errors.InvalidPathError,
)
"""What reading raises when something is not as it was written; a store that is away is none of it."""

_AT_ONCE = 16


class Output:
    """What was found of one output, as far as it is read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.files = self.bytes = 0
        self._unreadable: list[str] = []
        self._wrong: list[str] = []
        self._merged = 0

    async def compare(self, job: records.Job, commit: records.Commit, sorter: Sorter) -> Finding:
        """Return what is to be said of the output commit, given all files of all outcomes."""
        several = job.spec.same_path == "concatenate"
        try:
            manifest = await manifests.open_manifest(self._store, commit.manifest)
            async with aclosing(self._joined(sorter, manifest.files(), several=several)) as pairs:
                async for expected, found in pairs:
                    self._judge(expected, found)
        except DAMAGE as error:
            self._wrong.append(f"the merge cannot be made again: {error}")
        if (self.files, self.bytes) != (commit.files, commit.size):
            told = f"the commit's record says {commit.files} files of {commit.size} bytes"
            self._wrong.append(f"{told}, the manifest {self.files} of {self.bytes}")
        return findings.judged("manifest", f"{self._merged} files merged", self._wrong)

    async def read(self, commit: records.Commit) -> Finding:
        """Read every file of the commit to its end, and return what is to be said of that."""
        count = size = 0
        try:
            manifest = await manifests.open_manifest(self._store, commit.manifest)
            async for batch in manifest.batches():
                calls = [partial(self._read, file) for file in batch]
                await together.run(calls, at_once=_AT_ONCE)
                count += len(batch)
                size += sum(file.size for file in batch)
        except DAMAGE as error:
            self._unreadable.append(f"the manifest: {error}")
        told = f"{count} files of {size} bytes read, {len(self._unreadable)} not as written"
        return findings.judged("every byte", told, self._unreadable)

    async def _read(self, file: File) -> None:
        try:
            async for _ in self._store.read(file):
                pass
        except DAMAGE as error:
            self._unreadable.append(f"{file.path}: {error}")

    def _judge(self, expected: File | None, found: File | None) -> None:
        if found is not None:
            self.files += 1
            self.bytes += found.size
        if expected is not None:
            self._merged += 1
        match expected, found:
            case File(), None:
                self._wrong.append(f"{expected.path} was written, and is not in the manifest")
            case None, File():
                self._wrong.append(f"{found.path} is in the manifest, and nobody has written it")
            case File(), File() if _told(expected) != _told(found):
                self._wrong.append(f"{found.path} is in the manifest with other contents")
            case _:
                pass

    async def _joined(
        self, sorter: Sorter, there: AsyncIterator[File], *, several: bool
    ) -> AsyncGenerator[tuple[File | None, File | None], None]:
        """Yield what was written at a path with what the manifest has there, path after path."""
        async with aclosing(self._written(sorter, several=several)) as written:
            expected, found = await anext(written, None), await anext(there, None)
            while expected is not None or found is not None:
                first, second = _key(expected), _key(found)
                yield expected if first <= second else None, found if second <= first else None
                if first <= second:
                    expected = await anext(written, None)
                if second <= first:
                    found = await anext(there, None)

    async def _written(self, sorter: Sorter, *, several: bool) -> AsyncGenerator[File, None]:
        """Yield one file for each path that was written."""
        pieces: list[tuple[File, int]] = []
        async for file, index in sorter.sorted():
            if pieces and pieces[0][0].path != file.path:
                yield await self._whole(pieces, several=several)
                pieces.clear()
            if not pieces or pieces[-1][1] != index:  # a worker may name a file twice
                pieces.append((file, index))
        if pieces:
            yield await self._whole(pieces, several=several)

    async def _whole(self, pieces: Sequence[tuple[File, int]], *, several: bool) -> File:
        """Return what a path holds: one datum's file, or the contents of several in their order."""
        first = pieces[0][0]
        if len(pieces) == 1:
            return first
        if not several:
            owners = " and ".join(str(index) for _, index in pieces)
            self._wrong.append(f"{first.path} was written by datums {owners}")
            return first
        digest, size = hashlib.sha256(), 0
        for file, _ in pieces:
            async for data in self._store.read(file):
                digest.update(data)
            size += file.size
        return File(path=first.path, size=size, sha256=digest.hexdigest())


def _key(file: File | None) -> bytes:
    """Return where a file stands; what has come to its end stands behind all."""
    return b"\xff" if file is None else names.path_key(file.path)


def _told(file: File) -> tuple[int, str]:
    return file.size, file.sha256
