"""What a command that stays up sees of one datum after the other, and what it may still hold."""

import contextlib
import hashlib
import os
from pathlib import Path

import pytest

from trunkline.contracts.messages import DatumInput, DatumTask, File
from trunkline.storage.store import open_store
from trunkline.worker_agent.files import DOOR, ENV, Workspace


class Command:
    """A workspace in which a command stays up, and datums of one file `f`."""

    def __init__(self, space: Workspace, store) -> None:
        self.space, self.store = space, store
        self.pfs = space.pfs

    async def see(self, content: bytes, *, path: str = "/f", name: str = "in"):
        key = await self.store.put(content)
        file = File(
            path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest(), object=key
        )
        given = DatumInput(name=name, path=path, commit="c", files=(file,))
        task = DatumTask(
            pipeline="p", job="j", index=0, datum="d", fingerprint="f", inputs=(given,)
        )
        place = self.space.place()
        await self.space.stage(self.store, task, place)
        self.space.present(place, "A=1\n")
        return place

    async def end(self, place) -> list[str]:
        self.space.withdraw(place)
        stored = await self.space.upload(self.store, place)
        self.space.discard_soon(place)
        return [file.path for file in stored.files or ()]


@pytest.fixture
async def command(tmp_path):
    space = Workspace(tmp_path / "home")
    space.prepare()
    (space.pfs / DOOR).mkdir()
    space.occupied = True
    yield Command(space, open_store(f"file://{tmp_path}/store"))
    await space.settle()


def seen(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir() if each.name != ENV)


async def test_a_directory_that_is_open_shows_the_datum_at_hand(command):
    place = await command.see(b"one")
    out = os.open(command.pfs / "out", os.O_RDONLY)
    for name, content in [("a", b"one"), ("b", b"two"), ("c", b"three")]:
        assert (command.pfs / "in" / "f").read_bytes() == content
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=out))
        assert await command.end(place) == [f"/{name}"]
        place = await command.see({"a": b"two", "b": b"three", "c": b""}[name])
    os.close(out)


async def test_an_earlier_file_that_is_open_stays_what_it_was(command):
    place = await command.see(b"one")
    with (
        (command.pfs / "in" / "f").open("rb") as held,
        (command.pfs / "out" / "log").open("w") as log,
    ):
        for content in (b"two", b"three"):
            await command.end(place)
            place = await command.see(content)
            log.write("late\n")
            log.flush()
            assert (command.pfs / "in" / "f").read_bytes() == content
        assert await command.end(place) == []
        assert held.read() == b"one"


async def test_an_output_is_what_its_own_datum_wrote_also_between_those_that_write_nothing(command):
    for written in ([], ["a"], [], [], ["b", "c"], []):
        place = await command.see(b"1")
        for name in written:
            (command.pfs / "out" / name).write_bytes(b"x")
        assert await command.end(place) == [f"/{name}" for name in written]
        assert seen(command.pfs / "out") == []


async def test_directories_go_with_their_datum(command):
    for number in range(3):
        place = await command.see(b"x", path="/a/b/f")
        (command.pfs / "out" / "deep").mkdir()
        (command.pfs / "out" / "deep" / str(number)).touch()
        assert await command.end(place) == [f"/deep/{number}"]


@pytest.mark.parametrize("names", [("in", "other"), ("other", "in", "other")])
async def test_an_input_that_a_datum_lacks_is_not_there(command, names):
    for name in names:
        place = await command.see(b"x", name=name)
        assert seen(command.pfs) == sorted([DOOR, name, "out"])
        assert (command.pfs / name / "f").read_bytes() == b"x"
        await command.end(place)


async def test_what_the_command_puts_in_place_of_its_output_is_its_output(command):
    place = await command.see(b"x")
    await command.end(place)
    for _ in range(2):
        place = await command.see(b"x")
        (command.pfs / "out").rmdir()
        (command.pfs / "new").mkdir()
        (command.pfs / "new" / "made").touch()
        (command.pfs / "new").rename(command.pfs / "out")
        assert await command.end(place) == ["/made"]
    place = await command.see(b"x")
    (command.pfs / "out").rmdir()
    assert await command.end(place) == []
    place = await command.see(b"x")
    assert list((command.pfs / "out").iterdir()) == []
    await command.end(place)


@pytest.mark.parametrize("path", ["/f", "/a/b/f"])
@pytest.mark.parametrize("name", ["in", "out"])
async def test_what_is_done_between_datums_hides_no_input(command, name, path):
    await command.end(await command.see(b"one"))
    for spoil in (
        (command.pfs / name / "f").mkdir,
        (command.pfs / name).rmdir,
        lambda: (command.pfs / name).rename(command.pfs / "elsewhere"),
    ):
        with contextlib.suppress(OSError):
            spoil()
        place = await command.see(b"two", path=path)
        assert (command.pfs / f"in{path}").read_bytes() == b"two"
        (command.pfs / "out").mkdir(exist_ok=True)
        await command.end(place)


async def test_nothing_is_left_when_the_command_is_gone(command):
    place = await command.see(b"one")
    (command.space.work / "cache").touch()
    await command.end(place)
    assert (command.space.work / "cache").exists()
    command.space.vacate()
    assert seen(command.pfs) == seen(command.space.work) == []
    place = await command.see(b"two")
    assert seen(command.pfs) == ["in", "out"]
    await command.end(place)


async def test_a_command_that_goes_with_a_datum_in_hand_leaves_the_datum(command):
    await command.end(await command.see(b"one"))
    place = await command.see(b"two")
    (command.pfs / "out" / "half").touch()
    command.space.vacate()
    assert seen(command.pfs) == ["in", "out"]
    assert await command.end(place) == ["/half"]
