"""Paths that several datums have written, made into one file: their contents in the order of the datums.

Files come sorted by path, then by datum. One that nobody else has written goes on as it is. Of several,
the contents are read piece after piece, checked, and written to a scratch file, in memory up to
KEPT_BYTES; then they are stored as any other content, small ones in packs. So memory is bounded
whatever is large: the file, a piece of it, or their number.

What is stored is named by its contents, so a merge that was interrupted is made again and comes to the
same objects; what the first one has left unnamed harms nobody.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from trunkline.contracts import errors
from trunkline.contracts.messages import File
from trunkline.storage import together
from trunkline.storage.packs import SMALL_BYTES, Packer
from trunkline.storage.store import CHUNK_BYTES, Store

KEPT_BYTES = 4 * 1024 * 1024
"""Of a file, before it goes to disk; and of small pieces, which are read side by side."""
AT_ONCE = 64
"""Pieces that are read side by side, at most: a log of a million datums has a million small ones."""

Item = tuple[File, int]
"""A file, and the datum that has written it."""


class PieceError(Exception):
    """What a datum has written cannot be read."""

    def __init__(self, index: int, why: errors.TrunklineError) -> None:
        super().__init__(str(why))
        self.index, self.why = index, why


class _Joined:
    """One path while its pieces come in."""

    def __init__(self, store: Store, spool: Path, path: str) -> None:
        spool.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.size = 0
        self._store = store
        self._file = tempfile.SpooledTemporaryFile(KEPT_BYTES, dir=str(spool))  # noqa: SIM115
        self._small: list[Item] = []
        self._small_bytes = 0

    async def aclose(self) -> None:
        self._file.close()

    async def add(self, file: File, index: int) -> None:
        """Take the next piece."""
        if file.size > CHUNK_BYTES:
            await self._write_small()
            await self._write_large(file, index)
            return
        self._small.append((file, index))
        self._small_bytes += file.size
        if len(self._small) >= AT_ONCE or self._small_bytes >= KEPT_BYTES:
            await self._write_small()

    async def finish(self, packer: Packer) -> bool:
        """Have it stored; return whether the packer is to be flushed."""
        await self._write_small()
        if self.size <= SMALL_BYTES:
            self._file.seek(0)
            return packer.add(self.path, self._file.read())
        stored = await self._store.put_stream(cast("BinaryIO", self._file))
        file = File(path=self.path, size=stored.size, sha256=stored.sha256, object=stored.key)
        return packer.add_stored(file)

    async def _write_small(self) -> None:
        small, self._small, self._small_bytes = self._small, [], 0
        for data in await together.run([partial(self._read, *each) for each in small]):
            await self._write(data)

    async def _read(self, file: File, index: int) -> bytes:
        try:
            return b"".join([piece async for piece in self._store.read(file)])
        except _LOST as error:
            raise PieceError(index, error) from error

    async def _write_large(self, file: File, index: int) -> None:
        try:
            async for piece in self._store.read(file):
                await self._write(piece)
        except _LOST as error:
            raise PieceError(index, error) from error

    async def _write(self, data: bytes) -> None:
        self.size += len(data)
        if self.size <= KEPT_BYTES:
            self._file.write(data)
        else:
            await asyncio.to_thread(self._file.write, data)


_LOST = (errors.NotFoundError, errors.CorruptObjectError, errors.MalformedMessageError)


async def concatenated(
    store: Store, spool: Path, items: AsyncIterator[Item]
) -> AsyncIterator[File]:
    """Yield each path once, in order.

    Args:
        store: Holds the pieces, and gets what they make.
        spool: A directory for scratch files.
        items: By path, then by datum; none is both a file and a directory.

    Raises:
        PieceError: a piece is not there, or not what it was.
        UnavailableError: the store is away; concatenate again.
        OSError: there is no room for a scratch file.
    """
    packer = Packer(store)
    last: Item | None = None
    joined: _Joined | None = None
    async with AsyncExitStack() as scratch:
        async for file, index in items:
            if last is not None and file.path == last[0].path:
                if joined is None:
                    joined = _Joined(store, spool, file.path)
                    scratch.push_async_callback(joined.aclose)
                    await joined.add(*last)
                await joined.add(file, index)
                continue
            if last is not None and await _finish(packer, last[0], joined):
                for each in await packer.flush():
                    yield each
            await scratch.aclose()
            last, joined = (file, index), None
        if last is not None:
            await _finish(packer, last[0], joined)
        for each in await packer.flush():
            yield each


async def _finish(packer: Packer, file: File, joined: _Joined | None) -> bool:
    return packer.add_stored(file) if joined is None else await joined.finish(packer)
