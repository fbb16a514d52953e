"""Directories and files of settled datums that serve again.

Making them costs a disk more than what is written into them, and what is deleted by the thousand
slows down what is made afterwards. But nobody may be able to tell them from new ones: a directory is
empty, a file is a plain one of no other name, and both have the owner, the rights and the attributes
that they were made with. What is not like that is deleted.
"""

import os
from pathlib import Path
from typing import NamedTuple

from trunkline.storage import disk

_MOST = 256
"""Of either kind: more than datums are in hand, or have an outcome on its way, but in the worst case."""
_FILE_BYTES = 64 * 1024
"""Files over this size are deleted: they would keep their room."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class _Made(NamedTuple):
    """What a file or directory is made with."""

    mode: int
    uid: int
    gid: int

    def fits(self, status: os.stat_result, attributes: list[str]) -> bool:
        """Return whether nobody has changed this, or given it attributes."""
        same = self == (status.st_mode, status.st_uid, status.st_gid)
        return same and all(each.startswith("security.") for each in attributes)


class Kept(NamedTuple):
    """A directory with empty ones in it."""

    directory: str
    names: tuple[str, ...]


class Spares:
    """What is kept, below a directory of this worker's."""

    def __init__(self, directory: Path) -> None:
        """Start with nothing; a file and a directory are made, to see what they are made with."""
        probe = directory / "probe"
        disk.write_new(str(probe), b"")
        self._file = _made(probe)
        probe.unlink()
        probe.mkdir()
        self._directory = _made(probe)
        probe.rmdir()
        self._prefix = f"{directory}/file"
        self._count = 0
        self._files: list[tuple[str, int]] = []
        """Paths and sizes."""
        self._sets: list[Kept] = []

    def is_plain(self, status: os.stat_result, attributes: list[str]) -> bool:
        """Return whether a directory has what it was made with."""
        return self._directory.fits(status, attributes)

    # --- directories ------------------------------------------------------------------------------

    def take_set(self) -> Kept | None:
        """Return a directory with empty ones in it, whatever their names."""
        return self._sets.pop() if self._sets else None

    def keep_set(self, kept: Kept) -> None:
        """Keep a directory whose directories are all cleared."""
        self._sets.append(kept)

    @property
    def full(self) -> bool:
        """Whether no more directories are wanted."""
        return len(self._sets) >= _MOST

    def clear(self, path: str, files: list[str]) -> bool:
        """Take these files out of a directory; return whether it is like new then."""
        fd = os.open(path, _DIRECTORY)
        try:
            for name in files:
                if not self._keep_file(fd, name):
                    os.unlink(name, dir_fd=fd)
            plain = self._directory.fits(os.fstat(fd), os.listxattr(fd))
            # it is no link, so its path will do: a descriptor would be copied and rewound for this
            return plain and not os.listdir(path)  # noqa: PTH208
        finally:
            os.close(fd)

    # --- files ------------------------------------------------------------------------------------

    def write_new(self, path: str, data: bytes) -> None:
        """Write a file where there is none; see `disk.write_new`."""
        if not self._files or os.path.lexists(path):
            disk.write_new(path, data)
            return
        spare, size = self._files.pop()
        os.rename(spare, path)  # noqa: PTH104
        out = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            disk.write_all(out, data)
            if size > len(data):
                os.ftruncate(out, len(data))
        finally:
            os.close(out)

    def _keep_file(self, directory: int, name: str) -> bool:
        if len(self._files) >= _MOST:
            return False
        fd = os.open(name, _FILE, dir_fd=directory)
        try:
            status = os.fstat(fd)
            if status.st_nlink != 1 or status.st_size > _FILE_BYTES:
                return False
            if not self._file.fits(status, os.listxattr(fd)):
                return False
        finally:
            os.close(fd)
        self._count += 1
        path = f"{self._prefix}{self._count}"
        os.rename(name, path, src_dir_fd=directory)
        self._files.append((path, status.st_size))
        return True


def _made(path: Path) -> _Made:
    status = path.lstat()
    return _Made(status.st_mode, status.st_uid, status.st_gid)
