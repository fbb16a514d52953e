import asyncio
import hashlib
import os
from datetime import UTC, datetime

import pytest

from trunkline.contracts import errors
from trunkline.contracts.messages import File
from trunkline.storage import keys, urls
from trunkline.storage import store as stores
from trunkline.storage.store import open_store


async def put_file(store, path):
    with path.open("rb") as opened:
        return (await store.put_stream(opened)).key


def file_of(key, data, *, offset=0, path="/f"):
    return File(
        path=path,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        object=key,
        offset=offset,
    )


async def contents(store, file):
    return b"".join([chunk async for chunk in store.read(file)])


def on_disk(store, key):
    return store._root / key


async def test_an_object_is_named_by_its_hash_and_read_back(store):
    key = await store.put(b"hello")
    sha256 = hashlib.sha256(b"hello").hexdigest()
    assert key == f"objects/{sha256[:2]}/{sha256}"
    assert await store.get(key) == b"hello"
    assert await store.has(key)


async def test_writing_the_same_bytes_again_is_fine_also_at_once(store):
    async with asyncio.TaskGroup() as tasks:
        puts = [tasks.create_task(store.put(b"same")) for _ in range(20)]
    assert len({put.result() for put in puts}) == 1


async def test_the_empty_object_can_be_stored(store):
    assert await store.get(await store.put(b"")) == b""


async def test_a_missing_object_is_told_by_its_key(store):
    key = keys.of("0" * 64)
    assert not await store.has(key)
    with pytest.raises(errors.NotFoundError, match=key):
        await store.get(key)
    with pytest.raises(errors.NotFoundError, match=key):
        await contents(store, file_of(key, b"x"))
    with pytest.raises(errors.NotFoundError, match=key):
        await contents(store, file_of(key, b"x" * 2_000_000))


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "objects/../../x", "objects/ab/" + "c" * 64, "objects/00/" + "0" * 65],
)
async def test_what_is_no_key_never_becomes_a_path(store, key):
    with pytest.raises(errors.NotFoundError):
        await store.get(key)
    with pytest.raises(errors.NotFoundError):
        await store.has(key)
    with pytest.raises(errors.NotFoundError):
        await contents(store, file_of(key, b"x"))


async def test_a_large_file_is_stored_in_parts_and_read_in_pieces(store, tmp_path):
    data = os.urandom(1000) * 20_000
    source = tmp_path / "large"
    source.write_bytes(data)
    key = await put_file(store, source)
    assert keys.sha256(key) == hashlib.sha256(data).hexdigest()
    pieces = [chunk async for chunk in store.read(file_of(key, data))]
    assert b"".join(pieces) == data
    assert len(pieces) > 5 or store.url.startswith("memory:")
    assert await put_file(store, source) == key


async def test_a_file_that_changes_while_it_is_read_leaves_nothing_behind(store):
    class Changing:
        """A file whose contents are different each time it is read from its beginning."""

        def __init__(self):
            self.times = 0

        def seek(self, _offset):
            self.times += 1
            self.left = 12 * 1024 * 1024

        def read(self, size):
            count = min(size, self.left)
            self.left -= count
            return bytes([self.times]) * count

    with pytest.raises(errors.UnavailableError, match="changed"):
        await store.put_stream(Changing())


async def test_a_file_in_a_pack_is_read_by_its_range(store):
    key = await store.put(b"aaabbbbcc")
    assert await contents(store, file_of(key, b"bbbb", offset=3)) == b"bbbb"
    large = os.urandom(3_000_000)
    key = await store.put(b"x" * 10 + large + b"y" * 10)
    assert await contents(store, file_of(key, large, offset=10)) == large


async def test_a_file_without_bytes_needs_no_object(store, tmp_path):
    empty = file_of("", b"")
    assert await contents(store, empty) == b""
    await store.fetch(empty, tmp_path / "empty")
    assert (tmp_path / "empty").read_bytes() == b""


@pytest.mark.parametrize(
    ("offset", "size"), [(7, 4), (100, 4), (-1, 4), (1 << 70, 4), (5, 1 << 70)]
)
async def test_a_range_that_is_not_in_the_object_is_corrupt_not_away(store, offset, size):
    key = await store.put(b"123456789")
    file = File(path="/f", size=size, sha256="0" * 64, object=key, offset=offset)
    with pytest.raises(errors.CorruptObjectError, match=key):
        await contents(store, file)


