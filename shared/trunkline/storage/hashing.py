"""Hashes of what is stored: of bytes, and of files that are read for their hash and then once more."""

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Protocol

CHUNK_BYTES = 1024 * 1024


class Source(Protocol):
    """What is asked of an open file."""

    def seek(self, offset: int, /) -> int:
        """Go on from here."""
        ...

    def read(self, size: int, /) -> bytes:
        """Return as much as that, less only at the end."""
        ...


class ChangedError(Exception):
    """A file is not what it was when it was hashed."""


async def of(data: bytes) -> str:
    """Return the hash, found in a thread where it would hold up the loop for long."""
    if len(data) > CHUNK_BYTES // 4:
        return (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()
    return hashlib.sha256(data).hexdigest()


def of_file(source: Source, whole_bytes: int) -> tuple[int, str, bytes | None]:
    """Return a file's size, hash, and contents if they are not over `whole_bytes`."""
    source.seek(0)
    data = source.read(whole_bytes + 1)
    digest = hashlib.sha256(data)
    if len(data) <= whole_bytes:
        return len(data), digest.hexdigest(), data
    size = len(data)
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest(), None


def again(source: Source, sha256: str) -> Iterator[bytes]:
    """Yield a file once more; ChangedError at the end makes the store forget all of it."""
    source.seek(0)
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != sha256:
        raise ChangedError
