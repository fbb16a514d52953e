"""A store's directory on this machine, by plain system calls on the spot: for what is small.

A library that serves every kind of store costs several times what these few calls do. The layout is
the library's: an object's key is its path. Each is written beside its place, under a name that the
library takes for an unfinished upload of its own, and then renamed: whenever the writer dies, the
object is there completely or not at all. Two that write the same object write the same bytes, so it
does not matter who is last.

Raises OSError, as it comes.
"""

import contextlib
import itertools
import os
import secrets
from collections.abc import Callable

from trunkline.storage import disk


class Directory:
    """The directory of a store."""

    def __init__(self, root: str, check_there: Callable[[], None]) -> None:
        """Take a directory.

        Args:
            root: Its path.
            check_there: Raises when this is not the store's directory any more: asked before a
                directory is made in it, so that nothing is written into an empty mount point.
        """
        self._root = root
        self._check_there = check_there
        self._names = (f"#{secrets.randbits(48)}{number:06}" for number in itertools.count())

    def status(self, key: str) -> os.stat_result | None:
        """Return an object's, or None."""
        try:
            return os.stat(f"{self._root}/{key}")  # noqa: PTH116 - a Path costs more than the call
        except FileNotFoundError:
            return None

    def write(self, key: str, data: bytes) -> None:
        """Make an object, or write it once more."""
        path = f"{self._root}/{key}"
        unfinished = path + next(self._names)
        try:
            try:
                disk.write_new(unfinished, data)
            except FileNotFoundError:
                self._check_there()
                os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
                disk.write_new(unfinished, data)
            os.rename(unfinished, path)  # noqa: PTH104
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(unfinished)  # noqa: PTH108
            raise

    def read(self, key: str, offset: int, size: int) -> bytes:
        """Return up to `size` bytes of an object, less at its end."""
        source = os.open(f"{self._root}/{key}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(source, size, offset)
            while 0 < len(data) < size and (more := os.pread(source, size, offset + len(data))):
                data += more[: size - len(data)]
        finally:
            os.close(source)
        return data
