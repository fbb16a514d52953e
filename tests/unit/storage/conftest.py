import hashlib

import pytest

from trunkline.contracts.messages import File
from trunkline.storage import keys
from trunkline.storage.store import open_store


class CountingStore:
    """The real store, with a note of what was asked of it."""

    def __init__(self, store):
        self._store = store
        self.reset()

    def reset(self):
        self.reads, self.writes = [], []

    async def get(self, key):
        self.reads.append(key)
        return await self._store.get(key)

    async def get_range(self, key, offset, size):
        self.reads.append(key)
        return await self._store.get_range(key, offset, size)

    async def put(self, data):
        if not await self._store.has(keys.of(hashlib.sha256(data).hexdigest())):
            self.writes.append(len(data))
        return await self._store.put(data)

    def __getattr__(self, name):
        return getattr(self._store, name)


@pytest.fixture(params=["memory", "file", pytest.param("s3", marks=pytest.mark.s3)])
async def store(request, tmp_path):
    """All that a store must do it does of every kind."""
    if request.param == "memory":
        return open_store("memory://")
    if request.param == "s3":
        bucket = open_store(request.getfixturevalue("s3_url"))
        await bucket.mark()
        return bucket
    return open_store(f"file://{tmp_path}/a store")


@pytest.fixture
def counting():
    return CountingStore(open_store("memory://"))


@pytest.fixture
def make_file():
    def make(path, *, size=1, content=None, offset=0):
        sha256 = hashlib.sha256((content or path).encode()).hexdigest()
        key = keys.of(hashlib.sha256(b"pack" + path[:3].encode()).hexdigest())
        return File(path=path, size=size, sha256=sha256, object=key, offset=offset)

    return make
