"""Errors of this machine's own file system: whose fault each is.

A name that is too long, or a file where a directory must be, is the fault of whoever named it, and
trying again is no use: InvalidPathError. A disk that is full, or too many open files, is this machine's
and passes: UnavailableError.
"""

import contextlib
import errno
from collections.abc import Iterator

from trunkline.contracts import errors

_ANY = {errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
_READING = _ANY | {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENXIO}
_WRITING = _ANY | {errno.EEXIST}


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


def _ours(path: str, error: OSError, done: str, theirs: set[int]) -> errors.TrunklineError:
    reason = error.strerror or str(error)
    if error.errno in theirs:
        return errors.InvalidPathError(path, f"it cannot be {done}: {reason}")
    return errors.UnavailableError(f"file {path}", reason)
