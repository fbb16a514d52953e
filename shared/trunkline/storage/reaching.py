"""Files that links of a datum's output lead to elsewhere: opened by another process, and stored from here.

Nobody vouches for what lies there: it is read up to the size that it had when it was opened, and if it is not
the same file still when all of it was read, nothing of it is stored. A crash in between leaves an object
that nobody names.
"""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from typing import BinaryIO

from trunkline.contracts import errors
from trunkline.contracts.messages import File
from trunkline.storage import disk, packs
from trunkline.storage.links import Elsewhere
from trunkline.storage.store import Store
from trunkline.storage.walking import Small

Reach = Callable[[Elsewhere], Awaitable[BinaryIO]]
"""Opens the regular file that a link leads to, or raises InvalidPathError with why not."""


class _Whole:
    """A file up to the size that it had: one that grows has an end all the same."""

    def __init__(self, source: BinaryIO, size: int) -> None:
        self._source, self._size = source, size
        self._left = size

    def seek(self, offset: int, /) -> int:
        self._left = self._size - offset
        return self._source.seek(offset)

    def read(self, size: int, /) -> bytes:
        data = self._source.read(min(size, self._left))
        self._left -= len(data)
        return data


async def stored(store: Store, link: Elsewhere, reach: Reach) -> Small | File:
    """Return what a link leads to: a small file's contents, or where a large one is stored now.

    Raises:
        InvalidPathError: It cannot be had, or has changed meanwhile.
        UnavailableError: The store is away or full.
    """
    with await reach(link) as source:
        was = _version(source)
        try:
            made = await _read(store, link.path, source, was[0])
        except errors.UnavailableError as error:
            if _version(source) == was:
                raise
            raise _changed(link) from error
        size = len(made.data) if isinstance(made, Small) else made.size
        if size != was[0] or _version(source) != was:
            raise _changed(link)
    return made


async def _read(store: Store, path: str, source: BinaryIO, size: int) -> Small | File:
    whole = _Whole(source, size)
    if size <= packs.SMALL_BYTES:
        with disk.reading(path):
            data = await asyncio.to_thread(whole.read, size)
        return Small(path, data, hashlib.sha256(data).hexdigest())
    put = await store.put_stream(whole)
    return File(path=path, size=put.size, sha256=put.sha256, object=put.key)


def _version(source: BinaryIO) -> tuple[int, int, int]:
    """Return what tells whether a file was written to, replaced or deleted; its size first."""
    status = os.fstat(source.fileno())
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _changed(link: Elsewhere) -> errors.InvalidPathError:
    reason = f"what its link leads to, {link.target!r}, changed while it was read"
    return errors.InvalidPathError(link.path, reason)
