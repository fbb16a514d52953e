"""The directories of /pfs that stay there while a command stays up.

A datum's files move in and out of /pfs with the top directories that they lie in. While a command stays
up that would cost a new directory for each datum, since one that it has seen may be its working
directory still, or held open: what it writes there later must never come into another datum. So its
top directories stay where they are, and their entries move.

That goes for a few plain files. A top directory that holds directories or many files moves as a whole
all the same, and a fresh one takes its place; so does one that the command has put there itself, or
closed to us.
"""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Sequence

_MANY = 256
"""Entries: to move so many costs as much as making and removing a directory some ten times."""


class Standing:
    """The top directories below one path that stay."""

    def __init__(self, pfs: str) -> None:
        """None stands yet."""
        self._pfs = pfs
        self._inodes: dict[str, int] = {}

    def fill(self, name: str, source: str, known: Sequence[str] | None) -> bool:
        """Move all entries of a directory in; return False if it must be moved itself.

        Args:
            name: Of the top directory, at whose place there is nothing then.
            source: The directory.
            known: Its entries if they are all files; else None.
        """
        target = f"{self._pfs}/{name}"
        inode = self._inodes.get(name, 0)
        if not inode:
            return False
        if known is None or len(known) > _MANY or _inode(target) != inode:
            del self._inodes[name]
            _clear(target)
            return False
        for entry in known:
            _put(f"{source}/{entry}", f"{target}/{entry}")
        return True

    def empty(self, name: str, target: str) -> list[str] | None:
        """Move all entries of a top directory out and return them; None: it must be moved itself."""
        path = f"{self._pfs}/{name}"
        inode = self._inodes.pop(name, 0)
        try:
            found = os.lstat(path)
            if not stat.S_ISDIR(found.st_mode) or inode not in (0, found.st_ino):
                return None
            with os.scandir(path) as entries:
                listed = [(each.name, each.is_dir(follow_symlinks=False)) for each in entries]
        except OSError:
            return None
        if len(listed) > _MANY or any(is_directory for _, is_directory in listed):
            return None
        if not inode:
            with contextlib.suppress(FileExistsError):  # filled for a process that is gone since
                os.mkdir(target)  # noqa: PTH102
        for entry, _ in listed:
            os.rename(f"{path}/{entry}", f"{target}/{entry}")  # noqa: PTH104
        self._inodes[name] = found.st_ino
        return [entry for entry, _ in listed]

    def keep(self, names: tuple[str, ...]) -> None:
        """Let none stand but these; all of them are empty."""
        for name in self._inodes.keys() - set(names):
            del self._inodes[name]
            with contextlib.suppress(OSError):  # something else lies there by now
                os.rmdir(f"{self._pfs}/{name}")  # noqa: PTH106

    def gone(self, name: str) -> None:
        """One is not there any more."""
        self._inodes.pop(name, None)

    def forget(self) -> None:
        """Leave those that stand to whoever clears them away."""
        self._inodes.clear()


def _inode(path: str) -> int:
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return 0


def _put(source: str, target: str) -> None:
    """Move a file to its place, whatever a thread of the command may have put there meanwhile."""
    try:
        os.rename(source, target)  # noqa: PTH104
    except IsADirectoryError:
        _clear(target)
        os.rename(source, target)  # noqa: PTH104
    except FileNotFoundError as error:
        if os.path.lexists(source):  # else it was moved by a try that failed half-way
            raise OSError(errno.EAGAIN, "its directory was taken away", target) from error


def _clear(path: str) -> None:
    if os.path.islink(path) or os.path.isfile(path):  # noqa: PTH113, PTH114
        os.unlink(path)  # noqa: PTH108
    else:
        shutil.rmtree(path, ignore_errors=True)
