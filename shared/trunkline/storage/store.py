"""The object store, by URL: content-addressed objects, each written once, checked on each read.

`file:///path` (made if it is missing), `memory://` for tests, `s3://`, `gs://` and `az://` take the
same calls; what differs between them stays in here. An object is there completely or not at all,
whenever the writer dies. On `file://` nothing is flushed to the disk: what a power cut takes is found
by its hash when it is read, or by its size when it is written again, and then replaced.

Errors: NotFoundError for an object that is not there, CorruptObjectError for one that holds something
else, and UnavailableError for a store that is away, full or refuses us, which callers try again with
back-off, once a few soon repeats have not helped (`repeating`).

A store is opened after a fork, never before: the library runs threads of its own.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec
import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore

from trunkline.contracts import errors
from trunkline.contracts.messages import File
from trunkline.runtime.clock import Clock, SystemClock
from trunkline.storage import clouds, disk, hashing, health, keys, local, sweeping, urls
from trunkline.storage.repeating import repeated

WHOLE_BYTES = 8 * 1024 * 1024
"""Files up to this size are read into memory and written in one request; larger ones in parts."""

PARTS_AT_ONCE = 4
"""Parts of a large file on their way to a bucket; their product bounds the memory of an upload."""

CHUNK_BYTES = hashing.CHUNK_BYTES

GET_MAX_BYTES = 256 * 1024 * 1024
"""Keys come in messages, so one may name a user's file where a record is meant."""

REFRESH_AFTER_S = 24 * 3600.0
"""An object this old is rewritten by whoever writes it again, so that no sweep takes it away."""

INLINE_BYTES = 64 * 1024
"""Up to this size a local store is read and written on the spot: the hop to a thread and back costs
several times what the system calls do."""

_TRIES = 3

