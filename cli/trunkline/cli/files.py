"""Verbs on files: put, get, ls, cat. Bytes go straight to and from the store."""

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from trunkline.cli import refs, render, saying, session
from trunkline.cli.core import pace as paces
from trunkline.cli.options import Asked
from trunkline.client import files
from trunkline.client.client import Client
from trunkline.client.files import Source
from trunkline.contracts import errors, globs, names
from trunkline.contracts.messages import File
from trunkline.contracts.wording import counted
from trunkline.runtime.clock import SystemClock


class UsageError(errors.TrunklineError):
    """What was asked for has no one meaning."""


def put(asked: Asked, text: str, given: tuple[str, ...], *, recursive: bool, replace: bool) -> None:
    """Put local files, directories or stdin into a branch, as one commit."""

    async def body(client: Client) -> None:
        place = refs.place(text)
        with (
            _sources(place.path, given, recursive=recursive) as sources,
            _bar(text, sum(each.size for each in sources)) as progress,
        ):
            commit = await files.put(
                client, place.repo, place.ref, sources, replace=replace, progress=progress
            )
        size = render.size(commit.size)
        sentence = (
            f"commit {place.repo}@{commit.id}: {counted(commit.files, 'file')}, {size} in all"
        )
        render.done(asked, commit, sentence)

    session.run(asked, body)


@contextmanager
def _sources(at: str, given: tuple[str, ...], *, recursive: bool) -> Iterator[list[Source]]:
    """Yield what is to be put; stdin is kept in a file until it is."""
    found: list[Source] = []
    with tempfile.TemporaryFile() as piped:
        for name in given:
            path = Path(name)
            if name == "-":
                found.append(_piped(at, piped))
            elif path.is_dir() and not recursive:
                message = f"{name} is a directory; put it with -r"
                raise UsageError(message)
            else:
                # Several files go into a directory, as `cp` has it.
                several = len(given) > 1 and not path.is_dir()
                found += files.sources(path, f"{at.rstrip('/')}/" if several else at)
        yield found


def _piped(at: str, piped: BinaryIO) -> Source:
    if not at or at.endswith("/"):
        message = "stdin has no name: give it one, as in `put repo@branch:path -f -`"
        raise UsageError(message)
    while data := sys.stdin.buffer.read(1 << 20):
        piped.write(data)
    return Source(names.path(at), piped, piped.tell())


@contextmanager
def _bar(text: str, size: int) -> Iterator[files.Progress | None]:
    """Yield what shows how far a put is, and when it will have ended, on a terminal; `size` is what there is in all."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich import console  # noqa: PLC0415 - a terminal's only

    from trunkline.cli import bars  # noqa: PLC0415

    clock, pace = SystemClock(), paces.Pace()
    began_s = clock.monotonic_s()
    due_s = began_s
    with bars.drawn(console.Console(stderr=True), transient=True) as drawn:

        def advance(count: int, total: int, done: int) -> None:
            nonlocal due_s
            now_s = clock.monotonic_s()
            if now_s < due_s and count < total:
                return  # a line for each of many files would take longer than they do
            due_s = now_s + _DRAW_S
            pace.look(now_s, work(count, done))
            left_s = paces.left_s(work(total, size) - work(count, done), pace.per_s())
            row = bars.Put(text, count, total, done, size, left_s, now_s - began_s)
            drawn.draw(bars.put_part(row))

        yield advance


_DRAW_S = 0.1
"""Between two looks at a put."""

FILE_BYTES = 64 * 1024
"""What a file takes beside its bytes: a request of its own, or a place in a pack, and its sha256."""


def work(count: int, size: int) -> int:
    """Return what so many files of so many bytes are to a put: neither count nor size alone tells when it ends."""
    return count * FILE_BYTES + size


def ls(asked: Asked, text: str) -> None:
    """List what lies directly in a directory, or what a glob matches."""

    async def body(client: Client) -> None:
        place = refs.place(text)
        found = files.ls(client, place.repo, place.ref, f"/{place.path}")
        if not asked.for_people:
            render.records(asked, await render.gathered(asked, found))
            return
        rows: list[tuple[str, ...]]
        if globs.compile(f"/{place.path}").is_plain:
            rows = await _directory([file async for file in found], place.path)
        else:
            rows = [(file.path, render.size(file.size), file.sha256) async for file in found]
        if not rows and place.path:
            raise errors.NotFoundError("file", text)
        render.table(asked, ("path", "size", "sha256"), rows, wide=1)

    session.run(asked, body)


async def _directory(found: list[File], path: str) -> list[tuple[str, ...]]:
    """Return a line per file directly in the directory, and one per directory in it."""
    prefix = f"/{path.rstrip('/')}/" if path.strip("/") else "/"
    sizes: dict[str, int] = {}
    hashes: dict[str, str] = {}
    for file in found:
        head, slash, _ = file.path.removeprefix(prefix).partition("/")
        name = prefix + head + slash if file.path.startswith(prefix) else file.path
        sizes[name] = sizes.get(name, 0) + file.size
        hashes[name] = "" if slash else file.sha256
    return [(name, render.size(size), hashes[name]) for name, size in sizes.items()]


def cat(asked: Asked, text: str) -> None:
    """Write the contents of all files that a glob matches."""

    async def body(client: Client) -> None:
        place = refs.place(text)
        async for piece in files.cat(client, place.repo, place.ref, f"/{place.path}"):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()

    session.run(asked, body)


def get_file(asked: Asked, text: str, target: str, *, recursive: bool) -> None:
    """Download one file, or with `recursive` all files below a directory (or that a glob matches)."""

    async def body(client: Client) -> None:
        place = refs.place(text)
        if target == "-":
            async for piece in files.cat(client, place.repo, place.ref, f"/{place.path}"):
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return
        listed = files.ls(client, place.repo, place.ref, f"/{place.path}")
        found = [file async for file in listed]
        if not found:
            raise errors.NotFoundError("file", text)
        if len(found) > 1 and not recursive:
            message = f"{text} is {len(found)} files; get them with -r"
            raise UsageError(message)
        for file in found:
            await files.get(client, file, await asyncio.to_thread(_local, file, place, target))
        if not render.records(asked, found):
            saying.tell(counted(len(found), "file"))

    session.run(asked, body)


def _local(file: File, place: refs.Place, target: str) -> Path:
    """Return where a file goes: at or in the target, below what was asked for."""
    inside = PurePosixPath(file.path)
    if file.path == f"/{place.path}":
        given = Path(target or ".")
        return given / inside.name if not target or given.is_dir() else given
    folder = PurePosixPath("/", place.path)
    below = inside.is_relative_to(folder)
    relative = inside.relative_to(folder) if below else inside.relative_to("/")
    return Path(target or (folder.name if below else "")) / relative
