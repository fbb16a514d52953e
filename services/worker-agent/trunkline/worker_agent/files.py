"""A worker's own directories, and a datum's files on their way through them.

    <home>/scratch/<n>/{<input>..., out}   one datum: fetched here, stored from here
    <home>/scratch/<n>.rest                what else its command left behind: deleted unseen
    <home>/pfs/{<input>..., out, .env}     the one that runs; its command sees it as /pfs
    <home>/work                            where commands start, if the spec names no directory
    <home>/root                            a place to mount a new root on (namespaces)

In a pod the user's container has that directory as its /pfs, and outlives the agent: so a directory that
is there is emptied, and stays. The two run as different users of one group there (`shared`).

All lie on one file system, so that a datum moves in and out by renaming its top directories. What
else the command left in /pfs, or in its working directory, goes with its datum: the next one finds
both as its predecessor did. While the outputs of one datum are stored, the files of another one may
be presented already. Nothing here outlives the worker: at its start the directories are cleared.

A settled datum's directories and files serve again (`spares`) where all that is in them is known: the
few files that were fetched and stored. All others are deleted in a while, together, by a thread.
"""

import asyncio
import contextlib
import functools
import os
import shutil
import stat
import subprocess
from collections.abc import Iterable
from pathlib import Path

from trunkline.contracts import errors, names
from trunkline.contracts.messages import DatumInput, DatumTask
from trunkline.storage import disk, few, trees
from trunkline.storage.reaching import Reach
from trunkline.storage.store import Store
from trunkline.worker_agent import elsewhere, given, rights
from trunkline.worker_agent.spares import Kept, Spares
from trunkline.worker_agent.standing import Standing
from trunkline.worker_agent.variables import VariablesFile

OUT = "out"
DOOR = ".trunkline"
"""The directory in /pfs by which a command that stays up asks for the next datum."""
ENV = ".env"
"""The file with a datum's variables."""

_DISCARD_S = 0.02
"""Seconds that a settled datum's files may stay for company."""
_MODE = 0o755
_SHARED_MODE = 0o2775
"""What is made below belongs to the group, too."""