T = TypeVar("T")


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream of bytes became."""

    key: str
    sha256: str
    size: int


def open_store(url: str, *, clock: Clock | None = None) -> "Store":
    """Return the store at a URL; a directory of a `file://` URL is made.

    Args:
        url: Of the store; no credentials may stand in it.
        clock: Tells how old objects are.

    Raises:
        InvalidStoreUrlError: No store can be meant by it.
        UnavailableError: The directory cannot be made.
    """
    shown = urls.shown(url)
    try:
        backend = urls.backend(url)
    except OSError as error:
        raise _away("store", shown, error) from error
    return Store(backend, shown, clock or SystemClock())


class Store:
    """An object store; made by `open_store`."""

    def __init__(self, backend: ObjectStore, url: str, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock
        self.url = url
        """To show: without credentials."""
        self.health = health.Health(url)
        self._create_only = True
        self._root: Path | None = (
            getattr(backend, "prefix", None) if url.startswith("file:") else None
        )
        self._here = local.Directory(str(self._root), self._check_there) if self._root else None

    @property
    def is_here(self) -> bool:
        """Whether what is small is read and written on the spot."""
        return self._here is not None

    def objects(self) -> sweeping.Objects:
        """Return all that it holds, for a collector."""
        if self._root is not None:
            return sweeping.OnDisk(str(self._root), self.url)
        return sweeping.InBucket(self._backend, self.url)

    async def mark(self) -> None:
        """See health.Watched: by an object that nobody removes; a directory has its own."""
        if self._marked:
            with self._writing():
                await obstore.put_async(self._backend, urls.MARKER, b"", use_multipart=False)

    async def check(self) -> None:
        """See health.Watched."""
        self._check_there()
        if self._marked:
            with self._writing():
                try:
                    await obstore.head_async(self._backend, urls.MARKER)
                except FileNotFoundError as error:
                    raise self._gone(error) from error

    @repeated
    async def put(self, data: bytes, *, sha256: str = "") -> str:
        """Store the bytes, unless they are there already; return their key.

        Args:
            data: All of them.
            sha256: Their hash, where it is known already.
        """
        return await self._put(keys.of(sha256 or await hashing.of(data)), data)

    async def _put(self, key: str, data: bytes) -> str:
        if self._here is not None and len(data) <= INLINE_BYTES:
            self._put_here(self._here, key, data)
            return key
        self._check_there()
        with self._writing():
            if not await self._created(key, data) and await self._is_stale(key, len(data)):
                await obstore.put_async(self._backend, key, data, use_multipart=False)
        return key

    async def _created(self, key: str, data: bytes) -> bool:
        """Make an object that is not there yet; False if it is, or if nobody can tell in one step.

        Not every bucket knows a put on a condition. Nothing rests on it: whoever writes an object
        writes the same bytes. It only spares a request for each that is new.
        """
        if not self._create_only:
            return False
        try:
            await obstore.put_async(self._backend, key, data, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        except (NotImplementedError, BaseError) as error:
            if not clouds.is_not_implemented(error):
                raise
            self._create_only = False
            return False
        return True

    def _put_here(self, here: local.Directory, key: str, data: bytes) -> None:
        try:
            found = here.status(key)
            if found is None or self._outdated(found.st_size != len(data), found.st_mtime):
                here.write(key, data)
        except OSError as error:
            raise self._away(error) from error

    @repeated
    async def put_stream(self, source: hashing.Source) -> Stored:
        """Store what an open file holds, from its beginning; memory stays bounded.

        A large file is read twice, since its hash is its name. If it changes in between, nothing is
        stored and it is read again.

        Raises:
            UnavailableError: Also for a file that changes again and again, or cannot be read.
        """
        for _ in range(_TRIES):
            size, sha256, data = await asyncio.to_thread(_hashed, source)
            key = keys.of(sha256)
            if data is not None:
                return Stored(key=await self._put(key, data), sha256=sha256, size=size)
            self._check_there()
            with self._writing(), contextlib.suppress(hashing.ChangedError):
                if await self._is_stale(key, size):
                    again = hashing.again(source, sha256)
                    await obstore.put_async(
                        self._backend,
                        key,
                        again,
                        chunk_size=WHOLE_BYTES,
                        max_concurrency=PARTS_AT_ONCE,
                    )
                return Stored(key=key, sha256=sha256, size=size)
        raise errors.UnavailableError("a file to be stored", "it changed while it was read")

    @repeated
    async def has(self, key: str) -> bool:
        """Return whether there is such an object."""
        keys.sha256(key)
        try:
            async with self._reading(key):
                await obstore.head_async(self._backend, key)
        except errors.NotFoundError:
            return False
        return True

    @repeated
    async def get(self, key: str) -> bytes:
        """Return an object's bytes, checked: a block, a root, a record, never a user's large file."""
        expected = keys.sha256(key)
        async with self._reading(key):
            result = await obstore.get_async(self._backend, key)
            size = result.meta["size"]
            if size > GET_MAX_BYTES:
                raise errors.MalformedMessageError(key, f"it has {size} bytes: it is no record")
            data = (await result.bytes_async()).to_bytes()
        _check(key, expected, await hashing.of(data))
        return data

    @repeated
    async def get_range(self, key: str, offset: int, size: int) -> bytes:
        """Return up to `size` bytes of an object, less at its end; the caller checks what they are."""
        keys.sha256(key)
        if size <= 0 or offset < 0 or offset + size >= 1 << 63:
            return b""
        if self._here is not None and size <= INLINE_BYTES:
            return self._read_here(self._here, key, offset, size)
        async with self._reading(key):
            try:
                data = await obstore.get_range_async(self._backend, key, start=offset, length=size)
            except BaseError:
                if (await obstore.head_async(self._backend, key))["size"] <= offset:
                    return b""  # each store has its own error for this
                raise
        return data.to_bytes()

    def _read_here(self, here: local.Directory, key: str, offset: int, size: int) -> bytes:
        try:
            return here.read(key, offset, size)
        except FileNotFoundError as error:
            self._check_there()
            raise errors.NotFoundError("object", key) from error
        except OSError as error:
            raise self._away(error) from error

    async def read(self, file: File) -> AsyncIterator[bytes]:
        """Yield a file's contents in pieces; whether they were right is known at the end.

        Raises:
            CorruptObjectError: After the last piece: these are not the bytes that were written.
        """
        digest = hashlib.sha256()
        if file.size <= CHUNK_BYTES:
            data = await self.get_range(file.object, file.offset, file.size) if file.size else b""
            digest.update(data)
            if data:
                yield data
        else:
            async for chunk in self._stream(file):
                await asyncio.to_thread(digest.update, chunk)
                yield chunk
        _check(file.object, file.sha256, digest.hexdigest())

    async def fetch(self, file: File, target: Path) -> None:
        """Write a file's contents to a new file; it is gone again if they are not right.

        Raises:
            InvalidPathError: There is something in its place already.
            UnavailableError: Also when the disk here is full.
        """
        with disk.writing(file.path):
            out = _created(target)
            try:
                with out:
                    async for chunk in self.read(file):
                        await asyncio.to_thread(out.write, chunk)
            except BaseException:
                _remove(target)
                raise

    async def _stream(self, file: File) -> AsyncIterator[bytes]:
        keys.sha256(file.object)
        if file.offset < 0 or file.offset + file.size >= 1 << 63:
            return
        left = file.size
        async with self._reading(file.object):
            options: Any = {"range": (file.offset, file.offset + file.size)}
            try:
                result = await obstore.get_async(self._backend, file.object, options=options)
            except BaseError:
                if (await obstore.head_async(self._backend, file.object))["size"] <= file.offset:
                    return
                raise
            pieces = result.stream(min_chunk_size=CHUNK_BYTES)
        while left:
            async with self._reading(file.object):
                try:
                    piece = bytes(await anext(pieces))
                except StopAsyncIteration:
                    return
            left -= len(piece)
            yield piece

    async def _is_stale(self, key: str, size: int) -> bool:
        """Return whether an object must be written (again): missing, cut short, or old."""
        try:
            found = await obstore.head_async(self._backend, key)
        except FileNotFoundError:
            return True
        return self._outdated(found["size"] != size, found["last_modified"].timestamp())

    def _outdated(self, cut: bool, modified_s: float) -> bool:
        return cut or self._clock.wall_ns() / 1e9 - modified_s > REFRESH_AFTER_S

    def _check_there(self) -> None:
        """Raise UnavailableError when a local store's directory is gone, or is another one.

        A write would go beside the disk that was unmounted, say: into the empty mount point.
        """
        if self._root is not None and not (self._root / urls.MARKER).exists():
            raise self._gone(FileNotFoundError())

    @property
    def _marked(self) -> bool:
        """Whether it holds a mark as an object: a bucket."""
        return self._root is None and not self.url.startswith("memory:")

    def _gone(self, error: BaseException) -> errors.UnavailableError:
        if "NoSuchBucket" in str(error):
            return self._away(error)
        reason = f"its {urls.MARKER} is not there: it is another one, was emptied, or is not set up"
        return self.health.failed(errors.UnavailableError(f"store {self.url}", reason))

    def _away(self, error: BaseException) -> errors.UnavailableError:
        return self.health.failed(_away("store", self.url, error))

    @contextlib.asynccontextmanager
    async def _reading(self, key: str) -> AsyncIterator[None]:
        """Turn the library's errors into ours; what is missing may be so because the store is."""
        try:
            yield
        except FileNotFoundError as error:
            await self.check()
            raise errors.NotFoundError("object", key) from error
        except (BaseError, OSError) as error:
            raise self._away(error) from error
        self.health.well()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn the library's errors into ours; a bucket that is missing is a store that is away."""
        try:
            yield
        except (BaseError, OSError) as error:
            raise self._away(error) from error
        self.health.well()


def _created(target: Path) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    return os.fdopen(os.open(target, flags, 0o644), "wb")


def _remove(target: Path) -> None:
    target.unlink(missing_ok=True)


def _hashed(source: hashing.Source) -> tuple[int, str, bytes | None]:
    try:
        return hashing.of_file(source, WHOLE_BYTES)
    except OSError as error:
        raise _away("file", "to be stored", error) from error


def _check(key: str, expected: str, found: str) -> None:
    if found != expected:
        raise errors.CorruptObjectError(key, expected, found)


def _away(kind: str, name: object, error: BaseException) -> errors.UnavailableError:
    return errors.UnavailableError(f"{kind} {name}", clouds.reason(error))
