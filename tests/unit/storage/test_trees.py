import asyncio
import hashlib
import io
import os
import resource
import socket
from pathlib import Path
from typing import BinaryIO

import pytest

from trunkline.contracts import errors, names
from trunkline.contracts.messages import INLINE_FILES, File
from trunkline.storage import keys, manifests, packs, trees, walking
from trunkline.storage.links import Elsewhere
from trunkline.storage.store import open_store


def grow(root, files):
    for path, data in files.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return root


def contents_of(root):
    return {
        f"/{path.relative_to(root)}": path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def inline(uploaded: trees.Uploaded) -> tuple[File, ...]:
    assert uploaded.files is not None
    return uploaded.files


async def files_of(store, uploaded):
    if uploaded.files is not None:
        return list(uploaded.files)
    return [file async for file in manifests.read(store, uploaded.manifest)]


def open_files():
    """Return how many descriptors are open, without connections: a bucket's are kept for the next."""
    links = [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()]
    return len([link for link in links if "socket:" not in link])


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


# --- what a command may leave behind -----------------------------------------------------------


@pytest.mark.parametrize("name", [b"new\nline", b"\x01", b"\x7f", b"not utf-8 \xff"])
async def test_a_name_that_no_repo_takes_is_refused(store, tmp_path, name):
    (tmp_path / "out").mkdir()
    fd = os.open(os.fsencode(tmp_path / "out") + b"/" + name, os.O_CREAT | os.O_WRONLY)
    os.close(fd)
    with pytest.raises(errors.InvalidPathError):
        await trees.upload(store, tmp_path / "out")


async def test_a_path_that_is_too_long_is_refused(store, tmp_path):
    out = grow(tmp_path / "out", {"/" + "/".join("d" * 200 for _ in range(6)): b"x"})
    with pytest.raises(errors.InvalidPathError, match="over 1024 bytes"):
        await trees.upload(store, out)


async def test_a_link_to_an_input_is_followed_by_the_name_that_the_command_saw(store, tmp_path):
    pfs = tmp_path / "worker/pfs"
    out = grow(pfs, {"/in/file": b"input", "/in/dir/x": b"1", "/in/dir/y": b"2"}) / "out"
    out.mkdir()
    (out / "absolute").symlink_to("/pfs/in/file")
    (out / "relative").symlink_to("../in/file")
    (out / "chained").symlink_to("absolute")
    (out / "dir").symlink_to("/pfs/in/dir")
    (out / "through").symlink_to("dir/../file")
    (out / "ours").symlink_to(pfs / "in/file")
    uploaded = await trees.upload(store, out, views={"/pfs": pfs})
    await trees.download(store, inline(uploaded), tmp_path / "back")
    assert contents_of(tmp_path / "back") == {
        "/absolute": b"input",
        "/relative": b"input",
        "/chained": b"input",
        "/through": b"input",
        "/ours": b"input",
        "/dir/x": b"1",
        "/dir/y": b"2",
    }


async def test_a_link_inside_the_output_needs_no_views(store, tmp_path):
    out = grow(tmp_path / "out", {"/real/x": b"1"})
    (out / "again").symlink_to("real")
    (out / "file").symlink_to(out / "real/x")
    uploaded = await trees.upload(store, out)
    assert [file.path for file in inline(uploaded)] == ["/again/x", "/file", "/real/x"]


@pytest.mark.parametrize(
    "target",
    [
        "/etc/passwd",
        "/etc",
        "../secret",
        "../../../../../../etc/passwd",
        "/pfs/../secret",
        "/pfs/in/escape",
        "missing",
        "/pfs/in/missing",
        "self",
        ".",
        "..",
        "/pfs",
        "/pfs/out",
    ],
)
async def test_a_link_that_leads_elsewhere_is_refused(store, tmp_path, target):
    pfs = grow(tmp_path / "pfs", {"/in/file": b"input"})
    grow(tmp_path, {"/secret": b"credentials"})
    (pfs / "secret").write_bytes(b"not below an input or the output")
    (pfs / "in/escape").symlink_to("/etc/passwd")
    (pfs / "out").mkdir()
    (pfs / "out/self").symlink_to(target)
    views = {"/pfs/in": pfs / "in", "/pfs/out": pfs / "out"}
    with pytest.raises(errors.InvalidPathError, match="/self"):
        await trees.upload(store, pfs / "out", views=views)


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        ("/etc/passwd", "/etc/passwd"),
        ("/etc/../x/", "/etc/../x/"),
        ("/tmp/../pfs/in/file", "/tmp/../pfs/in/file"),  # what `/tmp` is, only the command knows
        ("/pfs/in/escape", "/image/lib/x"),
        ("/pfs/in/gone/below", "/image/dir/below"),
        ("../in/escape", "/image/lib/x"),
        ("../../image/./x", "/image/x"),
        ("/pfs/../secret", "/secret"),
        ("/pfs/in/../../image/x", "/image/x"),
    ],
)
async def test_a_link_that_leads_elsewhere_is_what_somebody_else_may_open(
    store, tmp_path, target, reached
):
    """By the path that whoever made it would come to, not by what lies there in our world."""
    pfs = grow(tmp_path / "pfs", {"/in/file": b"input"})
    (pfs / "in/escape").symlink_to("/image/lib/x")
    (pfs / "in/gone").symlink_to("/image/dir")
    (pfs / "out").mkdir()
    (pfs / "out/link").symlink_to(target)
    content = tmp_path / "content"
    content.write_bytes(b"elsewhere")
    asked: list[Elsewhere] = []

    async def reach(link: Elsewhere) -> BinaryIO:
        asked.append(link)
        opened: BinaryIO = content.open("rb", buffering=0)
        return opened

    uploaded = await trees.upload(store, pfs / "out", views={"/pfs": pfs}, reach=reach)
    assert asked == [Elsewhere("/link", reached)]
    await trees.download(store, inline(uploaded), tmp_path / "back")
    assert contents_of(tmp_path / "back") == {"/link": b"elsewhere"}