class Place:
    """One datum's directory, once it is staged."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.made = False
        self.names: tuple[str, ...] = (OUT,)
        """The top directories that are presented."""
        self.known: dict[str, list[str]] | None = {}
        """The files in each of them; None if there may be others, or directories."""
        self.held = False
        """Whether a command that lives on may still have its files open."""
        self.barren = False
        """Whether the command is known to have written nothing to its output."""
        self.aside = 0
        """How much the command left elsewhere."""
        self.bytes = 0
        """Fetched."""
        self.blank: dict[str, DatumInput] = {}
        """The inputs that are there without their contents."""

    @property
    def rest(self) -> str:
        """Where that is put."""
        return f"{self.directory}.rest"

    def knows(self, name: str, paths: Iterable[str]) -> None:
        """Note all files of one of the directories."""
        files = [path[1:] for path in paths]
        if self.known is None or any("/" in file for file in files):
            self.known = None
        else:
            self.known[name] = files

    @property
    def out(self) -> str:
        """What the command wrote, once it is withdrawn."""
        return f"{self.directory}/{OUT}"


class Workspace:
    """The directories of one worker; one datum is presented at a time."""

    def __init__(self, home: Path, *, shared: bool = False) -> None:
        """Take a directory; `shared`: commands run as other users of the same group."""
        self._mode = _SHARED_MODE if shared else _MODE
        self.pfs = home / "pfs"
        self.work = home / "work"
        self.root = home / "root"
        self._scratch = home / "scratch"
        self._sources = (str(self.pfs), str(self.work))
        self._standing = Standing(str(self.pfs))
        self._count = 0
        self._presented: Place | None = None
        self.occupied = False
        """Whether a command stays up: its working directory and its door stay, too."""
        self._variables = VariablesFile(str(self.pfs / ENV))
        self._doomed: list[str] = []
        self._discarding: asyncio.Future[None] | None = None

    def prepare(self) -> None:
        """Make the directories, empty."""
        for each in (self.pfs, self.work, self.root, self._scratch):
            each.mkdir(parents=True, exist_ok=True)
            _remove_all([str(entry) for entry in each.iterdir()])
            if stat.S_IMODE(each.stat().st_mode) != self._mode:
                each.chmod(self._mode)
        self._spares = Spares(self._scratch)

    def place(self) -> Place:
        """Return a place for a datum's files; nothing is made yet."""
        self._count += 1
        return Place(f"{self._scratch}/{self._count}")

    async def stage(self, store: Store, task: DatumTask, place: Place) -> None:
        """Fetch a datum's files to its place; repeated after a failure, it begins anew.

        Raises:
            UnavailableError: the store or the disk is away or full.
            InvalidPathError: a path cannot stand in a file system.
            NotFoundError, CorruptObjectError, MalformedMessageError: the store has lost something.
        """
        if place.made:
            await self.discard(place)
        for each in task.inputs:
            if "/" in each.name or each.name in (OUT, DOOR, ENV):
                raise errors.InvalidPathError(each.name, "it cannot be the name of an input")
            names.path(each.name)
        place.names = (*dict.fromkeys(each.name for each in task.inputs), OUT)
        place.bytes, place.known = 0, {}
        place.blank = {each.name: each for each in task.inputs if each.empty}
        self._make(place)
        for each in task.inputs:
            place.bytes += await self._fetch(store, each, place)

    async def _fetch(self, store: Store, each: DatumInput, place: Place) -> int:
        target = f"{place.directory}/{each.name}"
        files = given.shown(each)
        if files is not None:
            place.knows(each.name, [file.path for file in files])
            if few.is_here(store, files):
                return await few.download(store, files, target, self._spares.write_new)
            return await trees.download(store, files, target)
        place.known = None
        return await trees.download(store, given.listed(store, each), target)

    def _make(self, place: Place) -> None:
        """Make a place's directories, or take some that are there."""
        place.made = True
        kept = self._spares.take_set()
        with disk.writing(place.directory):
            if kept is not None:
                place.directory = kept.directory
                if kept.names == place.names:
                    return
                for name in kept.names:
                    os.rmdir(f"{place.directory}/{name}")  # noqa: PTH106
            else:
                os.mkdir(place.directory)  # noqa: PTH102 - thousands of them a minute
            for name in place.names:
                os.mkdir(f"{place.directory}/{name}")  # noqa: PTH102

    def present(self, place: Place, variables: str) -> None:
        """Let a datum's files be what is in /pfs, and these lines the file with its variables."""
        assert self._presented in (None, place)
        self._presented = place
        pfs, _ = self._sources
        with disk.writing(pfs):
            self._standing.keep(place.names)
            known = {OUT: [], **(place.known or {})}
            for name in place.names:
                try:
                    if not self._standing.fill(name, f"{place.directory}/{name}", known.get(name)):
                        os.rename(f"{place.directory}/{name}", f"{pfs}/{name}")  # noqa: PTH104
                except FileNotFoundError:  # moved by a try that failed half-way
                    continue
            self._variables.write(variables)

    def withdraw(self, place: Place) -> None:
        """Take everything out of /pfs and out of the working directory; nothing if it was not there.

        An output directory that the command took away is an empty one.
        """
        if self._presented is not place:
            return
        self._presented = None
        pfs, _ = self._sources
        with disk.writing(pfs):
            for source in self._sources:
                if stat.S_IMODE(os.stat(source).st_mode) != self._mode:  # noqa: PTH116
                    os.chmod(source, self._mode)  # noqa: PTH101
            missing, kept = set(place.names), self._variables.keep()
            for name in os.listdir(pfs):  # noqa: PTH208
                if name in missing:
                    missing.discard(name)
                    self._take_out(place, name)
                elif not (self.occupied and name == DOOR) and not (kept and name == ENV):
                    self._put_aside(place, pfs, name)
            if not self.occupied:
                self._put_work_aside(place)
            for name in missing:
                self._standing.gone(name)
            if OUT in missing:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(place.out)  # noqa: PTH102

    def _take_out(self, place: Place, name: str) -> None:
        path, target = f"{self.pfs}/{name}", f"{place.directory}/{name}"
        if self.occupied:
            place.held = True
            found = self._standing.empty(name, target)
            if found is not None:
                if name == OUT:
                    place.barren = not found
                elif place.known is not None and set(found) != set(place.known[name]):
                    place.known = None
                return
            place.known = None
        _move(path, target)

    def vacate(self) -> None:
        """Clear away what a command that stayed up has kept; its datum, if it has one, stays."""
        self.occupied = False
        self._standing.forget()
        place = self.place()
        pfs, _ = self._sources
        with disk.writing(pfs):
            for name in os.listdir(pfs):  # noqa: PTH208
                if name == DOOR or (self._presented is None and name != ENV):
                    self._put_aside(place, pfs, name)
            self._put_work_aside(place)
        self.discard_soon(place)

    def _put_work_aside(self, place: Place) -> None:
        _, work = self._sources
        for name in os.listdir(work):  # noqa: PTH208
            self._put_aside(place, work, name)

    @staticmethod
    def _put_aside(place: Place, source: str, name: str) -> None:
        """Move what a command left beside its output out of the way."""
        if not place.aside:
            os.mkdir(place.rest)  # noqa: PTH102
            place.known = None
        place.aside += 1
        _move(f"{source}/{name}", f"{place.rest}/{place.aside}")

    async def leads_elsewhere(self, place: Place, pfs: str) -> bool:
        """Whether what a command wrote may hold a link that leads out of the datum's directories.

        Args:
            place: The datum's, withdrawn.
            pfs: Where the command saw its files.
        """
        if place.barren:
            return False
        status = os.lstat(place.out)
        if not stat.S_ISDIR(status.st_mode):
            return False
        views = functools.partial(self._views, place, pfs)
        if status.st_nlink > 2 or status.st_size > few.FLAT_BYTES:
            return await asyncio.to_thread(elsewhere.leads_there, place.out, views)
        return elsewhere.leads_there(place.out, views)

    def _views(self, place: Place, pfs: str) -> dict[str, Path]:
        """Return where the command saw the datum's directories, or may have."""
        directory = Path(place.directory)
        return {pfs: directory, "/pfs": directory, str(self.pfs): directory}

    async def upload(
        self, store: Store, place: Place, *, pfs: str = "/pfs", reach: Reach | None = None
    ) -> trees.Uploaded:
        """Store what a datum's command wrote.

        Args:
            store: Where to.
            place: The datum's, withdrawn.
            pfs: Where the command saw its files.
            reach: See `trees.upload`.

        Raises:
            UnavailableError: the store or the disk is away or full.
            InvalidPathError: it cannot become a repo's content; the command's fault.
        """
        if place.barren:
            place.knows(OUT, ())
            return await few.upload(store, ())
        found = few.read(place.out)
        if found is not None:
            if self._spares.is_plain(found.status, found.attributes):
                place.knows(OUT, [f"/{name}" for name, _ in found.files])
            return await few.upload(store, found.files)
        place.known = None
        if not _is_directory(place.out):
            raise errors.InvalidPathError(OUT, "the command made it no directory")
        directory = Path(place.directory)
        seen = self._views(place, pfs)
        blank = {directory / name: given.Meant(store, each) for name, each in place.blank.items()}
        return await trees.upload(store, directory / OUT, views=seen, blank=blank, reach=reach)

    async def discard(self, place: Place) -> None:
        """Delete a datum's files; what cannot be deleted stays until the worker's end."""
        place.made, place.aside = False, 0
        await asyncio.to_thread(_remove_all, [place.directory, place.rest])

    def discard_soon(self, place: Place) -> None:
        """Be done with a datum: keep its directories, or delete all in a while, with that of others."""
        if self._cleared(place):
            self._spares.keep_set(Kept(place.directory, place.names))
            return
        self._doomed += [place.directory, place.rest]
        if len(self._doomed) == 2:
            asyncio.get_running_loop().call_later(_DISCARD_S, self._discard)

    async def settle(self) -> None:
        """Return once nothing is left to be deleted."""
        self._discard()
        if self._discarding is not None:
            await self._discarding

    def _cleared(self, place: Place) -> bool:
        """Take a datum's files out one by one; return whether its directories are like new by that."""
        known = place.known
        if known is None or len(known) != len(place.names) or self._spares.full:
            return False
        try:
            for name in known.pop(OUT):  # which is a directory like new but for these files
                os.unlink(f"{place.out}/{name}")  # noqa: PTH108
            if place.held:  # by a command that has never seen these directories, only their entries
                for name, files in known.items():
                    for file in files:
                        os.unlink(f"{place.directory}/{name}/{file}")  # noqa: PTH108
                return True
            return all(
                self._spares.clear(f"{place.directory}/{name}", files)
                for name, files in known.items()
            )
        except OSError:
            return False

    def _discard(self) -> None:
        doomed, self._doomed = self._doomed, []
        if not doomed:
            return
        self._discarding = asyncio.get_running_loop().run_in_executor(None, _remove_all, doomed)


def _is_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)  # noqa: PTH112, PTH114


def _move(path: str, target: str) -> None:
    """Rename something of the command's, which may have taken its own right to that away."""
    try:
        os.rename(path, target)  # noqa: PTH104
    except PermissionError:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise
        os.chmod(path, 0o700)  # noqa: PTH101
        os.rename(path, target)  # noqa: PTH104


def _remove_all(paths: list[str]) -> None:
    for path in paths:
        if os.path.lexists(path):
            _remove(path)


def _remove(path: str) -> None:
    try:
        if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
            shutil.rmtree(path)
        else:
            os.unlink(path)  # noqa: PTH108
    except (OSError, RecursionError):  # rights taken away on something deeper, or a thousand levels
        rights.open_up(path)
        command = ["/bin/rm", "-rf", "--", path]
        subprocess.run(command, check=False, stderr=subprocess.DEVNULL)  # noqa: S603 - our own path
