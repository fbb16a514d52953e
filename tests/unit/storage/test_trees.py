import hashlib
import os

import pytest
from tests.support.grown import contents_of, files_of, grow, inline

from trunkline.contracts import errors, names
from trunkline.contracts.messages import INLINE_FILES, File
from trunkline.storage import keys, manifests, packs, trees
from trunkline.storage.store import open_store

MIXED = {
    "/a": b"one",
    "/a-b/x": b"two",
    "/a b/ü/y.txt": b"three" * 100,
    "/empty": b"",
    "/large": os.urandom(packs.SMALL_BYTES + 1),
    "/larger": os.urandom(9 * 1024 * 1024),
    "/z": b"one",
}


async def test_a_directory_comes_back_as_it_was(store, tmp_path):
    out = grow(tmp_path / "out", MIXED)
    uploaded = await trees.upload(store, out)
    assert [file.path for file in inline(uploaded)] == sorted(MIXED, key=names.path_key)
    assert uploaded.count == len(MIXED)
    assert uploaded.bytes == sum(map(len, MIXED.values()))
    for file in inline(uploaded):
        assert file.sha256 == hashlib.sha256(MIXED[file.path]).hexdigest()
        assert file.size == len(MIXED[file.path])
    assert await trees.download(store, inline(uploaded), tmp_path / "back") == uploaded.bytes
    assert contents_of(tmp_path / "back") == MIXED


async def test_the_order_is_that_of_manifests_also_across_links_and_directories(store, tmp_path):
    paths = ["/a", "/a-b", "/a.txt", "/b/c/d", "/b/c-d", "/b-c", "/b.d/e", "/é/x", "/z/y/x/w"]
    out = grow(tmp_path / "out", {path: path.encode() for path in paths})
    (out / "b/link").symlink_to("../b.d")
    uploaded = await trees.upload(store, out)
    found = [file.path for file in inline(uploaded)]
    assert found == sorted([*paths, "/b/link/e"], key=names.path_key)


async def test_few_files_are_inline_and_many_are_a_manifest(store, tmp_path):
    out = grow(tmp_path / "out", {f"/{n:03}": b"x" for n in range(INLINE_FILES)})
    few = await trees.upload(store, out)
    assert (len(inline(few)), few.manifest) == (INLINE_FILES, "")
    grow(out, {"/more": b"x"})
    many = await trees.upload(store, out)
    assert many.files is None
    assert many.count == INLINE_FILES + 1
    assert len(await files_of(store, many)) == INLINE_FILES + 1


async def test_files_with_very_long_paths_are_never_inline(store, tmp_path):
    long = "/".join("d" * 200 for _ in range(4))
    out = grow(tmp_path / "out", {f"/{long}/{n}": b"x" for n in range(INLINE_FILES)})
    assert (await trees.upload(store, out)).files is None


async def test_an_empty_directory_is_no_file_at_all(store, tmp_path):
    (tmp_path / "out/empty/below").mkdir(parents=True)
    uploaded = await trees.upload(store, tmp_path / "out")
    assert uploaded == trees.Uploaded(files=(), manifest="", count=0, bytes=0)
    assert await trees.download(store, inline(uploaded), tmp_path / "back") == 0


async def test_small_files_share_objects_and_equal_ones_share_bytes(counting, tmp_path):
    out = grow(tmp_path / "out", {f"/{n}": b"%d" % (n % 3) for n in range(12)})
    uploaded = await trees.upload(counting, out)
    assert len({file.object for file in inline(uploaded)}) == 1
    assert len(await counting.get(inline(uploaded)[0].object)) == 3


@pytest.mark.parametrize("count", [4_000, pytest.param(20_000, marks=pytest.mark.slow)])
async def test_thousands_of_small_files_are_few_objects_and_few_reads(counting, tmp_path, count):
    files = {f"/{n % 10}/{n // 1000}/{n}": b"%050d" % n for n in range(count)}
    out = grow(tmp_path / "out", files)
    uploaded = await trees.upload(counting, out)
    assert uploaded.count == count
    assert len(counting.writes) < count / 200
    counting.reset()
    listed = manifests.read(counting, uploaded.manifest)
    assert await trees.download(counting, listed, tmp_path / "back") == uploaded.bytes
    assert len(counting.reads) < count / 100
    assert contents_of(tmp_path / "back") == files


async def test_a_span_of_an_upload_can_be_downloaded_alone(store, tmp_path):
    files = {f"/{n:04}": b"%d" % n for n in range(3_000)}
    uploaded = await trees.upload(store, grow(tmp_path / "out", files))
    span = manifests.read(store, uploaded.manifest, 1_500, 3)
    await trees.download(store, span, tmp_path / "back")
    assert contents_of(tmp_path / "back") == {f"/{n:04}": b"%d" % n for n in range(1_500, 1_503)}


async def test_files_get_the_prefix_that_a_put_asks_for(store, tmp_path):
    out = grow(tmp_path / "out", {"/x": b"1"})
    found = [file async for file in trees.scan(store, out, prefix="/some/where")]
    assert [file.path for file in found] == ["/some/where/x"]


# --- downloads ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/../x", "/a/../../x", "x", "/", "//x", "/a//x", "/a/./x", "/a\0", "/x/"]
)
async def test_a_path_that_leaves_the_target_is_refused(store, tmp_path, path):
    key = await store.put(b"x")
    file = File(path=path, size=1, sha256=keys.sha256(key), object=key)
    with pytest.raises(errors.InvalidPathError):
        await trees.download(store, [file], tmp_path / "deep/target")
    assert contents_of(tmp_path / "deep") == {} if (tmp_path / "deep").exists() else True


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("paths", [["/a", "/a"], ["/a", "/a/b"], ["/" + "n" * 300]])
async def test_paths_that_cannot_be_made_are_refused_and_not_tried_again(
    store, tmp_path, paths, size
):
    key = await store.put(b"x" * size)
    files = [File(path=path, size=size, sha256=keys.sha256(key), object=key) for path in paths]
    with pytest.raises(errors.InvalidPathError):
        await trees.download(store, files, tmp_path / "target")


async def test_one_corrupt_file_in_a_pack_is_told_with_the_objects_key(tmp_path):
    store = open_store(f"file://{tmp_path}/s")
    uploaded = await trees.upload(store, grow(tmp_path / "out", {"/a": b"aaa", "/b": b"bbb"}))
    key = inline(uploaded)[0].object
    (tmp_path / "s" / key).write_bytes(b"aaaxbb")
    with pytest.raises(errors.CorruptObjectError, match=key):
        await trees.download(store, inline(uploaded), tmp_path / "back")


async def test_hostile_offsets_are_corrupt_and_cost_no_memory(store, tmp_path):
    key = await store.put(b"x" * 100)
    for offset, size in ((-5, 10), (1 << 62, 10), (0, 60_000), (0, 1 << 50)):
        file = File(path="/f", size=size, sha256="0" * 64, object=key, offset=offset)
        with pytest.raises(errors.CorruptObjectError):
            await trees.download(store, [file], tmp_path / "target")
