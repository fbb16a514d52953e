"""Manifests: the files of a commit, or of one datum's output, as a run sorted by `names.path_key`.

The key is the path; the value is the rest of `messages.File`, with hashes as bytes. A run's weight is
the size of all files. No path is there twice, and none is both a file and a directory.
"""

import bisect
from collections.abc import AsyncIterable, AsyncIterator, Iterable

import msgspec

from trunkline.contracts import bounds, errors, names
from trunkline.contracts.messages import File
from trunkline.storage import keys, runs
from trunkline.storage.runs import Run, RunWriter
from trunkline.storage.store import Store

EMPTY = ""
"""The manifest of no files at all: there is no object."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest that was written."""

    manifest: str
    files: int
    size: int
    """Bytes of all files."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The value of an item."""

    size: int
    sha256: bytes
    object: bytes
    offset: int


_HASH_BYTES = 32

_encode = msgspec.msgpack.Encoder().encode
entry = msgspec.msgpack.Decoder(Entry).decode
"""Reads a value."""


def encode(file: File) -> bytes:
    """Return all of a file but its path; raise MalformedMessageError for what no file can be."""
    try:
        stored_in = bytes.fromhex(keys.sha256(file.object)) if file.object else b""
        made = Entry(file.size, bytes.fromhex(file.sha256), stored_in, file.offset)
    except (ValueError, errors.NotFoundError):
        made = None
    fits = 0 <= file.size <= bounds.MOST and 0 <= file.offset <= bounds.MOST
    if made is None or len(made.sha256) != _HASH_BYTES or not fits:
        raise errors.MalformedMessageError(file.path, "it names impossible bytes")
    return _encode(made)


def decode(key: bytes, value: bytes) -> File:
    """Return the file of an item."""
    found = entry(value)
    return File(
        path=names.path_of_key(key),
        size=found.size,
        sha256=found.sha256.hex(),
        object=keys.of(found.object.hex()) if found.object else "",
        offset=found.offset,
    )


async def write(store: Store, files: AsyncIterable[File] | Iterable[File]) -> Written:
    """Write a manifest of files that come sorted by `names.path_key`.

    Raises:
        InvalidPathError: A path comes twice, or is a directory of another one.
        ValueError: The files are not sorted.
    """
    writer = _Writer(store)
    async for file in stream(files):
        await writer.add(names.path_key(file.path), encode(file), file.size)
    return await writer.finish()


async def overlay(
    store: Store,
    base: str,
    files: AsyncIterable[File] | Iterable[File],
    deleted: Iterable[str] = (),
) -> Written:
    """Write a manifest that has these files over those of another one.

    Only the blocks that change are read and written, so a small change to a large manifest is cheap.

    Args:
        store: Holds both.
        base: The manifest to change.
        files: New contents, sorted by `names.path_key`; each replaces the file at its path.
        deleted: Paths of files, or of directories with all below them, that are gone before the new
            files come.

    Raises:
        InvalidPathError: A path comes twice, or would be both a file and a directory.
    """
    gone = _Deleted(deleted)
    old = await runs.open_run(store, base) if base and not gone.all else Run(store, EMPTY, [])
    return await _Overlay(_Writer(store), aiter(stream(files)), gone).run(old)


async def read(
    store: Store, manifest: str, first: int = 0, count: int | None = None
) -> AsyncIterator[File]:
    """Yield the files of a manifest, or of a span of it; a short span reads a block or two."""
    async for batch in (await open_manifest(store, manifest)).batches(first, count):
        for file in batch:
            yield file


async def open_manifest(store: Store, manifest: str) -> "Manifest":
    """Return a manifest to be read more than once: its root, and the last block, stay in memory."""
    return Manifest(await runs.open_run(store, manifest) if manifest else Run(store, EMPTY, []))


