"""Walk a directory that a user's command wrote, in the order of a manifest, trusting nothing in it.

Every file is opened part by part below a known directory, without following links, so that a process
which changes the tree meanwhile can make the walk fail but not lead it outside. Names that cannot be
paths in a repo, links that lead outside (or those are given as what they are: `links.Elsewhere`) and what
is no regular file are refused with the reason.
A walk blocks: it runs in a thread, a batch at a time.
"""

import contextlib
import hashlib
import os
import stat
import threading
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from trunkline.contracts import errors, names
from trunkline.storage import disk, packs
from trunkline.storage.links import Elsewhere, Roots, real_directory

_BATCH_BYTES = 1024 * 1024
_BATCH_FILES = 512
_BATCH_LARGE = 8
"""Large files of one batch: they stay open until they are stored."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(slots=True)
class Small:
    """A file that was read."""

    path: str
    data: bytes
    sha256: str


@dataclass(slots=True)
class Large:
    """A file that is open, to be read and closed by the taker."""

    path: str
    source: BinaryIO


@dataclass(slots=True)
class Blank:
    """A file that was reached by a link and holds nothing, in one of the blank directories."""

    path: str
    directory: Path
    inner: str
    """Its path in that directory, with a leading slash."""


Found = Small | Large | Blank | Elsewhere


class Walk:
    """One walk; made, called and closed from any thread, but used by one at a time."""

    def __init__(
        self,
        directory: Path,
        prefix: str,
        views: Mapping[str, Path],
        blank: Collection[Path] = (),
        *,
        foreign: bool = False,
    ) -> None:
        """Start at a directory whose files get `prefix` before their paths.

        Args:
            directory: Where to walk; links inside of it are followed.
            prefix: Empty, or a path in the repo without a slash at its end.
            views: More directories that links may lead into; see `links.Roots`.
            blank: Directories in them whose files were put there without their contents.
            foreign: Whether links may lead elsewhere; else they are refused.
        """
        directory = directory.absolute()
        self._directory = real_directory(directory)
        own = {str(directory): directory, self._directory: directory}
        self._roots = Roots({**views, **own}, foreign=foreign)
        self._blank = {f"{real_directory(each)}/": each for each in blank}
        self._prefix = prefix
        self._lock = threading.Lock()
        self._found = self._walk()
        self._at = _Directory()
        self._large: list[BinaryIO] = []
        """The large files of the last batch."""
        self._closed = False

    def batch(self) -> list[Found]:
        """Return the next files, none at the end.

        Raises:
            InvalidPathError: Something in the tree cannot become a file of a repo.
            UnavailableError: This machine cannot read it now.
        """
        batch: list[Found] = []
        size = elsewhere = 0
        with self._lock:
            self._large.clear()
            for found in () if self._closed else self._found:
                batch.append(found)
                size += len(found.data) if isinstance(found, Small) else 0
                elsewhere += isinstance(found, Elsewhere)
                enough = size >= _BATCH_BYTES or len(self._large) + elsewhere >= _BATCH_LARGE
                if enough or len(batch) >= _BATCH_FILES:
                    break
        return batch

    def close(self) -> None:
        """Close what is open, also the large files of the last batch."""
        self._closed = True
        with self._lock:
            self._found.close()
            self._at.close()
            for source in self._large:
                source.close()

    def _walk(self) -> Generator[Found, None, None]:
        """Yield all files; a stack of directories, each with the names in it that are still to come."""
        stack = [self._enter(self._prefix, self._directory, ())]
        while stack:
            place = stack[-1]
            if not place.names:
                stack.pop()
                continue
            name = place.names.pop()
            path = names.path(f"{place.path}/{name}")
            with disk.reading(path):
                real, kind = self._look(path, place.real, name)
                if isinstance(real, Elsewhere):
                    yield real
                elif stat.S_ISDIR(kind):
                    stack.append(self._enter(path, real, tuple(each.identity for each in stack)))
                elif stat.S_ISREG(kind):
                    yield self._open(path, real)
                else:
                    raise errors.InvalidPathError(path, "it is no regular file")

    def _look(self, path: str, directory: str, name: str) -> tuple[str | Elsewhere, int]:
        """Return the real path of an entry, with links resolved, and its kind, if it is known."""
        status = os.stat(
            name, dir_fd=self._at.open(self._root(directory), directory), follow_symlinks=False
        )
        if not stat.S_ISLNK(status.st_mode):
            return f"{directory}/{name}", status.st_mode
        target = os.readlink(name, dir_fd=self._at.fd)
        real = self._roots.real(path, directory, target)
        return real, 0 if isinstance(real, Elsewhere) else Path(real).lstat().st_mode

    def _enter(self, path: str, real: str, above: tuple[tuple[int, int], ...]) -> "_Place":
        with disk.reading(path or "/"):
            fd = self._at.open(self._root(real), real)
            status = os.fstat(fd)
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                raise errors.InvalidPathError(path, "it is a link to a directory that it lies in")
            with os.scandir(fd) as entries:
                found = sorted((each.name for each in entries), key=os.fsencode, reverse=True)
        return _Place(path, real, identity, found)

    def _open(self, path: str, real: str) -> Found:
        directory, _, name = real.rpartition("/")
        at = self._at.open(self._root(real), directory)
        fd = os.open(name, _FILE, dir_fd=at)
        with contextlib.ExitStack() as undo:
            source = undo.enter_context(os.fdopen(fd, "rb", buffering=0))
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise errors.InvalidPathError(path, "it is no regular file")
            if self._blank and not status.st_size and (found := self._in_blank(path, real)):
                return found
            data = _read(source) if status.st_size <= packs.SMALL_BYTES else None
            if data is not None and len(data) <= packs.SMALL_BYTES:
                return Small(path, data, hashlib.sha256(data).hexdigest())
            undo.pop_all()
        self._large.append(source)
        return Large(path, source)

    def _in_blank(self, path: str, real: str) -> Blank | None:
        for prefix, directory in self._blank.items():
            if real.startswith(prefix):
                return Blank(path, directory, real[len(prefix) - 1 :])
        return None

    def _root(self, real: str) -> str:
        root = self._roots.root_of(real)
        assert root is not None  # `Roots.real` has seen to it
        return root


@dataclass(slots=True)
class _Place:
    path: str
    real: str
    identity: tuple[int, int]
    names: list[str]
    """Still to come, the next one last."""


class _Directory:
    """The one directory that is kept open, since most files lie beside the one before."""

    def __init__(self) -> None:
        self.fd = -1
        self._real = ""

    def open(self, root: str, real: str) -> int:
        """Return a descriptor of a directory below a root, reached without following any link."""
        if self.fd >= 0 and self._real == real:
            return self.fd
        self.close()
        fd = os.open(root, _DIRECTORY)
        try:
            for part in real[len(root) :].split("/"):
                if part:
                    below = os.open(part, _DIRECTORY, dir_fd=fd)
                    os.close(fd)
                    fd = below
        except BaseException:
            os.close(fd)
            raise
        self.fd, self._real = fd, real
        return fd

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


def _read(source: BinaryIO) -> bytes:
    """Read a file, but not much more than a small one holds."""
    data = b""
    while len(data) <= packs.SMALL_BYTES and (more := source.read(packs.SMALL_BYTES + 1)):
        data += more
    return data
