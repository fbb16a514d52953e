"""What a command may leave behind in the place of a file, and what of it becomes one."""

import asyncio
import hashlib
import io
import os
import resource
import socket
from typing import BinaryIO

import pytest
from tests.support.grown import contents_of, grow, inline, open_files

from trunkline.contracts import errors
from trunkline.storage import trees, walking
from trunkline.storage.links import Elsewhere
from trunkline.storage.store import open_store


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
