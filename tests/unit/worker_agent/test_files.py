import hashlib
import os
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from trunkline.contracts import errors
from trunkline.contracts.messages import DatumInput, DatumTask, File, Span
from trunkline.storage import manifests
from trunkline.storage.store import open_store
from trunkline.worker_agent.files import Workspace

LINES = "WHAT=this\n"
"""Of the file with a datum's variables."""


@pytest.fixture
def space(tmp_path):
    made = Workspace(tmp_path / "home")
    made.prepare()
    return made


@pytest.fixture
def store(tmp_path):
    return open_store(f"file://{tmp_path}/store")


def task(*inputs: DatumInput) -> DatumTask:
    return DatumTask(pipeline="p", job="0" * 32, index=0, datum="d", fingerprint="f", inputs=inputs)


async def given(store, name: str = "in", path: str = "/a/b") -> DatumInput:
    key = await store.put(path.encode())
    sha256 = hashlib.sha256(path.encode()).hexdigest()
    file = File(path=path, size=len(path), sha256=sha256, object=key)
    return DatumInput(name=name, path=path, commit="c", files=(file,))


def tree(path: Path | str) -> list[str]:
    return sorted(str(each.relative_to(path)) for each in Path(path).rglob("*"))


async def staged(space, store, *inputs):
    place = space.place()
    await space.stage(store, task(*inputs), place)
    return place


async def test_a_datum_is_presented_and_withdrawn_whole(space, store):
    place = await staged(space, store, await given(store), await given(store, "other", "/c"))
    assert place.bytes == 6
    space.present(place, LINES)
    assert tree(space.pfs) == [".env", "in", "in/a", "in/a/b", "other", "other/c", "out"]
    assert (space.pfs / ".env").read_text() == LINES
    (space.pfs / "out" / "x").write_text("1")
    space.withdraw(place)
    assert tree(space.pfs) == [".env"]
    assert tree(place.out) == ["x"]


async def test_what_a_command_leaves_elsewhere_goes_with_its_datum(space, store):
    place = await staged(space, store, await given(store))
    space.present(place, LINES)
    (space.pfs / "junk").mkdir()
    (space.pfs / "junk" / "more").write_text("1")
    (space.work / "junk").write_text("1")
    (space.work / "link").symlink_to("/nowhere")
    space.withdraw(place)
    assert tree(space.pfs) == [".env"]
    assert tree(space.work) == []
    await space.discard(place)
    assert not Path(place.directory).exists()


async def test_one_datum_is_stored_while_the_next_one_is_presented(space, store):
    first = await staged(space, store, await given(store))
    space.present(first, LINES)
    (space.pfs / "out" / "copy").symlink_to("/pfs/in/a/b")
    (space.pfs / "out" / "other").symlink_to(space.pfs / "in" / "a")
    space.withdraw(first)
    second = await staged(space, store, await given(store, "in", "/second"))
    space.present(second, LINES)
    stored = await space.upload(store, first)
    assert [each.path for each in stored.files or ()] == ["/copy", "/other/b"]


async def many_given(store, count: int) -> DatumInput:
    """Return an input whose files are every other one of a manifest."""
    made = [await given(store, path=f"/{number // 10}/{number:03}") for number in range(count)]
    files = [file for each in made for file in each.files or ()]
    written = await manifests.write(store, files)
    spans = [Span(first=number, count=1) for number in range(0, count, 2)]
    return DatumInput(
        name="in",
        path="/",
        commit="c",
        manifest=written.manifest,
        span=spans[0],
        more=(*spans[1:],),
    )


async def test_the_files_of_a_group_come_from_all_ranges_of_the_manifest(space, store):
    place = await staged(space, store, await many_given(store, 40))
    found = [path for path in tree(f"{place.directory}/in") if "/" in path]
    assert found == [f"{number // 10}/{number:03}" for number in range(0, 40, 2)]
    assert place.bytes == 20 * len("/0/000")


@pytest.mark.parametrize("many", [False, True])
async def test_empty_files_have_names_only_and_links_to_them_mean_what_is_in_the_store(
    space, store, many
):
    each = await (many_given(store, 40) if many else given(store, path="/0/000"))
    place = await staged(space, store, replace(each, empty=True))
    assert place.bytes == 0
    space.present(place, LINES)
    assert (space.pfs / "in" / "0" / "000").stat().st_size == 0
    (space.pfs / "out" / "renamed").symlink_to("/pfs/in/0/000")
    (space.pfs / "out" / "sorted").symlink_to(space.pfs / "in" / "0")
    (space.pfs / "in" / "0" / "mine").write_text("")
    (space.pfs / "in" / "0" / "changed").write_text("1")
    (space.pfs / "out" / "own").write_text("")
    space.withdraw(place)
    files = {file.path: file for file in (await space.upload(store, place)).files or ()}
    listed = [f"/sorted/{number:03}" for number in range(0, 10, 2)] if many else ["/sorted/000"]
    assert sorted(files) == sorted(["/renamed", *listed, "/sorted/mine", "/sorted/changed", "/own"])
    for path in ("/renamed", "/sorted/000"):
        file = files[path]
        assert await store.get_range(file.object, file.offset, file.size) == b"/0/000"
    assert files["/sorted/mine"].size == files["/own"].size == 0
    assert files["/sorted/changed"].size == 1


