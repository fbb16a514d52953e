"""A few small files of one directory to the store and back, on the spot: what most datums are made of.

The hops to a thread, and the care of a walk and of a download for trees of any shape and size, cost
several times what the few system calls do. What is not few, small and plain is for `trees`.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trunkline.contracts import errors, names
from trunkline.contracts.messages import INLINE_FILES, File
from trunkline.storage import disk, keys
from trunkline.storage.store import Store
from trunkline.storage.trees import Uploaded

_BYTES = 64 * 1024
"""A thread's hops cost more than to read or write that."""
FLAT_BYTES = 4096
"""A directory that is no larger itself has not many entries."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(slots=True)
class Found:
    """A directory that holds just a few small files."""

    files: list[tuple[str, bytes]]
    """Names, in order, and contents."""
    status: os.stat_result
    """Of the directory itself."""
    attributes: list[str]
    """The names of its extended ones."""


def read(directory: str) -> Found | None:
    """Read a directory if few small files are all that it holds.

    None for everything else, be it many, large, deep, a link or wrong: a walk will say what it is.
    """
    try:
        at = os.open(directory, _DIRECTORY)
    except OSError:
        return None
    try:
        status = os.fstat(at)
        if status.st_nlink > 2 or status.st_size > FLAT_BYTES:
            return None
        # by its path, which is no link: a descriptor would be copied and rewound for this
        found = os.listdir(directory)  # noqa: PTH208
        if len(found) > INLINE_FILES:
            return None
        files = _contents(at, sorted(found, key=os.fsencode) if len(found) > 1 else found)
        return None if files is None else Found(files, status, os.listxattr(at))
    except OSError:
        return None
    finally:
        os.close(at)


def _contents(at: int, found: list[str]) -> list[tuple[str, bytes]] | None:
    files: list[tuple[str, bytes]] = []
    left = _BYTES
    for name in found:
        fd = os.open(name, _FILE, dir_fd=at)
        try:
            status = os.fstat(fd)
            size = status.st_size
            if not stat.S_ISREG(status.st_mode) or size > left:
                return None
            data = os.read(fd, size + 1)
        finally:
            os.close(fd)
        if len(data) != size:
            return None
        left -= size
        files.append((name, data))
    return files


async def upload(store: Store, files: Sequence[tuple[str, bytes]]) -> Uploaded:
    """Store files with these names, packed into one object; equal contents are there once.

    Raises:
        InvalidPathError: A name cannot stand in a repo.
        UnavailableError: The store is away or full.
    """
    pack = bytearray()
    placed: dict[str, int] = {}
    stored: list[tuple[str, int, str]] = []
    for name, data in files:
        path = names.path(f"/{name}")
        sha256 = hashlib.sha256(data).hexdigest() if data else keys.EMPTY_SHA256
        if data and sha256 not in placed:
            placed[sha256] = len(pack)
            pack += data
        stored.append((path, len(data), sha256))
    known = next(iter(placed)) if len(placed) == 1 else ""
    key = await store.put(bytes(pack), sha256=known) if pack else ""
    return Uploaded(
        files=tuple(
            File(
                path=path,
                size=size,
                sha256=sha256,
                object=key if size else "",
                offset=placed.get(sha256, 0),
            )
            for path, size, sha256 in stored
        ),
        manifest="",
        count=len(stored),
        bytes=sum([size for _, size, _ in stored]),
    )


def is_here(store: Store, files: Sequence[File]) -> bool:
    """Return whether files are few and small, and in a store that is read on the spot."""
    if not store.is_here or len(files) > INLINE_FILES:
        return False
    return sum([file.size for file in files]) <= _BYTES


async def download(
    store: Store, files: Sequence[File], target: str, write: Callable[[str, bytes], None]
) -> int:
    """Write files for which `is_here` holds below a directory, at their paths; return their bytes.

    Args:
        store: Where they are.
        files: What they are.
        target: A new directory.
        write: Makes a file; it does what `disk.write_new` does.

    Raises: as `trees.download`.
    """
    total = 0
    for file in files:
        path = file.path
        if names.path(path) != path:
            raise errors.InvalidPathError(path, "it is not in its one form, as in a manifest")
        data = await store.get_range(file.object, file.offset, file.size) if file.size else b""
        found = hashlib.sha256(data).hexdigest()
        if found != file.sha256:
            raise errors.CorruptObjectError(file.object, file.sha256, found)
        with disk.writing(path):
            if path.rfind("/") > 0:
                os.makedirs(target + path.rpartition("/")[0], exist_ok=True)  # noqa: PTH103
            write(target + path, data)
        total += file.size
    return total
