"""Files between this machine and an installation: bytes go straight to and from the store.

A put is one commit, or none:

    listed and checked -> bytes stored -> manifest of the new files stored
      -> (head read -> manifest laid over the head's -> commit.finish) --conflict--> (again)

Up to `commit.finish` nothing refers to what was stored: a put that is cut off anywhere before leaves
objects that a later sweep takes away, and no commit. The commit's id is made here, once, so that a
`commit.finish` whose answer was lost is repeated without making a second commit. When somebody else
moved the branch in between, only the laying-over is done again, on the new head.
"""

import asyncio
import os
import secrets
import stat
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec

from trunkline.client import uploading
from trunkline.client.client import Client
from trunkline.client.uploading import UnreadableSourceError
from trunkline.contracts import api, errors, globs, names, records
from trunkline.contracts.messages import File
from trunkline.storage import manifests

CONFLICTS_MAX = 100
"""How often somebody else may be faster before a put gives up."""

Progress = Callable[[int, int, int], None]
"""Takes (files done, files in all, bytes done), from any thread. Of a large file that is being stored, bytes count half when they
are read for their hash, and half when they are sent."""


class BusyBranchError(errors.TrunklineError):
    """A branch moved again and again while a put tried to lay its files over its head."""

    def __init__(self, repo: str, branch: str) -> None:
        super().__init__(f"{repo}@{branch} moves too fast for this put; try again")
        self.repo, self.branch = repo, branch


class Source(msgspec.Struct, frozen=True):
    """One file to be put."""

    path: str
    """In the repo."""
    content: Path | BinaryIO
    size: int = 0


def sources(path: Path, at: str = "") -> list[Source]:
    """Return what a local file or directory holds, by where it goes in the repo.

    Args:
        path: A file (goes to `at`, or below it under its own name if `at` is empty or ends with a
            slash) or a directory (its contents go below `at`). Links to files are followed; links
            to directories are not, since they may lead in circles.
        at: In the repo.

    Raises:
        UnreadableSourceError: something there is neither file nor directory, or cannot be read.
        InvalidPathError: a name cannot stand in a repo.
    """
    try:
        if not path.is_dir():
            inside = at.rstrip("/") + "/" + path.name if not at or at.endswith("/") else at
            return [_source(path, inside)]
        found = []
        for folder, _, files in os.walk(path, onerror=_raise):
            for name in files:
                file = Path(folder, name)
                inside = file.relative_to(path).as_posix()
                found.append(_source(file, f"{at.rstrip('/')}/{inside}"))
    except OSError as error:
        raise UnreadableSourceError(error.filename or path, error.strerror or str(error)) from error
    return found


async def put(
    client: Client,
    repo: str,
    branch: str,
    source: Path | Iterable[Source],
    *,
    replace: bool = False,
    progress: Progress | None = None,
) -> records.Commit:
    """Put files into a branch, over those that are there, as one commit; return it.

    Args:
        client: Where to.
        repo: The repo.
        branch: The branch; it must be there.
        source: A file or directory, or what `sources` returned.
        replace: Leave nothing of what the branch held before.
        progress: Called as files, and parts of large ones, are stored.

    Raises:
        RequestRefusedError: there is no such branch, or a pipeline owns the repo.
        InvalidPathError: a path is there twice, or as a file and as a directory.
    """
    entries = await asyncio.to_thread(sources, source) if isinstance(source, Path) else list(source)
    entries.sort(key=lambda each: names.path_key(each.path))
    named = api.BranchNamed(repo=repo, branch=branch)
    await client.call("branch.get", named, records.Branch)  # refused before anything is stored
    telling = _Telling(entries, progress)
    stored = uploading.upload(client.store, telling.contents(), read=telling.read)
    new = await manifests.write(client.store, stored)
    identifier = secrets.token_hex(16)
    for _ in range(CONFLICTS_MAX):
        head = (await client.call("branch.get", named, records.Branch)).head
        whole = new if replace or not head else await _over(client, repo, head, new)
        request = api.CommitFinish(
            repo=repo,
            branch=branch,
            id=identifier,
            parent=head,
            manifest=whole.manifest,
            files=whole.files,
            size=whole.size,
        )
        try:
            return await client.call("commit.finish", request, records.Commit)
        except errors.RequestRefusedError as error:
            if error.code != "conflict":
                raise
    raise BusyBranchError(repo, branch)


async def ls(
    client: Client, repo: str, ref: str = "master", pattern: str = "/"
) -> AsyncIterator[File]:
    """Yield, sorted, the files that a glob matches, and those below a directory that it matches.

    Raises:
        RequestRefusedError: there is no such commit.
        InvalidGlobError: the pattern cannot be parsed.
    """
    glob = globs.compile(pattern)
    named = api.CommitNamed(repo=repo, ref=ref)
    commit = await client.call("commit.get", named, records.Commit)
    manifest = await manifests.open_manifest(client.store, commit.manifest)
    folder = glob.literal_prefix.rpartition("/")[0]
    async for file in manifest.below(folder or "/"):
        if _under(glob, file.path):
            yield file


async def cat(client: Client, repo: str, ref: str, pattern: str) -> AsyncIterator[bytes]:
    """Yield the contents of the files that a glob matches, one after the other, checked.

    Raises:
        NotFoundError: it matches none.
        CorruptObjectError: after the last piece of a file whose bytes are not what was put.
    """
    count = 0
    async for file in ls(client, repo, ref, pattern):
        count += 1
        async for piece in client.store.read(file):
            yield piece
    if not count:
        raise errors.NotFoundError("file", f"{repo}@{ref}:{pattern}")


async def get(client: Client, file: File, target: Path) -> None:
    """Download one file; what was at the target is replaced by a whole, checked file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        await client.store.fetch(file, beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


async def _over(client: Client, repo: str, head: str, new: manifests.Written) -> manifests.Written:
    """Return the manifest of the head's files with the new ones over them."""
    named = api.CommitNamed(repo=repo, ref=head)
    commit = await client.call("commit.get", named, records.Commit)
    files = manifests.read(client.store, new.manifest)
    return await manifests.overlay(client.store, commit.manifest, files)


class _Telling:
    """Hands out what is to be stored, one after the other, and tells how far that is."""

    def __init__(self, entries: list[Source], progress: Progress | None) -> None:
        self._entries, self._progress = entries, progress
        self._count, self._size = 0, 0

    def contents(self) -> Iterable[tuple[str, Path | BinaryIO]]:
        """Yield each file's path and contents."""
        for entry in self._entries:
            self._tell(0)
            yield entry.path, entry.content
            self._count += 1
            self._size += entry.size
        self._tell(0)

    def read(self, size: int) -> None:
        """Take into account that so much of the file at hand was read, in two passes."""
        self._tell(min(size // 2, self._entries[self._count].size))

    def _tell(self, part: int) -> None:
        if self._progress:
            self._progress(self._count, len(self._entries), self._size + part)


def _source(path: Path, at: str) -> Source:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise UnreadableSourceError(path, "it is neither a file nor a directory")
    return Source(path=names.path(at), content=path, size=found.st_size)


def _raise(error: OSError) -> None:
    raise error


def _under(glob: globs.Glob, path: str) -> bool:
    """Return whether a glob matches the path, or a directory that it lies below."""
    if glob.is_root:
        return True
    if not path.startswith(glob.literal_prefix):
        return False
    state = glob.start
    for part in path.split("/")[1:]:
        state = glob.step(state, "/" + part)
        if state.accepting:
            return True
    return False