@pytest.mark.parametrize("link", ["/etc/passwd", "../../../../../etc/passwd", "/pfs/second"])
async def test_a_link_that_leads_out_is_refused(space, store, link):
    place = await staged(space, store)
    space.present(place, LINES)
    (space.pfs / "out" / "link").symlink_to(link)
    space.withdraw(place)
    with pytest.raises(errors.InvalidPathError):
        await space.upload(store, place)


async def test_an_output_that_was_taken_away_is_empty(space, store):
    place = await staged(space, store)
    space.present(place, LINES)
    (space.pfs / "out").rmdir()
    space.withdraw(place)
    assert (await space.upload(store, place)).files == ()


@pytest.mark.parametrize("kind", ["file", "link"])
async def test_an_output_that_is_no_directory_is_refused(space, store, kind):
    place = await staged(space, store)
    space.present(place, LINES)
    out = space.pfs / "out"
    out.rmdir()
    if kind == "file":
        out.write_text("1")
    else:
        out.symlink_to("/etc")
    space.withdraw(place)
    with pytest.raises(errors.InvalidPathError, match="no directory"):
        await space.upload(store, place)


@pytest.mark.parametrize("name", ["out", "a/b", "..", "."])
async def test_an_input_that_cannot_be_a_directory_below_pfs_is_refused(space, store, name):
    with pytest.raises(errors.InvalidPathError):
        await staged(space, store, await given(store, name))


async def test_a_path_that_leaves_its_input_is_refused(space, store):
    good = await given(store)
    assert good.files
    bad = File(path="/../../x", size=1, sha256=good.files[0].sha256, object=good.files[0].object)
    with pytest.raises(errors.InvalidPathError):
        await staged(space, store, DatumInput(name="in", path="/", commit="c", files=(bad,)))


async def test_a_failed_fetch_is_begun_anew(space, store):
    place = space.place()
    good = await given(store)
    assert good.files
    lost = File(path="/z", size=1, sha256="0" * 64, object="0" * 64)
    bad = DatumInput(name="in", path="/", commit="c", files=(*good.files, lost))
    with pytest.raises(errors.TrunklineError):
        await space.stage(store, task(bad), place)
    await space.stage(store, task(good), place)
    assert tree(place.directory) == ["in", "in/a", "in/a/b", "out"]


async def test_a_settled_datum_s_directories_serve_the_next_one_like_new(space, store):
    first = await staged(space, store, await given(store, path="/a"))
    space.present(first, LINES)
    (space.pfs / "out" / "x").write_text("1")
    space.withdraw(first)
    await space.upload(store, first)
    space.discard_soon(first)
    second = await staged(space, store, await given(store, "other", "/b"))
    assert second.directory == first.directory
    assert tree(second.directory) == ["other", "other/b", "out"]


def set_attribute(pfs: Path) -> None:
    os.setxattr(pfs / "out", "user.left", b"1")


def link_elsewhere(pfs: Path) -> None:
    (pfs.parent / "elsewhere").mkdir()
    (pfs.parent / "elsewhere" / "a").write_text("somebody's")
    (pfs / "in" / "a").unlink()
    (pfs / "in").rmdir()
    (pfs / "in").symlink_to(pfs.parent / "elsewhere")


LEFT = {
    "a file more": lambda pfs: (pfs / "in" / "more").write_text("1"),
    "a file less": lambda pfs: (pfs / "in" / "a").unlink(),
    "a directory": lambda pfs: (pfs / "out" / "sub").mkdir(),
    "rights": lambda pfs: (pfs / "out").chmod(0o777),
    "a bit": lambda pfs: (pfs / "out").chmod(0o2755),
    "a file in pfs": lambda pfs: (pfs / "beside").write_text("1"),
    "a file in work": lambda pfs: (pfs.parent / "work" / "beside").write_text("1"),
    "an attribute": set_attribute,
    "a link": link_elsewhere,
}


