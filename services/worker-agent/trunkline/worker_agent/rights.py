"""Rights of what a command wrote: opened up, so that whoever reads and deletes it can."""

import contextlib
import os
from collections.abc import Iterator


def open_up(path: str) -> tuple[int, int]:
    """Give owner and group access to everything below `path`; return (last errno, entries seen).

    A command's umask must not keep the agent, which may be another user of the same group, from
    reading and deleting what the command wrote. Symbolic links are left alone.
    """
    error = entries = 0
    for entry, mode in _walk(path):
        entries += 1
        owner = mode & 0o700 | (0o700 if os.path.isdir(entry) else 0o600)  # noqa: PTH112
        wanted = mode | owner | owner >> 3
        if wanted != mode:
            try:
                os.chmod(entry, wanted)  # noqa: PTH101
            except OSError as problem:
                error = problem.errno or 1
    return error, entries


def _walk(path: str) -> Iterator[tuple[str, int]]:
    """Give each file and directory with its permissions, a directory before it is opened."""
    waiting = [path]  # and no recursion: a command may make a thousand levels
    while waiting:
        path = waiting.pop()
        try:
            status = os.lstat(path)
        except OSError:
            continue
        kind = status.st_mode & 0o170000
        if kind not in (0o040000, 0o100000):
            continue
        yield path, status.st_mode & 0o7777
        if kind == 0o040000:
            with contextlib.suppress(OSError), os.scandir(path) as entries:
                waiting += (entry.path for entry in entries)
