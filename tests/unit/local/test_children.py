"""One child process: started again when it dies, stopped in bounded time, cleared up after."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from trunkline.local import children
from trunkline.local.children import Child, Service

SLEEPS = ("-c", "import time; print('up', flush=True); time.sleep(60)")
IGNORES = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
DEAF = ("-c", IGNORES + "print('up', flush=True); time.sleep(60)")


@asynccontextmanager
async def supervised(
    path: Path, *arguments: str, stop_s: float = 5.0
) -> AsyncIterator[tuple[Child, list[str]]]:
    told: list[str] = []
    service = Service(name="it", command=(sys.executable, *arguments), stop_s=stop_s)
    child = Child(service, pids=path, logs=path, tell=told.append)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(child.run(), name="it")
        await child.started()
        yield child, told
        child.stop()


async def until_up(path: Path, times: int = 1) -> None:
    while (path / "it.log").read_text().count("up") < times:
        await asyncio.sleep(0.01)


async def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    async with supervised(tmp_path, *SLEEPS) as (child, told):
        first = child.pid
        child.kill(signal.SIGKILL)
        assert await child.started(after=1) != first
    assert told == ["it was ended by SIGKILL; started again"]


async def test_a_child_that_dies_at_once_each_time_is_started_again_ever_more_slowly(
    tmp_path: Path,
) -> None:
    async with supervised(tmp_path, "-c", "raise SystemExit(3)") as (child, told):
        await child.started(after=3)
    assert told[0] == "it ended with exit code 3; started again"
    assert told[1].startswith("it ended with exit code 3; starting it again in 0.")


async def test_a_child_that_cannot_be_started_is_tried_again_and_ends_nobody(
    tmp_path: Path,
) -> None:
    async with supervised(tmp_path, *SLEEPS) as (child, told):
        log = tmp_path / "it.log"
        log.rename(tmp_path / "before")
        log.mkdir()
        child.kill(signal.SIGKILL)
        while not any("could not be started: [Errno" in each for each in told):
            await asyncio.sleep(0.01)
        log.rmdir()
        await child.started(after=1)


async def test_a_child_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    async with supervised(tmp_path, *DEAF, stop_s=0.2) as (child, told):
        await until_up(tmp_path)
        pid = child.pid
    assert told == ["it did not stop in 0.2 s; killed"]
    assert children.start_time(pid) == ""


async def test_a_child_dies_with_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    """The kernel tells the child; nobody else is there to do it."""
    code = f"""
import asyncio, sys
from pathlib import Path
from trunkline.local.children import Child, Service
path = Path({str(tmp_path)!r})
service = Service(name="it", command=(sys.executable, *{SLEEPS!r}))
asyncio.run(Child(service, pids=path, logs=path, tell=print).run())
"""
    supervisor = subprocess.Popen([sys.executable, "-c", code])
    try:
        async with asyncio.timeout(20):
            while not (tmp_path / "it.log").exists():
                await asyncio.sleep(0.01)
            await until_up(tmp_path)
            pid = int((tmp_path / "it.pid").read_text().split()[0])
            supervisor.kill()
            supervisor.wait()
            while children.start_time(pid):
                await asyncio.sleep(0.01)
    finally:
        supervisor.kill()


@pytest.mark.parametrize("program", [SLEEPS, DEAF])
async def test_what_a_killed_supervisor_left_is_ended_at_the_next_start(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    left = subprocess.Popen([sys.executable, *program], stdout=subprocess.PIPE)
    try:
        assert left.stdout is not None
        await asyncio.to_thread(left.stdout.readline)
        (tmp_path / "it.pid").write_text(f"{left.pid} {children.start_time(left.pid)}\n")
        assert await children.clear_leftovers(tmp_path, grace_s=0.3) == ["it"]
        assert left.wait() in (-signal.SIGTERM, -signal.SIGKILL)
    finally:
        left.kill()
        left.communicate()
    assert not list(tmp_path.iterdir())


async def test_a_recycled_process_id_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "it.pid").write_text(f"{os.getpid()} 12345\n")
    (tmp_path / "torn.pid").write_text("12")
    assert await children.clear_leftovers(tmp_path) == []
    assert not list(tmp_path.iterdir())
