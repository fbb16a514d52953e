"""Directories of files to the store and back: a datum's output, a user's `put`, a datum's inputs.

An upload walks a directory in the order of a manifest, packs small files, stores large ones by
themselves, and gives back the files inline where they are few, as a manifest where they are many. A
download groups small files that lie side by side in one object into one read. Both keep a bounded
number of files in memory, whatever the tree. An upload that dies leaves objects that nobody names;
repeated, it writes the same ones.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from functools import partial
from pathlib import Path

import msgspec

from trunkline.contracts import errors, names
from trunkline.contracts.messages import INLINE_FILES, File
from trunkline.storage import disk, keys, manifests, packs, reaching, together, walking
from trunkline.storage.links import Elsewhere
from trunkline.storage.reaching import Reach
from trunkline.storage.store import Store
from trunkline.storage.walking import Blank, Found, Large, Small

_INLINE_BYTES = 8 * 1024
"""Files are inline only while their paths are this short together: a message has its limit, too."""

_WINDOW_FILES = 1024
_WINDOW_BYTES = 8 * 1024 * 1024
_READ_BYTES = 4 * 1024 * 1024
_GAP_BYTES = 16 * 1024
"""Bytes between two files of one object that are rather read along than asked for separately."""


class Uploaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a directory became; the fields are those of `messages.Outcome`."""

    files: tuple[File, ...] | None
    """All of them, sorted by path, where they are few; else None."""
    manifest: str
    """All of them, where they are many; else empty."""
    count: int
    bytes: int


Find = Callable[[str], Awaitable[File | None]]
"""Returns the file at a path, or None."""
Blanks = Mapping[Path, Find]
"""Directories whose files were put there without their contents, each with what finds those."""


async def upload(
    store: Store,
    directory: Path,
    *,
    views: Mapping[str, Path] | None = None,
    blank: Blanks | None = None,
    reach: Reach | None = None,
) -> Uploaded:
    """Store all files below a directory.

    Args:
        store: Where to.
        directory: A datum's output directory, say. Empty directories in it are not kept.
        views: Directories that symbolic links may lead into beside this one, each under the path at
            which whoever made the links saw it: `{"/pfs": Path("<worker>/pfs")}`.
        blank: Directories in views with empty files in place of some that are in the store. A link
            to one of these becomes what it stands for, without a byte being moved.
        reach: Opens what links elsewhere lead to; without it they are refused.

    Raises:
        InvalidPathError: A name cannot stand in a repo, a link leads outside, something is no file.
        UnavailableError: The store or the disk is away or full.
    """
    few: list[File] = []
    async with contextlib.aclosing(
        scan(store, directory, views=views, blank=blank, reach=reach)
    ) as files:
        async for file in files:
            few.append(file)
            if not _are_few(few):
                written = await manifests.write(store, _chained(few, files))
                return Uploaded(
                    files=None, manifest=written.manifest, count=written.files, bytes=written.size
                )
    size = sum(file.size for file in few)
    return Uploaded(files=tuple(few), manifest="", count=len(few), bytes=size)


async def scan(
    store: Store,
    directory: Path,
    *,
    prefix: str = "",
    views: Mapping[str, Path] | None = None,
    blank: Blanks | None = None,
    reach: Reach | None = None,
) -> AsyncGenerator[File, None]:
    """Store all files below a directory, and yield them sorted by `names.path_key`.

    `prefix` (`/a/b`, or empty) comes before their paths; for the rest see `upload`.
    """
    packer = packs.Packer(store)
    walk = await asyncio.to_thread(
        walking.Walk, directory, prefix, views or {}, blank or (), foreign=reach is not None
    )
    try:
        while batch := await asyncio.to_thread(walk.batch):
            due = False
            for stored in await _stored(store, batch, blank or {}, reach):
                if isinstance(stored, Small):
                    due = packer.add(stored.path, stored.data, stored.sha256)
                else:
                    due = packer.add_stored(stored)
            if due:
                for file in await packer.flush():
                    yield file
        for file in await packer.flush():
            yield file
    finally:
        walk.close()


