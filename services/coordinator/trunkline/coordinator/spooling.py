"""An external sort of (key, value) items: sorted pieces on disk, merged as they are read.

Memory is that of one piece, whatever goes in. What is spooled is scratch: a process that dies leaves
a file without a name behind, which the system removes.
"""

import asyncio
import heapq
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

PIECE_BYTES = 8 * 1024 * 1024
"""Keys and values that are sorted at once in memory."""
_ITEM_BYTES = 150
"""What an item costs in memory beside its key and value."""
_FRAME_ITEMS = 256
_LENGTH_BYTES = 8

Item = tuple[bytes, bytes]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Item]).decode
_by_key = itemgetter(0)


class Spool:
    """Sorts items by key; items with equal keys come out in the order in which they went in.

    Args:
        directory: Where pieces go that are too many for memory; None for the system's own place.
        piece_bytes: How much is kept in memory.
    """

    def __init__(self, directory: Path | None, piece_bytes: int = PIECE_BYTES) -> None:
        self._directory, self._most = directory, piece_bytes
        self._items: list[Item] = []
        self._bytes = 0
        self._pieces: list[BinaryIO] = []
        self._files = ExitStack()
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def push(self, key: bytes, value: bytes) -> bool:
        """Take an item; return whether `spill` must be called before the next one."""
        self._items.append((key, value))
        self._bytes += len(key) + len(value) + _ITEM_BYTES
        self.count += 1
        return self._bytes >= self._most

    async def add(self, key: bytes, value: bytes) -> None:
        """Take an item."""
        if self.push(key, value):
            await self.spill()

    async def spill(self) -> None:
        """Write what is in memory to a piece of its own, in a thread."""
        items, self._items, self._bytes = self._items, [], 0
        file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115 - closed with the spool
        piece = self._files.enter_context(file)
        await asyncio.to_thread(_write, piece, items)
        self._pieces.append(piece)

    def sorted(self) -> Iterator[Item]:
        """Yield all items by key; once."""
        self._items.sort(key=_by_key)
        # `heapq.merge` is stable over its arguments, and the items in memory came last
        return heapq.merge(*map(_read, self._pieces), self._items, key=_by_key)


def _write(piece: BinaryIO, items: list[Item]) -> None:
    items.sort(key=_by_key)
    remaining: Iterable[Item] = iter(items)
    while frame := list(islice(remaining, _FRAME_ITEMS)):
        data = _encode(frame)
        piece.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
    piece.flush()


def _read(piece: BinaryIO) -> Iterator[Item]:
    piece.seek(0)
    while length := piece.read(_LENGTH_BYTES):
        yield from _decode(piece.read(int.from_bytes(length, "big")))
