"""Files of this machine's own: writing one, and whose fault it is if that cannot be done.

A name that is too long, or a file where a directory must be, is the fault of whoever named it, and
trying again is no use: InvalidPathError. A disk that is full, or too many open files, is this machine's
and passes: UnavailableError.
"""

import contextlib
import errno
import os
from collections.abc import Iterator

from trunkline.contracts import errors

_ANY = {errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
_READING = _ANY | {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENXIO}
_WRITING = _ANY | {errno.EEXIST}
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Read a file that somebody else made; `path` is what to call it."""
    try:
        yield
    except OSError as error:
        raise _ours(path, error, "read", _READING) from error


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Write a new file in a directory of our own; `path` is what to call it."""
    try:
        yield
    except OSError as error:
        raise _ours(path, error, "written", _WRITING) from error


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
