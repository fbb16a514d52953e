"""Bytes of files into the store: small ones side by side in one object, large ones alone."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from trunkline.contracts import errors
from trunkline.contracts.messages import File
from trunkline.storage import packs
from trunkline.storage.store import Store


class UnreadableSourceError(errors.TrunklineError):
    """Something that was to be put is no file that can be read."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"cannot put {os.fspath(path)!r}: {reason}")
        self.path, self.reason = path, reason


async def upload(
    store: Store,
    contents: Iterable[tuple[str, Path | BinaryIO]],
    *,
    read: Callable[[int], None] = lambda _: None,
) -> AsyncIterator[File]:
    """Store each file's contents; yield the files in the order given, once their bytes are there.

    Args:
        store: Where to.
        contents: Path in the repo and what is to be read, each; an open file is read to its end.
        read: Told, from any thread, how many bytes of the large file at hand were read: twice its size in the
            end, less if it is there already.

    Raises:
        UnreadableSourceError: one cannot be read.
    """
    packer = packs.Packer(store)
    for path, content in contents:
        data = await asyncio.to_thread(_small, content)
        if data is None:
            due = packer.add_stored(await _large(store, path, content, read))
        else:
            due = packer.add(path, data)
        if due:
            for file in await packer.flush():
                yield file
    for file in await packer.flush():
        yield file


class _Watched:
    """An open file that tells how much was read of it, in all passes."""

    def __init__(self, source: BinaryIO, told: Callable[[int], None]) -> None:
        self._source, self._told, self._read = source, told, 0

    def seek(self, offset: int, /) -> int:
        return self._source.seek(offset)

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        self._read += len(data)
        self._told(self._read)
        return data


async def _large(
    store: Store, path: str, content: Path | BinaryIO, read: Callable[[int], None]
) -> File:
    if isinstance(content, Path):
        with await asyncio.to_thread(_opened, content) as source:
            stored = await store.put_stream(_Watched(source, read))
    else:
        stored = await store.put_stream(_Watched(content, read))
    return File(path=path, size=stored.size, sha256=stored.sha256, object=stored.key)


def _small(content: Path | BinaryIO) -> bytes | None:
    """Return what there is to be read if that is little; an open file is then at its beginning."""
    try:
        if isinstance(content, Path):
            with content.open("rb") as source:
                data = source.read(packs.SMALL_BYTES + 1)
        else:
            content.seek(0)
            data = content.read(packs.SMALL_BYTES + 1)
    except OSError as error:
        raise _unreadable(content, error) from error
    return data if len(data) <= packs.SMALL_BYTES else None


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(content: Path | BinaryIO, error: OSError) -> UnreadableSourceError:
    name = content if isinstance(content, Path) else "the input"
    return UnreadableSourceError(name, error.strerror or str(error))
