"""A worker's own directories, and a datum's files on their way through them.

    <home>/scratch/<n>/pfs/{<input>..., out}   one datum: fetched here, stored from here
    <home>/pfs/{<input>..., out}               the one that runs; its command sees it as /pfs
    <home>/work                                where commands start, if the spec names no directory
    <home>/root                                a place to mount a new root on (namespaces)

All lie on one file system, so that a datum moves in and out by renaming its top directories. What
else the command left in /pfs, or in its working directory, goes with its datum: the next one finds
both as its predecessor did. While the outputs of one datum are stored, the files of another one may
be presented already. Nothing here outlives the worker: at its start the directories are cleared.
"""

import asyncio
import contextlib
import os
import shutil
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from trunkline.contracts import errors, names
from trunkline.contracts.messages import DatumInput, DatumTask, File
from trunkline.storage import disk, manifests, trees
from trunkline.storage.store import Store
from trunkline.worker_agent import shim

OUT = "out"

_DISCARD_S = 0.02
"""Seconds that a settled datum's files may stay for company."""


class Place:
    """One datum's directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pfs = directory / "pfs"
        self.rest = directory / "rest"
        """What the command left elsewhere: deleted unseen."""
        self.names: tuple[str, ...] = (OUT,)
        """The top directories that are presented."""
        self.bytes = 0
        """Fetched."""

    @property
    def out(self) -> Path:
        """What the command wrote, once it is withdrawn."""
        return self.pfs / OUT


class Workspace:
    """The directories of one worker; one datum is presented at a time."""

    def __init__(self, home: Path) -> None:
        self.pfs = home / "pfs"
        self.work = home / "work"
        self.root = home / "root"
        self._scratch = home / "scratch"
        self._count = 0
        self._presented: Place | None = None
        self._doomed: list[Path] = []
        self._discarding: asyncio.Future[None] | None = None

    def prepare(self) -> None:
        """Make the directories, empty."""
        for each in (self.pfs, self.work, self.root, self._scratch):
            if each.exists():
                _remove(each)
            each.mkdir(parents=True)
            each.chmod(0o755)

    def place(self) -> Place:
        """Return a place for a datum's files; nothing is made yet."""
        self._count += 1
        return Place(self._scratch / str(self._count))

    async def stage(self, store: Store, task: DatumTask, place: Place) -> None:
        """Fetch a datum's files to its place; repeated after a failure, it begins anew.

        Raises:
            UnavailableError: the store or the disk is away or full.
            InvalidPathError: a path cannot stand in a file system.
            NotFoundError, CorruptObjectError, MalformedMessageError: the store has lost something.
        """
        if place.directory.exists():
            await self.discard(place)
        place.bytes = 0
        with disk.writing(str(place.directory)):
            for made in (place.directory, place.pfs, place.out):
                os.mkdir(made)  # noqa: PTH102 - thousands of them a minute
        for each in task.inputs:
            if "/" in each.name or each.name == OUT:
                raise errors.InvalidPathError(each.name, "it cannot be the name of an input")
            names.path(each.name)
            place.bytes += await trees.download(store, _files(store, each), place.pfs / each.name)
        place.names = (*dict.fromkeys(each.name for each in task.inputs), OUT)

    def present(self, place: Place) -> None:
        """Let a datum's files be what is in /pfs."""
        assert self._presented in (None, place)
        self._presented = place
        with disk.writing(str(self.pfs)):
            for name in place.names:
                with contextlib.suppress(FileNotFoundError):  # moved by a try that failed half-way
                    os.rename(f"{place.pfs}/{name}", f"{self.pfs}/{name}")  # noqa: PTH104

    def withdraw(self, place: Place) -> None:
        """Take everything out of /pfs and out of the working directory; nothing if it was not there.

        An output directory that the command took away is an empty one.
        """
        if self._presented is not place:
            return
        self._presented = None
        with disk.writing(str(self.pfs)):
            for source in (self.pfs, self.work):
                source.chmod(0o755)
                for number, name in enumerate(os.listdir(source)):  # noqa: PTH208
                    known = source is self.pfs and name in place.names
                    if known:
                        target = f"{place.pfs}/{name}"
                    else:
                        place.rest.mkdir(exist_ok=True)
                        target = f"{place.rest}/{source.name}{number}"
                    _unlock(f"{source}/{name}")
                    os.rename(f"{source}/{name}", target)  # noqa: PTH104
            if not os.path.lexists(place.out):
                place.out.mkdir()

    async def upload(self, store: Store, place: Place) -> trees.Uploaded:
        """Store what a datum's command wrote.

        Raises:
            UnavailableError: the store or the disk is away or full.
            InvalidPathError: it cannot become a repo's content; the command's fault.
        """
        if place.out.is_symlink() or not place.out.is_dir():
            raise errors.InvalidPathError(OUT, "the command made it no directory")
        seen = {"/pfs": place.pfs, str(self.pfs): place.pfs}
        return await trees.upload(store, place.out, views=seen)

    async def discard(self, place: Place) -> None:
        """Delete a datum's files; what cannot be deleted stays until the worker's end."""
        await asyncio.to_thread(_remove, place.directory)

    def discard_soon(self, place: Place) -> None:
        """Delete a datum's files in a while, together with those of others: one thread for many."""
        self._doomed.append(place.directory)
        if len(self._doomed) == 1:
            asyncio.get_running_loop().call_later(_DISCARD_S, self._discard)

    async def settle(self) -> None:
        """Return once nothing is left to be deleted."""
        self._discard()
        if self._discarding is not None:
            await self._discarding

    def _discard(self) -> None:
        doomed, self._doomed = self._doomed, []
        if not doomed:
            return
        self._discarding = asyncio.get_running_loop().run_in_executor(None, _remove_all, doomed)


async def _files(store: Store, each: DatumInput) -> AsyncIterator[File]:
    if each.files is not None:
        for file in each.files:
            yield file
    elif each.span is not None:
        span = each.span
        async for file in manifests.read(store, each.manifest, span.first, span.count):
            yield file


def _unlock(path: str) -> None:
    """Let the owner move and clear a directory whose rights the command took away."""
    with contextlib.suppress(OSError):
        mode = os.lstat(path).st_mode
        if stat.S_ISDIR(mode) and mode & 0o700 != 0o700:
            os.chmod(path, stat.S_IMODE(mode) | 0o700)  # noqa: PTH101


def _remove_all(paths: list[Path]) -> None:
    for path in paths:
        if os.path.lexists(path):
            _remove(path)


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except (OSError, RecursionError):  # rights taken away on something deeper, or a thousand levels
        shim.open_up(str(path))
        command = ["/bin/rm", "-rf", "--", str(path)]
        subprocess.run(command, check=False, stderr=subprocess.DEVNULL)  # noqa: S603 - our own path
