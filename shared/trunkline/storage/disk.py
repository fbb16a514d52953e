"""Files of this machine's own: writing one, and whose fault it is if that cannot be done.

A name that is too long, or a file where a directory must be, is the fault of whoever named it, and
trying again is no use: InvalidPathError. A disk that is full, or too many open files, is this machine's
and passes: UnavailableError.
"""

import errno
import os
from contextlib import AbstractContextManager

from trunkline.contracts import errors

_ANY = {errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
_READING = _ANY | {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENXIO}
_WRITING = _ANY | {errno.EEXIST}
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class _Told:
    """Turns the errors of a block into ours; a class, since that is entered thousands of times."""

    __slots__ = ("_done", "_path", "_theirs")

    def __init__(self, path: str, done: str, theirs: set[int]) -> None:
        self._path, self._done, self._theirs = path, done, theirs

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError):
            raise _ours(self._path, error, self._done, self._theirs) from error


def reading(path: str) -> AbstractContextManager[None]:
    """Read a file that somebody else made; `path` is what to call it."""
    return _Told(path, "read", _READING)


def writing(path: str) -> AbstractContextManager[None]:
    """Write a new file in a directory of our own; `path` is what to call it."""
    return _Told(path, "written", _WRITING)


def write_new(path: str, data: bytes) -> None:
    """Write a file where there is none; OSError as it comes, and what is written by then stays."""
    out = os.open(path, _NEW, 0o644)
    try:
        write_all(out, data)
    finally:
        os.close(out)


def write_all(out: int, data: bytes) -> None:
    """Write all of it to a descriptor."""
    left = memoryview(data)
    while left:
        left = left[os.write(out, left) :]


def _ours(path: str, error: OSError, done: str, theirs: set[int]) -> errors.TrunklineError:
    reason = error.strerror or str(error)
    if error.errno in theirs:
        return errors.InvalidPathError(path, f"it cannot be {done}: {reason}")
    return errors.UnavailableError(f"file {path}", reason)
