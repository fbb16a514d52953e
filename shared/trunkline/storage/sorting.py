"""Sort more files than fit into memory: for the merge of all datums' outputs into one commit.

Files are gathered in memory up to a number, sorted, and spilled to an unnamed temporary file; at the
end all of these are merged as streams. An unnamed file is gone when the process is, however it ends:
after a crash the merge starts over from the outcomes.
"""

import asyncio
import heapq
import os
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec

from trunkline.contracts import errors, names
from trunkline.contracts.messages import File
from trunkline.storage import manifests

_KEPT = 16_384
"""Files in memory: some 7 MB."""
_FRAME = 256
"""Files read back at once from each spilled part."""
_MOST_PARTS = 64
"""Parts that are open at a time; when there are more, they are merged into one."""
_BATCH = 2048

Item = tuple[bytes, int, bytes]
"""Path key, datum index, the rest of the file."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Item]).decode


class Sorter:
    """Sorts (file, datum index) pairs by path, then by index. A context manager: it closes its parts."""

    def __init__(self, spool: Path, *, kept: int = _KEPT) -> None:
        """Spill to files in the directory `spool`, which need not be there."""
        self._spool = spool
        self._kept = kept
        self._items: list[Item] = []
        self._parts: list[BinaryIO] = []
        self.count = 0

    def __enter__(self) -> "Sorter":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for part in self._parts:
            part.close()
        self._parts, self._items = [], []

    async def add(self, files: Iterable[File], index: int) -> None:
        """Take some files of one datum, in any order.

        Raises:
            InvalidPathError, MalformedMessageError: A file that cannot be in a manifest.
            UnavailableError: The disk is full.
        """
        for file in files:
            if names.path(file.path) != file.path:
                raise errors.InvalidPathError(file.path, "it is not in its one form")
            self._items.append((names.path_key(file.path), index, manifests.encode(file)))
            self.count += 1
            if len(self._items) >= self._kept:
                items, self._items = self._items, []
                await asyncio.to_thread(self._spill, items)

    async def sorted(self) -> AsyncIterator[tuple[File, int]]:
        """Yield all pairs in order; equal paths follow each other, lowest index first."""
        await asyncio.to_thread(self._items.sort)
        merged = heapq.merge(*map(_read, self._parts), iter(self._items))
        while batch := await asyncio.to_thread(_some, merged):
            for key, index, value in batch:
                yield manifests.decode(key, value), index

    def _spill(self, items: list[Item]) -> None:
        items.sort()
        try:
            if len(self._parts) >= _MOST_PARTS:
                merged = self._write(heapq.merge(*map(_read, self._parts)))
                for part in self._parts:
                    part.close()
                self._parts = [merged]
            self._parts.append(self._write(items))
        except OSError as error:
            what = f"directory {self._spool}"
            raise errors.UnavailableError(what, error.strerror or str(error)) from error

    def _write(self, items: Iterable[Item]) -> BinaryIO:
        self._spool.mkdir(parents=True, exist_ok=True)
        part = tempfile.TemporaryFile(dir=self._spool)  # noqa: SIM115 - closed with the sorter
        try:
            remaining = iter(items)
            while frame := list(islice(remaining, _FRAME)):
                data = _encode(frame)
                part.write(len(data).to_bytes(4, "big") + data)
            part.flush()
        except BaseException:
            part.close()
            raise
        return part


def _read(part: BinaryIO) -> Iterator[Item]:
    """Yield a part's items; each reader keeps its own place, so a part can be read again."""
    fd, at = part.fileno(), 0
    while head := os.pread(fd, 4, at):
        size = int.from_bytes(head, "big")
        yield from _decode(os.pread(fd, size, at + 4))
        at += 4 + size


def _some(items: Iterator[Item]) -> list[Item]:
    try:
        return list(islice(items, _BATCH))
    except OSError as error:
        raise errors.UnavailableError("spooled files", error.strerror or str(error)) from error
