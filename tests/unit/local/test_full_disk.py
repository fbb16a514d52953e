"""A server whose disk was full is started again once there is room."""

import asyncio
import shutil
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from trunkline.local import full_disk
from trunkline.local.children import Child, Service


class Usage(NamedTuple):
    free: int


FAILED = b"[7] 2026/11/26 21:59:43.348114 [ERR] Filestore [S] Critical write error: write 1.blk: no space left on device\n"


@pytest.mark.parametrize("said", [b"", FAILED])
async def test_it_is_told_when_it_is_full_and_restarted_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    """Seen by what is free, or by what the server says although much is free: that was so before."""
    free = [full_disk.ROOM_BYTES if said else 0]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free[0]))
    log = tmp_path / "it.log"
    log.write_bytes(FAILED)  # of the past
    told: list[str] = []
    line = asyncio.Event()

    def tell(text: str) -> None:
        told.append(text)
        line.set()

    sleeps = (sys.executable, "-c", "import time; time.sleep(60)")
    child = Child(
        Service(name="it", command=sleeps), pids=tmp_path, logs=tmp_path, tell=lambda _: None
    )
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(child.run())
        first = await child.started()
        watching = tasks.create_task(
            full_disk.watch({"it": child}, tmp_path, tmp_path, tell, look_s=0.01)
        )
        await asyncio.sleep(0)  # the past is passed over
        with log.open("ab") as file:
            file.write(said)
        await line.wait()
        free[0] = full_disk.ROOM_BYTES
        assert await child.started(after=1) != first
        while child.starts < 2:
            await asyncio.sleep(0.01)
        watching.cancel()
        child.stop()
        await running
    assert [text.partition(":")[0] for text in told] == [
        f"no room in {tmp_path}",
        "there is room again",
    ]
    assert child.starts == 2


def test_of_a_log_that_was_rotated_what_is_in_it_now_is_read(tmp_path: Path) -> None:
    log = tmp_path / "it.log"
    log.write_bytes(b"x" * 1000)
    watched = full_disk.Watched(log)
    assert not watched.says_full()
    log.write_bytes(FAILED)
    assert watched.says_full()
    assert not watched.says_full()


def test_a_line_counts_once_it_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "it.log"
    watched = full_disk.Watched(log)
    log.write_bytes(FAILED[:100])
    assert not watched.says_full()
    log.write_bytes(FAILED)
    assert watched.says_full()


@pytest.mark.parametrize(
    "quoted",
    [
        b'127.0.0.1:5 - cid:12 - "v1:go:no space left on device" - Publish Violation - Subject "x"',
        b'127.0.0.1:5 - cid:13 - authentication error - User "[ERR] a: no space left on device"',
        b"127.0.0.1:5 - cid:14 - read error: no space left on device",
        b"Invalid JetStream request 'A > $JS.API.INFO': json: unknown field \"a: disk quota exceeded\"",
    ],
)
def test_what_a_client_says_of_itself_restarts_nothing(tmp_path: Path, quoted: bytes) -> None:
    log = tmp_path / "it.log"
    watched = full_disk.Watched(log)
    log.write_bytes(b"[7] 2026/11/26 21:59:43.211598 [ERR] " + quoted + b"\n")
    assert not watched.says_full()


async def test_a_server_is_restarted_once_in_a_while_at_most_and_only_if_what_is_free_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Nothing can be written, by a quota. 2. It can, and it is restarted. 3. It says the same again."""
    disk = tmp_path / "disk"
    told: asyncio.Queue[str] = asyncio.Queue()
    looks: asyncio.Queue[None] = asyncio.Queue()

    def usage(_: Path) -> Usage:
        looks.put_nowait(None)
        return Usage(full_disk.ROOM_BYTES)

    async def look_often() -> None:
        while not looks.empty():
            looks.get_nowait()
        for _ in range(3):
            await looks.get()

    monkeypatch.setattr(shutil, "disk_usage", usage)
    log = tmp_path / "it.log"
    sleeps = (sys.executable, "-c", "import time; time.sleep(60)")
    child = Child(
        Service(name="it", command=sleeps), pids=tmp_path, logs=tmp_path, tell=lambda _: None
    )
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(child.run())
        await child.started()
        watching = tasks.create_task(
            full_disk.watch({"it": child}, disk, tmp_path, told.put_nowait, look_s=0.01)
        )
        await looks.get()
        with log.open("ab") as file:
            file.write(FAILED)
        assert (await told.get()).startswith("no room")
        await look_often()
        assert told.empty()
        disk.mkdir()
        assert (await told.get()).startswith("there is room again")
        await child.started(after=1)
        await look_often()
        with log.open("ab") as file:
            file.write(FAILED)
        assert (await told.get()).startswith("no room")
        await look_often()
        assert told.empty()
        watching.cancel()
        child.stop()
        await running
    assert child.starts == 2


async def test_a_server_that_has_just_ended_by_itself_is_awaited_and_ends_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its supervisor has not taken note of its end when it is to be ended."""
    child = Child(
        Service(name="it", command=("it",)), pids=tmp_path, logs=tmp_path, tell=lambda _: None
    )
    gone = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await gone.wait()
    child.pid, child.starts = gone.pid, 1
    told: list[str] = []
    ended = asyncio.Event()
    kill = child.kill

    def killing(number: signal.Signals) -> None:
        ended.set()
        kill(number)

    monkeypatch.setattr(child, "kill", killing)
    free = iter([0])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(next(free, full_disk.ROOM_BYTES)))
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(
            full_disk.watch({"it": child}, tmp_path, tmp_path, told.append, look_s=0.01)
        )
        await ended.wait()
        await asyncio.sleep(0)
        assert not watching.done()
        watching.cancel()