class Manifest:
    """A manifest to be read; made by `open_manifest`."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.key = run.key
        self.count = run.count
        self.size = run.weight
        """Bytes of all files."""

    async def files(self, first: int = 0, count: int | None = None) -> AsyncIterator[File]:
        """Yield the files from a position on."""
        async for batch in self.batches(first, count):
            for file in batch:
                yield file

    async def batches(self, first: int = 0, count: int | None = None) -> AsyncIterator[list[File]]:
        """Yield the same as `files`, a block at a time: the fast way through a million of them."""
        async for paths, values in self._run.batches(first, count):
            try:
                yield list(map(decode, paths, values))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise errors.MalformedMessageError(
                    self.key, f"it is no manifest: {error}"
                ) from error

    async def get(self, path: str) -> File | None:
        """Return the file at this path, or None."""
        key = names.path_key(path)
        value = await self._run.get(key)
        return None if value is None else decode(key, value)

    async def position(self, path: str) -> int:
        """Return how many files come before this path."""
        return await self._run.position(names.path_key(path))

    async def below(self, path: str) -> AsyncIterator[File]:
        """Yield the file at this path, or all files below this directory (`/` for all)."""
        prefix = "/" if path == "/" else path + "/"
        async for file in self.files(await self.position(path)):
            if file.path != path and not file.path.startswith(prefix):
                return
            yield file


class _Writer:
    """A run writer that refuses paths which cannot be in one manifest."""

    def __init__(self, store: Store) -> None:
        self.run = RunWriter(store)
        self._last: bytes | None = None

    async def add(self, key: bytes, value: bytes, size: int) -> None:
        self.check(key)
        if self.run.push(key, value, size):
            await self.run.flush()
        self._last = key

    def adopt(self, block: runs.Block) -> None:
        self.check(block.first)
        self.run.adopt(block)
        self._last = None  # what follows has been beside the block's last key before

    def check(self, key: bytes) -> None:
        """Refuse a key that is there, or lies below one that is: it would come right after it."""
        last = self._last
        if last is None or not key.startswith(last):
            return
        path = names.path_of_key(key)
        if key == last:
            raise errors.InvalidPathError(path, "it is there twice")
        if key[len(last)] == 0:
            reason = f"{names.path_of_key(last)!r} is a file, so nothing can lie below it"
            raise errors.InvalidPathError(path, reason)

    async def finish(self) -> Written:
        if not self.run.count and self.run.at_boundary:
            return Written(manifest=EMPTY, files=0, size=0)
        manifest = await self.run.finish()
        return Written(manifest=manifest, files=self.run.count, size=self.run.weight)


class _Deleted:
    """Paths that are gone, with all below them; none of them lies below another one."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.keys: list[bytes] = []
        for key in sorted(map(names.path_key, paths)):
            if not self.holds(key):
                self.keys.append(key)
        self.all = self.keys[:1] == [names.path_key("/")]

    def holds(self, key: bytes) -> bool:
        at = bisect.bisect_right(self.keys, key) - 1
        found = self.keys[at] if at >= 0 else None
        return found is not None and (key == found or key.startswith(found + b"\0"))

    def touches(self, first: bytes, following: bytes | None) -> bool:
        """Whether any key from `first` on and below `following` may be gone."""
        at = bisect.bisect_right(self.keys, first)
        inside = at < len(self.keys) and (following is None or self.keys[at] < following)
        return inside or self.holds(first)


class _Overlay:
    """The merge of an old manifest's blocks with new files, one old block at a time."""

    def __init__(self, writer: _Writer, files: AsyncIterator[File], deleted: _Deleted) -> None:
        self.writer = writer
        self.files = files
        self.deleted = deleted
        self.upcoming: tuple[bytes, File] | None = None

    async def run(self, base: Run) -> Written:
        await self.advance()
        for number, block in enumerate(base.blocks):
            await self.add_until(block.first)
            following = base.blocks[number + 1].first if number + 1 < len(base.blocks) else None
            if self.untouched(block.first, following):
                self.writer.adopt(block)
            else:
                await self.merge(await base.block(number))
        await self.add_until(None)
        return await self.writer.finish()

    def untouched(self, first: bytes, following: bytes | None) -> bool:
        """Whether a block can be taken over: nothing new falls into it, and it begins at a cut."""
        if not self.writer.run.at_boundary or self.deleted.touches(first, following):
            return False
        return self.upcoming is None or (following is not None and self.upcoming[0] >= following)

    async def merge(self, items: list[bytes]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            await self.add_until(key)
            replaced = self.upcoming is not None and self.upcoming[0] == key
            if not replaced and not self.deleted.holds(key):
                await self.writer.add(key, value, decode(key, value).size)

    async def add_until(self, key: bytes | None) -> None:
        """Write the new files that come before this key."""
        while self.upcoming is not None and (key is None or self.upcoming[0] < key):
            new, file = self.upcoming
            await self.writer.add(new, encode(file), file.size)
            await self.advance()

    async def advance(self) -> None:
        file = await anext(self.files, None)
        self.upcoming = None if file is None else (names.path_key(file.path), file)


async def stream(files: AsyncIterable[File] | Iterable[File]) -> AsyncIterator[File]:
    """Yield the files of either kind of iterable."""
    if isinstance(files, AsyncIterable):
        async for file in files:
            yield file
    else:
        for file in files:
            yield file