async def test_a_changed_object_is_corrupt_and_names_the_key(tmp_path):
    store = open_store(f"file://{tmp_path}/s")
    key = await store.put(b"good")
    on_disk(store, key).write_bytes(b"evil")
    with pytest.raises(errors.CorruptObjectError, match=key):
        await store.get(key)
    with pytest.raises(errors.CorruptObjectError, match=key):
        await contents(store, file_of(key, b"good"))
    with pytest.raises(errors.CorruptObjectError, match=key):
        await store.fetch(file_of(key, b"good"), tmp_path / "target")
    assert not (tmp_path / "target").exists()


async def test_a_large_object_that_was_cut_short_is_corrupt(tmp_path):
    store = open_store(f"file://{tmp_path}/s")
    data = os.urandom(3_000_000)
    key = await store.put(data)
    on_disk(store, key).write_bytes(data[:-1])
    with pytest.raises(errors.CorruptObjectError, match=key):
        await store.fetch(file_of(key, data), tmp_path / "target")
    assert not (tmp_path / "target").exists()


async def test_an_object_that_a_power_cut_emptied_is_healed_by_writing_it_again(tmp_path):
    store = open_store(f"file://{tmp_path}/s")
    data = os.urandom(9_000_000)
    source = tmp_path / "f"
    source.write_bytes(data)
    small, large = await store.put(b"small"), await put_file(store, source)
    for key in (small, large):
        on_disk(store, key).write_bytes(b"")
    await store.put(b"small")
    await put_file(store, source)
    assert await store.get(small) == b"small"
    assert await store.get(large) == data


async def test_an_old_object_is_made_new_by_writing_it_again(tmp_path):
    class Later:
        def wall_ns(self):
            return int((datetime.now(UTC).timestamp() + ahead_s) * 1e9)

        def monotonic_s(self):
            raise AssertionError

    ahead_s = 0.0
    store = open_store(f"file://{tmp_path}/s", clock=Later())
    key = await store.put(b"x")
    before = on_disk(store, key).stat()
    await store.put(b"x")
    assert on_disk(store, key).stat().st_ino == before.st_ino
    ahead_s = stores.REFRESH_AFTER_S + 60
    await store.put(b"x")
    after = on_disk(store, key).stat()
    assert (
        after.st_ino != before.st_ino
    )  # its time may be the same: clocks of file systems are coarse
    assert after.st_mtime_ns >= before.st_mtime_ns
    assert await store.get(key) == b"x"


async def test_fetch_writes_a_new_file_and_follows_no_link(store, tmp_path):
    key = await store.put(b"data")
    target = tmp_path / "target"
    await store.fetch(file_of(key, b"data"), target)
    assert target.read_bytes() == b"data"
    with pytest.raises(errors.InvalidPathError, match="exists"):
        await store.fetch(file_of(key, b"data"), target)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.InvalidPathError):
        await store.fetch(file_of(key, b"data"), tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


async def test_a_store_whose_directory_is_gone_is_away_and_not_made_again(tmp_path):
    store = open_store(f"file://{tmp_path}/s")
    key = await store.put(b"x")
    (tmp_path / "s").rename(tmp_path / "unmounted")
    with pytest.raises(errors.UnavailableError, match="not there"):
        await store.put(b"y")
    with pytest.raises(errors.UnavailableError, match="not there"):
        await store.get(key)
    assert not (tmp_path / "s").exists()
    (tmp_path / "unmounted").rename(tmp_path / "s")
    assert await store.get(key) == b"x"


async def test_a_cloud_store_that_is_away_is_told_soon(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "TOPSECRET")
    store = open_store("s3://bucket/prefix")
    async with asyncio.timeout(10):
        with pytest.raises(errors.UnavailableError, match="s3://bucket/prefix") as away:
            await store.put(b"x")
    assert "TOPSECRET" not in str(away.value)
    assert "\n" not in str(away.value)


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "foo://x", "file://relative/x", "https://host/x", "s3://", "s3:x", "file:"],
)
def test_a_url_that_names_no_store_is_refused(url):
    with pytest.raises(urls.InvalidStoreUrlError):
        open_store(url)


def test_a_directory_that_cannot_be_made_is_away():
    with pytest.raises(errors.UnavailableError, match="/proc/nope"):
        open_store("file:///proc/nope/store")


def test_credentials_in_a_url_are_never_shown():
    with pytest.raises(urls.InvalidStoreUrlError) as refused:
        open_store("https://user:TOPSECRET@host/x?token=TOPSECRET")
    assert "TOPSECRET" not in str(refused.value)