@pytest.mark.parametrize("leave", LEFT.values(), ids=LEFT)
async def test_directories_that_a_command_changed_serve_nobody_again(space, store, leave):
    first = await staged(space, store, await given(store, path="/a"))
    space.present(first, LINES)
    leave(space.pfs)
    space.withdraw(first)
    await space.upload(store, first)
    space.discard_soon(first)
    await space.settle()
    second = await staged(space, store, await given(store, path="/b"))
    assert second.directory != first.directory
    assert tree(second.directory) == ["in", "in/b", "out"]
    assert not Path(first.directory).exists()
    elsewhere = space.pfs.parent / "elsewhere" / "a"
    assert not elsewhere.parent.exists() or elsewhere.read_text() == "somebody's"


async def presented(space, store, path: str) -> Path:
    """Present a datum of one file; return that, as its command finds it."""
    place = await staged(space, store, await given(store, path=path))
    space.present(place, LINES)
    file = space.pfs / "in" / path[1:]
    assert file.read_text() == path
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    return Path(file)


async def settle(space, store) -> None:
    place = space._presented
    assert place is not None
    space.withdraw(place)
    await space.upload(store, place)
    space.discard_soon(place)


async def test_an_input_s_file_serves_the_next_datum_with_that_one_s_content(space, store):
    inodes = set()
    for path in ("/a-long-name", "/b", "/a-longer-name", "/c"):
        inodes.add((await presented(space, store, path)).stat().st_ino)
        await settle(space, store)
    assert len(inodes) == 1


def link_beside(file: Path) -> None:
    os.link(file, file.parents[2] / "mine")


FILE_LEFT = {
    "another name": link_beside,
    "rights": lambda file: file.chmod(0o600),
    "an attribute": lambda file: os.setxattr(file, "user.left", b"1"),
}


@pytest.mark.parametrize("leave", FILE_LEFT.values(), ids=FILE_LEFT)
async def test_an_input_s_file_that_a_command_changed_serves_nobody_again(space, store, leave):
    file = await presented(space, store, "/a")
    leave(file)
    await settle(space, store)
    file = await presented(space, store, "/b")
    assert os.listxattr(file) == []
    assert file.stat().st_nlink == 1
    mine = space.pfs.parent / "mine"
    assert not mine.exists() or mine.read_text() == "/a"


async def test_a_path_that_is_there_twice_is_refused_also_where_files_serve_again(space, store):
    await presented(space, store, "/a")
    await settle(space, store)
    twice = await given(store, path="/a")
    assert twice.files
    with pytest.raises(errors.InvalidPathError):
        await staged(space, store, replace(twice, files=twice.files * 2))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.unlink(),
        lambda file: file.chmod(0),
        lambda file: (file.unlink(), file.mkdir()),
        lambda file: (file.unlink(), file.symlink_to(file.parent.parent / "mine")),
        lambda file: (file.unlink(), file.hardlink_to(file.parent.parent / "mine")),
    ],
    ids=["removed", "shut", "directory", "link", "hard link"],
)
async def test_the_file_with_variables_is_that_of_the_datum_whatever_the_last_one_made_of_it(
    space, store, spoil
):
    mine = space.pfs.parent / "mine"
    mine.write_text("of a command\n")
    first = await staged(space, store)
    space.present(first, "A=a much longer line than that of the next one\n")
    spoil(space.pfs / ".env")
    space.withdraw(first)
    space.present(await staged(space, store), LINES)
    assert (space.pfs / ".env").read_text() == LINES
    assert mine.read_text() == "of a command\n"


async def test_a_new_worker_finds_its_directories_empty(space, store):
    place = await staged(space, store, await given(store))
    space.present(place, LINES)
    (space.pfs / "in" / "a").chmod(0)
    again = Workspace(space.pfs.parent)
    again.prepare()
    assert tree(space.pfs.parent) == ["pfs", "root", "scratch", "work"]
    assert os.access(again.pfs, os.W_OK)


@pytest.mark.parametrize(
    ("links", "leads"),
    [
        ({}, False),
        ({"link": "/pfs/in/a/b"}, False),
        ({"link": "../in/a/b", "again": "link"}, False),
        ({"link": "missing"}, False),
        ({"link": "/tmp/result"}, True),
        ({"sub/deep/link": "/usr/bin/env"}, True),
        ({"link": "../../tmp/result"}, True),
        ({"link": "/pfs/in/a/own"}, True),
        ({"link": "/pfs/in/a"}, True),  # there may be any link in it
    ],
)
async def test_whether_output_leads_out_of_the_datum_is_known_before_the_next_one_runs(
    space, store, links, leads
):
    place = await staged(space, store, await given(store))
    space.present(place, LINES)
    (space.pfs / "in" / "a" / "own").symlink_to("/usr/bin/env")
    (space.pfs / "out" / "file").write_text("1")
    for name, target in links.items():
        (space.pfs / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (space.pfs / "out" / name).symlink_to(target)
    space.withdraw(place)
    assert await space.leads_elsewhere(place, "/pfs") is leads
