"""Byte strings in order, to be read again and again; beyond a bound they lie in a scratch file.

The file has no name: it is gone when it is closed, or when the process is.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import msgspec

_ITEM_BYTES = 60
"""What an item costs in memory beside its bytes."""
_LENGTH_BYTES = 8

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[bytes]).decode


class Shelf:
    """See the module.

    Args:
        directory: Where the file goes; None for the system's own place.
        files: Closes it.
        most_bytes: How much is kept in memory.
    """

    def __init__(self, directory: Path | None, files: ExitStack, most_bytes: int) -> None:
        self._directory, self._files, self._most = directory, files, most_bytes
        self._file: BinaryIO | None = None
        self._end = 0
        self._items: list[bytes] = []
        self._bytes = 0
        self.count = 0

    def put(self, item: bytes) -> None:
        """Put an item behind all others; not while somebody reads."""
        self._items.append(item)
        self._bytes += len(item) + _ITEM_BYTES
        self.count += 1
        if self._bytes >= self._most:
            self._write()

    def clear(self) -> None:
        """Take everything away."""
        self._items, self._bytes, self._end, self.count = [], 0, 0, 0

    def __iter__(self) -> Iterator[bytes]:
        at = 0
        while self._file is not None and at < self._end:
            size = int.from_bytes(os.pread(self._file.fileno(), _LENGTH_BYTES, at), "big")
            yield from _decode(os.pread(self._file.fileno(), size, at + _LENGTH_BYTES))
            at += _LENGTH_BYTES + size
        yield from self._items

    def _write(self) -> None:
        if self._file is None:
            file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115
            self._file = self._files.enter_context(file)
        data = _encode(self._items)
        frame = memoryview(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
        while frame:
            written = os.pwrite(self._file.fileno(), frame, self._end)
            frame, self._end = frame[written:], self._end + written
        self._items, self._bytes = [], 0