async def download(
    store: Store, files: AsyncIterable[File] | Iterable[File], target: Path | str
) -> int:
    """Write files below a directory, at their paths; return how many bytes they have.

    The directory should be new: what is there already is never written over.

    Raises:
        InvalidPathError: A path would leave the directory, is there twice, or cannot be made here.
        CorruptObjectError: An object does not hold what was written.
        UnavailableError: The store is away, or the disk here is full.
    """
    total = 0
    with disk.writing(str(target)):
        os.makedirs(target, exist_ok=True)  # noqa: PTH103
    async for window in _windows(files):
        total += sum(file.size for file in window)
        _check_paths(window)
        await asyncio.to_thread(_make_parents, target, window)
        small = [file for file in window if file.size <= packs.SMALL_BYTES]
        large = [file for file in window if file.size > packs.SMALL_BYTES]
        calls = [partial(_fetch_group, store, group, str(target)) for group in _grouped(small)]
        calls += [partial(_fetch_large, store, file, target) for file in large]
        await together.run(calls)
    return total


def _check_paths(files: Iterable[File]) -> None:
    for file in files:
        if names.path(file.path) != file.path:
            raise errors.InvalidPathError(file.path, "it is not in its one form, as in a manifest")


def _are_few(files: Sequence[File]) -> bool:
    return len(files) <= INLINE_FILES and sum(len(f.path.encode()) for f in files) <= _INLINE_BYTES


async def _chained(few: list[File], rest: AsyncIterator[File]) -> AsyncIterator[File]:
    for file in few:
        yield file
    async for file in rest:
        yield file


async def _stored(
    store: Store, batch: list[Found], blank: Blanks, reach: Reach | None
) -> list[Small | File]:
    """Return a batch in its order, with what is large, or in the store already, as files of it."""
    calls: list[Callable[[], Awaitable[Small | File]]] = []
    for found in batch:
        match found:
            case Large():
                calls.append(partial(_put_large, store, found))
            case Blank():
                calls.append(partial(_meant, found, blank[found.directory]))
            case Elsewhere():
                assert reach is not None  # or the walk would have refused it
                calls.append(partial(reaching.stored, store, found, reach))
            case Small():
                pass
    done = iter(await together.run(calls))
    return [found if isinstance(found, Small) else next(done) for found in batch]


async def _meant(found: Blank, find: Find) -> Small | File:
    """Return the file that an empty one stands for; it may as well be one that the command made."""
    file = await find(found.inner)
    if file is None or not file.size:
        return Small(found.path, b"", keys.EMPTY_SHA256)
    return msgspec.structs.replace(file, path=found.path)


async def _put_large(store: Store, large: Large) -> File:
    with large.source:
        stored = await store.put_stream(large.source)
    return File(
        path=large.path,
        size=stored.size,
        sha256=stored.sha256,
        object=stored.key if stored.size else "",
    )


async def _windows(files: AsyncIterable[File] | Iterable[File]) -> AsyncIterator[list[File]]:
    window: list[File] = []
    size = 0
    async for file in manifests.stream(files):
        window.append(file)
        size += min(file.size, packs.SMALL_BYTES)
        if len(window) >= _WINDOW_FILES or size >= _WINDOW_BYTES:
            yield window
            window, size = [], 0
    if window:
        yield window


def _grouped(files: Iterable[File]) -> Iterator[list[File]]:
    """Yield groups of small files that one read fetches."""
    group: list[File] = []
    begin = end = 0
    for file in sorted(files, key=lambda file: (file.object, file.offset)):
        beside = group and file.object == group[0].object and file.offset <= end + _GAP_BYTES
        if beside and file.offset + file.size - begin <= _READ_BYTES:
            group.append(file)
            end = max(end, file.offset + file.size)
            continue
        if group:
            yield group
        group, begin, end = [file], file.offset, file.offset + file.size
    if group:
        yield group


async def _fetch_group(store: Store, group: list[File], target: str) -> None:
    begin = group[0].offset
    size = max(file.offset + file.size for file in group) - begin
    data = await store.get_range(group[0].object, begin, size) if size else b""
    await asyncio.to_thread(_write_group, group, begin, data, target)


def _write_group(group: list[File], begin: int, data: bytes, target: str) -> None:
    for file in group:
        start = file.offset - begin
        contents = data[start : start + file.size]
        found = hashlib.sha256(contents).hexdigest()
        if found != file.sha256:
            raise errors.CorruptObjectError(file.object, file.sha256, found)
        with disk.writing(file.path):
            disk.write_new(f"{target}{file.path}", contents)


async def _fetch_large(store: Store, file: File, target: Path | str) -> None:
    await store.fetch(file, Path(f"{target}{file.path}"))


def _make_parents(target: Path | str, files: Sequence[File]) -> None:
    made = ""
    for file in files:
        parent = file.path.rpartition("/")[0]
        if parent != made:
            with disk.writing(file.path):
                os.makedirs(f"{target}{parent}", exist_ok=True)  # noqa: PTH103
            made = parent
