import hashlib
import os

import pytest

from trunkline.contracts import errors
from trunkline.contracts.messages import INLINE_FILES, File
from trunkline.storage import disk, few, keys
from trunkline.storage.store import open_store


@pytest.fixture
def out(tmp_path):
    made = tmp_path / "out"
    made.mkdir()
    return made


@pytest.fixture
def here(tmp_path):
    return open_store(f"file://{tmp_path}/here")


async def stored(store, out):
    found = few.read(str(out))
    assert found is not None
    return await few.upload(store, found.files)


async def test_a_few_files_come_back_as_they_were(here, out, tmp_path):
    contents = {"b": b"1", "a": b"", "c-": b"22", "c": b"1", "\N{BLACK STAR}": b"x" * 60_000}
    for name, data in contents.items():
        (out / name).write_bytes(data)
    uploaded = await stored(here, out)
    assert [file.path for file in uploaded.files] == sorted(f"/{name}" for name in contents)
    assert len({file.object for file in uploaded.files if file.size}) == 1
    assert (uploaded.count, uploaded.bytes) == (5, 60_004)
    back = tmp_path / "back"
    back.mkdir()
    assert few.is_here(here, uploaded.files)
    assert await few.download(here, uploaded.files, str(back), disk.write_new) == 60_004
    assert {each.name: each.read_bytes() for each in back.iterdir()} == contents


async def test_it_is_stored_as_a_walk_would_store_it(store, out):
    for name in "ab":
        (out / name).write_text("same")
    first, second = (await stored(store, out)).files
    assert (first.object, first.offset) == (second.object, second.offset)
    assert await store.get(first.object) == b"same"


async def test_nothing_is_no_object(store, out):
    assert (await stored(store, out)).files == ()
    (out / "empty").touch()
    (file,) = (await stored(store, out)).files
    assert (file.object, file.sha256) == ("", keys.EMPTY_SHA256)


OTHER = {
    "a directory": lambda out: (out / "x").mkdir(),
    "a link": lambda out: (out / "x").symlink_to("/etc/passwd"),
    "a pipe": lambda out: os.mkfifo(out / "x"),
    "a large file": lambda out: (out / "x").write_bytes(bytes(64 * 1024)),
    "many files": lambda out: [(out / f"{n}").touch() for n in range(INLINE_FILES)],
    "a file instead": lambda out: [(out / "a").unlink(), out.rmdir(), out.write_text("1")],
    "a link instead": lambda out: [(out / "a").unlink(), out.rmdir(), out.symlink_to("/etc")],
    "nothing instead": lambda out: [(out / "a").unlink(), out.rmdir()],
}


@pytest.mark.parametrize("make", OTHER.values(), ids=OTHER)
def test_everything_else_is_left_to_a_walk(out, make):
    (out / "a").write_text("1")
    make(out)
    assert few.read(str(out)) is None


async def test_a_name_that_no_repo_takes_is_refused(here, out):
    (out / "a\nb").write_text("1")
    with pytest.raises(errors.InvalidPathError):
        await stored(here, out)


async def one(store, path: str, data: bytes = b"1") -> File:
    key = await store.put(data)
    return File(path=path, size=1, sha256=hashlib.sha256(b"1").hexdigest(), object=key)


@pytest.mark.parametrize("path", ["/../x", "x", "/a//b", "/a/.", "/"])
async def test_a_path_that_leaves_the_target_is_refused(here, out, path):
    with pytest.raises(errors.InvalidPathError):
        await few.download(here, [await one(here, path)], str(out), disk.write_new)


async def test_a_path_that_is_there_twice_is_refused(here, out):
    with pytest.raises(errors.InvalidPathError):
        await few.download(here, [await one(here, "/x")] * 2, str(out), disk.write_new)


async def test_what_is_not_what_was_written_is_refused(here, out):
    wrong = await one(here, "/x", b"2")
    with pytest.raises(errors.CorruptObjectError):
        await few.download(here, [wrong], str(out), disk.write_new)
    assert list(out.iterdir()) == []


async def test_what_is_lost_is_told(here, out):
    lost = File(path="/x", size=1, sha256="0" * 64, object=keys.of("0" * 64))
    with pytest.raises(errors.NotFoundError):
        await few.download(here, [lost], str(out), disk.write_new)
