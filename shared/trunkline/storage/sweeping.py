"""What a store holds, part by part, and its removal: for whoever knows what nobody needs any more.

A part is the objects whose hash begins with one byte, so there are 256, and memory is that of one.

Whoever writes an object that is there already relies on it from then on, and writes it again if it is
older than `store.REFRESH_AFTER_S`. So an object that is older than that and a good deal more, and that
nobody names, may go, but for a writer that comes between the look at its age and its removal:

- on a disk, removal takes the object away by a rename, looks at the age of what it has taken, and puts
  it back if that was written again meanwhile (unless one more writer was faster: the bytes are the
  same). Killed in between, the next `recover` puts it back. So no write is ever lost;
- in a bucket there is no removal on a condition that all kinds of buckets have. Age is looked at once
  more right before, so a writer must hit the moment between two requests, with an object that has been
  needed by nobody for days. What would be lost then is found by its reader, as NotFoundError.
"""

import asyncio
import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

import msgspec
import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from trunkline.contracts import errors
from trunkline.storage import clouds, keys, together

PARTS = 256

_OBJECT = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = re.compile(r"[0-9a-f]{64}#[0-9]+")
_TAKEN = "#0"
"""Behind the name of what a removal has taken away: no unfinished write, ours or the library's, ends so,
and no listing of the library's shows it."""
_AT_ONCE = 100


class Found(msgspec.Struct, frozen=True, gc=False):
    """An object, or what an unfinished write of one has left."""

    name: str
    size: int
    modified_s: float
    """Seconds since the epoch, by the store's clock."""

    @property
    def sha256(self) -> bytes:
        """What it is named by; empty for what is no object."""
        return bytes.fromhex(self.name) if _OBJECT.fullmatch(self.name) else b""


class Objects(Protocol):
    """All objects of a store. Every method raises UnavailableError if it is away."""

    async def recover(self) -> None:
        """Put back what a removal was killed with in its hands; before anything is read."""
        ...

    async def of_part(self, part: int) -> Sequence[Found]:
        """Return what is there of one part, in no order."""
        ...

    async def remove(self, some: Sequence[Found], before_s: float) -> Sequence[Found]:
        """Remove those that are still older than that; return them."""
        ...


class OnDisk:
    """A directory of this machine."""

    def __init__(self, root: str, shown: str) -> None:
        self._root, self._shown = root, shown

    async def recover(self) -> None:
        """See Objects."""
        with _told(self._shown):
            await asyncio.to_thread(self._recover)

    async def of_part(self, part: int) -> Sequence[Found]:
        """See Objects."""
        with _told(self._shown):
            return await asyncio.to_thread(self._of_part, part)

    async def remove(self, some: Sequence[Found], before_s: float) -> Sequence[Found]:
        """See Objects."""
        with _told(self._shown):
            return await asyncio.to_thread(self._remove, some, before_s)

    def _recover(self) -> None:
        for part in range(PARTS):
            for entry in self._entries(part):
                if entry.name.endswith(_TAKEN):
                    _put_back(entry.path)

    def _of_part(self, part: int) -> list[Found]:
        found: list[Found] = []
        for entry in self._entries(part):
            if not (_OBJECT.fullmatch(entry.name) or _UNFINISHED.fullmatch(entry.name)):
                continue
            with contextlib.suppress(FileNotFoundError):  # finished, and so renamed, meanwhile
                status = entry.stat(follow_symlinks=False)
                found.append(Found(entry.name, status.st_size, status.st_mtime))
        return found

    def _entries(self, part: int) -> Iterator[os.DirEntry[str]]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder(part)) as entries:
            yield from entries

    def _folder(self, part: int) -> str:
        return f"{self._root}/objects/{part:02x}"

    def _remove(self, some: Sequence[Found], before_s: float) -> list[Found]:
        removed: list[Found] = []
        for each in some:
            path = f"{self._folder(int(each.name[:2], 16))}/{each.name}"
            with contextlib.suppress(FileNotFoundError):
                if (_take if each.sha256 else _remove_unfinished)(path, before_s):
                    removed.append(each)
        return removed


def _take(path: str, before_s: float) -> bool:
    """Remove an object unless it has been written meanwhile; return whether it is gone."""
    taken = path + _TAKEN
    os.rename(path, taken)  # noqa: PTH104 - a Path costs more than the call
    if os.stat(taken).st_mtime >= before_s:  # noqa: PTH116
        _put_back(taken)
        return False
    os.unlink(taken)  # noqa: PTH108
    return True


def _remove_unfinished(path: str, before_s: float) -> bool:
    """Remove what a writer has left, unless it is at it again: its name is its own."""
    if os.stat(path).st_mtime >= before_s:  # noqa: PTH116
        return False
    os.unlink(path)  # noqa: PTH108
    return True


def _put_back(taken: str) -> None:
    """Give what was taken away its name again, unless the name is in use: then it holds the same."""
    with contextlib.suppress(FileExistsError):
        os.link(taken, taken.removesuffix(_TAKEN))
    os.unlink(taken)  # noqa: PTH108


class InBucket:
    """A bucket, or the memory of a test."""

    def __init__(self, backend: ObjectStore, shown: str) -> None:
        self._backend, self._shown = backend, shown

    async def recover(self) -> None:
        """See Objects; nothing is ever in anybody's hands here."""

    async def of_part(self, part: int) -> Sequence[Found]:
        """See Objects."""
        found: list[Found] = []
        with _told(self._shown):
            async for some in obstore.list(self._backend, f"objects/{part:02x}", chunk_size=1000):
                for each in some:
                    name = each["path"].rpartition("/")[2]
                    if _OBJECT.fullmatch(name):
                        found.append(Found(name, each["size"], each["last_modified"].timestamp()))
        return found

    async def remove(self, some: Sequence[Found], before_s: float) -> Sequence[Found]:
        """See Objects."""
        removed: list[Found] = []
        for at in range(0, len(some), _AT_ONCE):
            looks = [partial(self._is_old, each, before_s) for each in some[at : at + _AT_ONCE]]
            old = await together.run(looks)
            chosen = [each for each, is_old in zip(some[at:], old, strict=False) if is_old]
            with _told(self._shown), contextlib.suppress(FileNotFoundError):
                await obstore.delete_async(self._backend, [keys.of(each.name) for each in chosen])
            removed += chosen
        return removed

    async def _is_old(self, each: Found, before_s: float) -> bool:
        with _told(self._shown):
            try:
                found = await obstore.head_async(self._backend, keys.of(each.name))
            except FileNotFoundError:
                return False
        return bool(found["last_modified"].timestamp() < before_s)


@contextlib.contextmanager
def _told(shown: str) -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        what = f"store {shown}"
        raise errors.UnavailableError(what, clouds.reason(error)) from error
