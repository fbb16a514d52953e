"""A server whose disk was full is started again once there is room."""

import asyncio
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from trunkline.local import full_disk
from trunkline.local.children import Child, Service


class Usage(NamedTuple):
    free: int


@pytest.mark.parametrize("said", [b"", b"write 1.blk: no space left on device\n"])
async def test_it_is_told_when_it_is_full_and_restarted_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    """Seen by what is free, or by what the server says although much is free: that was so before."""
    free = [full_disk.ROOM_BYTES if said else 0]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free[0]))
    log = tmp_path / "it.log"
    log.write_bytes(b"of the past: no space left on device\n")
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
    log.write_bytes(b"no space left on device\n")
    assert watched.says_full()
    assert not watched.says_full()
