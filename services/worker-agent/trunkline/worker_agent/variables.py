"""The file with a datum's variables in /pfs, which is written over for each datum.

It stays open, since to make, fill, shorten and delete a file costs several times what it takes to write
over one. But no command may find what another one has made of it: when it has become another file, or
has other rights or names than it was made with, it is given up, and a new one is made.
"""

import contextlib
import os

from trunkline.storage import disk

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class VariablesFile:
    """A file at a path where there is none at first."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._size = 0
        self._made: tuple[int, ...] = ()

    def write(self, text: str) -> None:
        """Let this be what it holds; OSError as it comes, and repeated after that it begins anew."""
        data = text.encode("utf-8", "surrogateescape")
        if self._fd < 0:
            self._fd, self._size = os.open(self._path, _NEW, 0o644), 0
            self._made = _marks(os.fstat(self._fd))
        os.lseek(self._fd, 0, os.SEEK_SET)
        disk.write_all(self._fd, data)
        if len(data) < self._size:
            os.ftruncate(self._fd, len(data))
        self._size = len(data)

    def keep(self) -> bool:
        """Return whether it is still there as it was made; else it is given up."""
        with contextlib.suppress(FileNotFoundError):
            if _marks(os.lstat(self._path)) == self._made:
                return True
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        return False


def _marks(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_mode, status.st_nlink, status.st_uid, status.st_gid
