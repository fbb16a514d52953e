"""What a store holds, and how it is removed."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from trunkline.storage import keys
from trunkline.storage.store import Store, open_store
from trunkline.storage.sweeping import PARTS, Found, Objects

NEVER, ALWAYS = 0.0, 1e12


async def everything(objects: Objects) -> list[Found]:
    return [each for part in range(PARTS) for each in await objects.of_part(part)]


def place(folder: Path, key: str) -> Path:
    return folder / "a store" / key


def date(path: Path, age_s: float) -> None:
    at = time.time() - age_s  # noqa: TID251 - what the file system dates by
    os.utime(path, (at, at))


async def test_every_object_is_found_once_with_its_size(store: Store) -> None:
    contents = {hashlib.sha256(bytes(size)).hexdigest(): size for size in range(1, 40)}
    for size in contents.values():
        await store.put(bytes(size))
    found = await everything(store.objects())
    assert {each.name: each.size for each in found} == contents
    assert len(found) == len(contents)
    assert all(each.sha256.hex() == each.name for each in found)


async def test_what_is_old_is_removed_and_what_is_young_stays(store: Store) -> None:
    key = await store.put(b"x")
    objects = store.objects()
    found = await everything(objects)
    assert list(await objects.remove(found, NEVER)) == []
    assert await store.get(key) == b"x"
    assert list(await objects.remove(found, ALWAYS)) == found
    assert await everything(objects) == []
    assert list(await objects.remove(found, ALWAYS)) == []


async def test_what_was_written_again_after_it_was_found_stays(tmp_path: Path) -> None:
    """1. The object is old, nobody needs it. 2. A collector finds it. 3. A datum makes the same bytes
    once more, and writes it anew. 4. The collector comes to remove it.
    """
    store = open_store(f"file://{tmp_path}/a store")
    key = await store.put(b"x")
    date(place(tmp_path, key), 100)
    found = await everything(store.objects())
    date(place(tmp_path, key), 0)
    before_s = found[0].modified_s + 50
    assert list(await store.objects().remove(found, before_s)) == []
    assert await store.get(key) == b"x"
    assert [path.name for path in place(tmp_path, key).parent.iterdir()] == [keys.sha256(key)]


@pytest.mark.parametrize("written_again", [False, True])
async def test_what_a_killed_removal_had_taken_away_is_put_back(
    tmp_path: Path, written_again: bool
) -> None:
    store = open_store(f"file://{tmp_path}/a store")
    key = await store.put(b"x")
    path = place(tmp_path, key)
    path.rename(f"{path}#0")
    if written_again:
        await store.put(b"x")
    await store.objects().recover()
    assert await store.get(key) == b"x"
    assert list(path.parent.iterdir()) == [path]


async def test_what_unfinished_writes_left_goes_when_it_is_old(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/a store")
    path = place(tmp_path, await store.put(b"x"))
    old, young = path.with_name(f"{path.name}#17"), path.with_name(f"{path.name}#1234567000001")
    for each, age_s in ((old, 100), (young, 0)):
        each.write_bytes(b"half of it")
        date(each, age_s)
    found = [each for each in await everything(store.objects()) if not each.sha256]
    assert {each.name for each in found} == {old.name, young.name}
    before_s = path.stat().st_mtime - 50
    assert [each.name for each in await store.objects().remove(found, before_s)] == [old.name]
    assert sorted(path.parent.iterdir()) == [path, young]
