"""The object store, by URL: content-addressed objects, each written once, checked on each read.

`file:///path` (made if it is missing), `memory://` for tests, `s3://`, `gs://` and `az://` take the
same calls; what differs between them stays in here. An object is there completely or not at all,
whenever the writer dies. On `file://` nothing is flushed to the disk: what a power cut takes is found
by its hash when it is read, or by its size when it is written again, and then replaced.

Errors: NotFoundError for an object that is not there, CorruptObjectError for one that holds something
else, and UnavailableError for a store that is away, full or refuses us, which callers try again with
back-off.

A store is opened after a fork, never before: the library runs threads of its own.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore, from_url

from trunkline.contracts import errors
from trunkline.contracts.messages import File
from trunkline.runtime.clock import Clock, SystemClock
from trunkline.storage import disk, hashing, keys, local, sweeping

WHOLE_BYTES = 8 * 1024 * 1024
"""Files up to this size are read into memory and written in one request; larger ones in parts."""

CHUNK_BYTES = hashing.CHUNK_BYTES

GET_MAX_BYTES = 256 * 1024 * 1024
"""Keys come in messages, so one may name a user's file where a record is meant."""

REFRESH_AFTER_S = 24 * 3600.0
"""An object this old is rewritten by whoever writes it again, so that no sweep takes it away."""

INLINE_BYTES = 64 * 1024
"""Up to this size a local store is read and written on the spot: the hop to a thread and back costs
several times what the system calls do."""

MARKER = ".trunkline-store"
"""A file in a local store's directory that tells it from an empty mount point."""

_TRIES = 3

T = TypeVar("T")


class InvalidStoreUrlError(errors.TrunklineError):
    """The URL of the object store cannot be used."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"store {url!r} cannot be used: {reason}; try file:///path or s3://bucket")
        self.url, self.reason = url, reason


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream of bytes became."""

    key: str
    sha256: str
    size: int


def open_store(url: str, *, clock: Clock | None = None) -> "Store":
    """Return the store at a URL; a directory of a `file://` URL is made.

    Credentials of cloud stores come from the environment, as their own tools have it.

    Raises:
        InvalidStoreUrlError: No store can be meant by it.
        UnavailableError: The directory cannot be made.
    """
    shown = _shown(url)
    parts = urlsplit(url)
    if parts.scheme in ("http", "https", ""):
        raise InvalidStoreUrlError(shown, "it is no store that can be written to")
    try:
        return Store(_backend(url, parts.scheme), shown, clock or SystemClock())
    except OSError as error:
        raise _away("store", shown, error) from error
    except (BaseError, ValueError, TypeError) as error:
        raise InvalidStoreUrlError(shown, _reason(error)) from error


def _backend(url: str, scheme: str) -> ObjectStore:
    if scheme == "file":
        # made here and not by the library, whose error for what cannot be made names no path
        parts = urlsplit(url)
        if parts.netloc or not parts.path.strip("/"):
            problem = "it names no directory"
            raise ValueError(problem)
        root = Path(unquote(parts.path))
        root.mkdir(parents=True, exist_ok=True)
        (root / MARKER).touch()
        return from_url(url)
    if scheme == "memory":
        return from_url("memory:///")
    return from_url(
        url,
        client_options={"connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=60)},
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=10)},
    )


class Store:
    """An object store; made by `open_store`."""

    def __init__(self, backend: ObjectStore, url: str, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock
        self.url = url
        """To show: without credentials."""
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
            try:
                await obstore.put_async(
                    self._backend, key, data, mode="create", use_multipart=False
                )
            except AlreadyExistsError:
                if await self._is_stale(key, len(data)):
                    await obstore.put_async(self._backend, key, data, use_multipart=False)
        return key

    def _put_here(self, here: local.Directory, key: str, data: bytes) -> None:
        try:
            found = here.status(key)
            if found is None or self._outdated(found.st_size != len(data), found.st_mtime):
                here.write(key, data)
        except OSError as error:
            raise _away("store", self.url, error) from error

    async def put_file(self, path: Path) -> str:
        """Store a file's contents; return their key, or raise InvalidPathError if it is not there."""
        with _opened(path) as source:
            return (await self.put_stream(source)).key

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
                    await obstore.put_async(self._backend, key, again, chunk_size=WHOLE_BYTES)
                return Stored(key=key, sha256=sha256, size=size)
        raise errors.UnavailableError("a file to be stored", "it changed while it was read")

    async def has(self, key: str) -> bool:
        """Return whether there is such an object."""
        keys.sha256(key)
        try:
            with self._reading(key):
                await obstore.head_async(self._backend, key)
        except errors.NotFoundError:
            return False
        return True

    async def get(self, key: str) -> bytes:
        """Return an object's bytes, checked: a block, a root, a record, never a user's large file."""
        expected = keys.sha256(key)
        with self._reading(key):
            result = await obstore.get_async(self._backend, key)
            size = result.meta["size"]
            if size > GET_MAX_BYTES:
                raise errors.MalformedMessageError(key, f"it has {size} bytes: it is no record")
            data = (await result.bytes_async()).to_bytes()
        _check(key, expected, await hashing.of(data))
        return data

    async def get_range(self, key: str, offset: int, size: int) -> bytes:
        """Return up to `size` bytes of an object, less at its end; the caller checks what they are."""
        keys.sha256(key)
        if size <= 0 or offset < 0 or offset + size >= 1 << 63:
            return b""
        if self._here is not None and size <= INLINE_BYTES:
            return self._read_here(self._here, key, offset, size)
        with self._reading(key):
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
            raise _away("store", self.url, error) from error

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
        with self._reading(file.object):
            options: Any = {"range": (file.offset, file.offset + file.size)}
            try:
                result = await obstore.get_async(self._backend, file.object, options=options)
            except BaseError:
                if (await obstore.head_async(self._backend, file.object))["size"] <= file.offset:
                    return
                raise
            pieces = result.stream(min_chunk_size=CHUNK_BYTES)
        while left:
            with self._reading(file.object):
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
        if self._root is not None and not (self._root / MARKER).exists():
            raise _away("store", self.url, FileNotFoundError(f"its {MARKER} is not there"))

    @contextlib.contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        """Turn the library's errors into ours."""
        try:
            yield
        except FileNotFoundError as error:
            self._check_there()
            raise errors.NotFoundError("object", key) from error
        except (BaseError, OSError) as error:
            raise _away("store", self.url, error) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn the library's errors into ours; a bucket that is missing is a store that is away."""
        try:
            yield
        except (BaseError, OSError) as error:
            raise _away("store", self.url, error) from error


def _opened(path: Path) -> BinaryIO:
    with disk.reading(str(path)):
        return path.open("rb")


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
    return errors.UnavailableError(f"{kind} {name}", _reason(error))


def _reason(error: BaseException) -> str:
    """Return the first line of an error; the library's go on with its own structures."""
    return str(error).partition("\n")[0] or type(error).__name__


def _shown(url: str) -> str:
    """Return a URL without what may be secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