async def test_links_back_are_followed_here_also_where_others_may_lead_elsewhere(store, tmp_path):
    pfs = grow(tmp_path / "pfs", {"/in/file": b"input"})
    (pfs / "out/sub").mkdir(parents=True)
    links = ("/pfs/in/file", "/pfs/out/../in/file", "/pfs/../pfs/in/file", "../../in/file")
    for number, target in enumerate((*links, "../../../pfs/in/file")):
        (pfs / f"out/sub/{number}").symlink_to(target)

    async def reach(link: Elsewhere) -> BinaryIO:
        raise AssertionError(link)

    uploaded = await trees.upload(store, pfs / "out", views={"/pfs": pfs}, reach=reach)
    assert {file.sha256 for file in inline(uploaded)} == {hashlib.sha256(b"input").hexdigest()}
    assert uploaded.count == 5


@pytest.mark.parametrize("size", [9, 300_000])
@pytest.mark.parametrize("change", ["written", "grown", "cut", "gone"])
async def test_a_file_elsewhere_that_changes_while_it_is_read_is_refused(
    store, tmp_path, size, change
):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/link").symlink_to("/image/x")
    content = tmp_path / "content"
    content.write_bytes(b"a" * size)

    class Changing(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if change == "gone":
                content.unlink(missing_ok=True)
            else:
                with content.open("ab" if change == "grown" else "r+b") as again:
                    again.truncate(3) if change == "cut" else again.write(b"b")
                os.utime(content, (1, 1))  # however coarse the clock is
            return super().read(size)

    async def reach(_: Elsewhere) -> BinaryIO:
        return Changing(content, "rb")

    async with asyncio.timeout(10):
        with pytest.raises(errors.InvalidPathError, match="changed while it was read"):
            await trees.upload(store, tmp_path / "out", reach=reach)


async def test_large_files_elsewhere_are_objects_and_few_are_open_at_once(store, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    content = tmp_path / "content"
    content.write_bytes(os.urandom(100_000))
    for number in range(60):
        (out / f"{number}").symlink_to(f"/image/{number}")
    before, most = open_files(), 0

    async def reach(_: Elsewhere) -> BinaryIO:
        nonlocal most
        opened: BinaryIO = content.open("rb", buffering=0)
        most = max(most, open_files())
        return opened

    uploaded = await trees.upload(store, out, reach=reach)
    assert (uploaded.count, uploaded.bytes) == (60, 60 * 100_000)
    assert most <= before + 20
    assert open_files() <= before + 1


async def test_an_output_directory_that_was_replaced_by_a_link_is_refused(store, tmp_path):
    grow(tmp_path / "secret", {"/x": b"credentials"})
    (tmp_path / "out").symlink_to(tmp_path / "secret")
    with pytest.raises(errors.InvalidPathError):
        await trees.upload(store, tmp_path / "out")


async def test_an_output_directory_that_was_removed_is_refused(store, tmp_path):
    with pytest.raises(errors.InvalidPathError):
        await trees.upload(store, tmp_path / "out")


async def test_what_is_no_file_is_refused_and_not_waited_for(store, tmp_path):
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out/pipe")
    async with asyncio.timeout(5):
        with pytest.raises(errors.InvalidPathError, match="no regular file"):
            await trees.upload(store, tmp_path / "out")
    (tmp_path / "out/pipe").unlink()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(os.path.relpath(tmp_path / "out/socket"))
    with listening, pytest.raises(errors.InvalidPathError, match="no regular file"):
        await trees.upload(store, tmp_path / "out")


async def test_deep_directories_need_few_descriptors(store, tmp_path):
    out = tmp_path / "out"
    grow(out, {"/" + "d/" * 400 + "x": b"deep"})
    before = open_files()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 60, hard[1]))
    try:
        uploaded = await trees.upload(store, out)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, hard)
    assert uploaded.count == 1
    assert open_files() <= before + 5


async def test_a_directory_that_is_swapped_for_a_link_leads_nowhere(tmp_path):
    out = grow(tmp_path / "out", {"/b/sub/x": b"1", "/b/y": b"2"})
    grow(tmp_path / "secret", {"/y": b"credentials"})
    walk = walking.Walk(out, "", {})
    walk_of_one = walk._found
    assert next(walk_of_one) == walking.Small("/b/sub/x", b"1", hashlib.sha256(b"1").hexdigest())
    (out / "b").rename(out / "gone")
    (out / "b").symlink_to(tmp_path / "secret")
    with pytest.raises(errors.InvalidPathError):
        next(walk_of_one)
    walk.close()


async def test_an_upload_that_is_cancelled_closes_its_files(tmp_path):
    out = grow(tmp_path / "out", {f"/{n}": os.urandom(200_000) for n in range(40)})
    store = open_store(f"file://{tmp_path}/s")
    await store.put(b"warm")
    before = open_files()
    async with asyncio.TaskGroup() as tasks:
        upload = tasks.create_task(trees.upload(store, out))
        while open_files() <= before + 2 and not upload.done():
            await asyncio.sleep(0)
        upload.cancel()
    async with asyncio.timeout(5):
        while open_files() > before:
            await asyncio.sleep(0.01)


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
