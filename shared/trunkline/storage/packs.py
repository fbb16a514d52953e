"""Packs: small files share an object, so that 20,000 of them are a few objects and not 20,000.

A pack is the files' contents one after the other, nothing else: where each lies is said by its
`messages.File`. Equal contents are there once. Files come out in the order in which they went in, so
that what was walked in order can be written to a manifest in order.
"""

import hashlib

from trunkline.contracts.messages import File
from trunkline.storage import keys
from trunkline.storage.store import Store

SMALL_BYTES = 64 * 1024
"""Files up to this size are packed; larger ones are objects of their own."""

PACK_BYTES = 4 * 1024 * 1024
PACK_FILES = 4096
"""How many files wait for one pack at most, which bounds the memory where they are tiny."""


class Packer:
    """Gathers files, small ones into packs; made for one stream of files."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._files: list[File] = []
        self._data = bytearray()
        self._offsets: dict[str, int] = {}

    def add(self, path: str, data: bytes, sha256: str = "") -> bool:
        """Take a small file; return whether `flush` is due.

        Args:
            path: In the repo.
            data: All of it.
            sha256: Its hash, where it is known already.
        """
        sha256 = sha256 or hashlib.sha256(data).hexdigest()
        offset = self._offsets.get(sha256)
        if offset is None:
            offset = self._offsets[sha256] = len(self._data)
            self._data += data
        self._files.append(File(path=path, size=len(data), sha256=sha256, offset=offset))
        return len(self._data) >= PACK_BYTES or len(self._files) >= PACK_FILES

    def add_stored(self, file: File) -> bool:
        """Take a file whose bytes are in the store already, to keep the order."""
        self._files.append(file)
        return len(self._files) >= PACK_FILES

    async def flush(self) -> list[File]:
        """Store the pack; return all files since the last time, in order, complete."""
        files, self._files = self._files, []
        data, self._data, self._offsets = bytes(self._data), bytearray(), {}
        key = await self._store.put(data) if data else ""
        return [file if file.object else _placed(file, key) for file in files]


def _placed(file: File, key: str) -> File:
    if file.size == 0:
        return File(path=file.path, size=0, sha256=keys.EMPTY_SHA256)
    return File(path=file.path, size=file.size, sha256=file.sha256, object=key, offset=file.offset)
