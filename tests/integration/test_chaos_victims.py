"""Only an installation's own processes can be hit, whatever its files say."""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trunkline.chaos import leaders, victims
from trunkline.chaos.core.schedule import Habit, Kind, Target
from trunkline.chaos.running import Runner
from trunkline.local.children import start_time
from trunkline.local.home import Home

SLEEP = [sys.executable, "-S", "-c", "import sys; sys.stdin.read()"]


@contextmanager
def a_process() -> Iterator[subprocess.Popen[bytes]]:
    """A child of ours that runs until its stdin is closed."""
    with subprocess.Popen(SLEEP, stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A state directory whose supervisor is this process."""
    made = Home(tmp_path)
    made.make()
    with made.lock.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield made


def name_as(home: Home, service: str, pid: int, started: str) -> None:
    (home.pids / f"{service}.pid").write_text(f"{pid} {started}\n")


async def test_a_service_is_hit_that_its_own_pid_file_names(home: Home) -> None:
    with a_process() as process:
        name_as(home, "coordinator", process.pid, start_time(process.pid))
        victim = await victims.choose(home, Target.COORDINATOR, 0.0)
        assert victim is not None
        with victim:
            assert (victim.name, victim.pid) == ("coordinator", process.pid)
            assert victim.send(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            assert not victim.send(signal.SIGKILL)


async def test_one_of_several_that_stand_by_is_chosen_by_chance(home: Home) -> None:
    with a_process() as first, a_process() as second:
        name_as(home, "scaler", first.pid, start_time(first.pid))
        name_as(home, "scaler-2", second.pid, start_time(second.pid))
        chosen = [await victims.choose(home, Target.SCALER, chance) for chance in (0.1, 0.9)]
        assert [each.pid for each in chosen if each] == [first.pid, second.pid]
        for each in chosen:
            assert each is not None
            each.__exit__(None, None, None)


@pytest.mark.parametrize(("chance", "hit"), [(0.0, "scaler-2"), (0.7, "scaler-2"), (0.9, "scaler")])
async def test_who_leads_is_hit_more_often_than_who_stands_by(
    home: Home, chance: float, hit: str
) -> None:
    with a_process() as first, a_process() as second:
        name_as(home, "scaler", first.pid, start_time(first.pid))
        name_as(home, "scaler-2", second.pid, start_time(second.pid))
        chosen = await victims.choose(home, Target.SCALER, chance, leader="scaler-2")
        assert chosen is not None
        with chosen:
            assert chosen.name == hit


async def test_nobody_leads_where_nobody_answers(home: Home) -> None:
    assert await leaders.of(home, Target.SCALER) == ""
    name_as(home, "scaler-2", os.getpid(), "1")
    assert await leaders.of(home, Target.SCALER) == ""


async def test_nobody_is_hit_whose_pid_is_another_process_by_now(home: Home) -> None:
    with a_process() as process:
        name_as(home, "scaler", process.pid, "1")
        assert await victims.choose(home, Target.SCALER, 0.0) is None


async def test_nobody_is_hit_who_is_no_descendant_of_the_supervisor(home: Home) -> None:
    for pid in (-1, 0, 1, 2, os.getpid(), os.getppid()):
        started = start_time(pid) if pid > 0 else "1"
        name_as(home, "nats-server", pid, started)
        assert await victims.choose(home, Target.NATS, 0.0) is None
        with pytest.raises(victims.NotOursError):
            victims.hold("anybody", pid, started, os.getpid())


async def test_nobody_is_hit_while_no_supervisor_holds_the_directory(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.make()
    with a_process() as process:
        name_as(home, "coordinator", process.pid, start_time(process.pid))
        assert await victims.choose(home, Target.COORDINATOR, 0.0) is None
        assert await victims.choose(home, Target.WORKER, 0.0) is None


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def test_what_is_paused_goes_on_once_the_chaos_is_over(home: Home) -> None:
    with a_process() as process:
        name_as(home, "coordinator", process.pid, start_time(process.pid))
        habit = Habit(
            kind=Kind.PAUSE, target=Target.COORDINATOR, every_s=0.02, lasts_s=(3600, 3600)
        )
        told: list[str] = []
        runner = Runner(home, 1, [habit], told.append)
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(runner.run(), name="chaos")
            while not is_stopped(process.pid):
                await asyncio.sleep(0.01)
            running.cancel()
        assert runner.done[Kind.PAUSE, Target.COORDINATOR] >= 1
        assert f"pause coordinator ({process.pid}) for 3600.0 s" in told[0]
        async with asyncio.timeout(20):
            while is_stopped(process.pid):
                await asyncio.sleep(0.01)


async def test_who_is_paused_twice_goes_on_when_both_pauses_have_ended(home: Home) -> None:
    """One process stands for two services here, so that one pause falls into another for certain."""
    long = Habit(kind=Kind.PAUSE, target=Target.SCALER, every_s=0.4, lasts_s=(3600, 3600))
    short = Habit(kind=Kind.PAUSE, target=Target.COORDINATOR, every_s=0.02)
    with a_process() as process:
        for service in (long.target, short.target):
            name_as(home, service, process.pid, start_time(process.pid))
        runner = Runner(home, 1, [long, short], lambda _: None)
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(runner.run(), name="chaos")
            while not (runner.done[long.kind, long.target] and is_stopped(process.pid)):
                await asyncio.sleep(0.01)
            before = runner.done[short.kind, short.target]
            while runner.done[short.kind, short.target] < before + 3:
                assert is_stopped(process.pid)
                await asyncio.sleep(0.01)
            running.cancel()
        async with asyncio.timeout(20):
            while is_stopped(process.pid):
                await asyncio.sleep(0.01)


async def test_a_fault_without_a_victim_is_told_and_not_counted(home: Home) -> None:
    habit = Habit(kind=Kind.CUT, target=Target.NETWORK, every_s=0.02)
    told: list[str] = []
    runner = Runner(home, 1, [habit], told.append)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(runner.run(), name="chaos")
        while not told:
            await asyncio.sleep(0.01)
        running.cancel()
    assert "there is none now" in told[0]
    assert not runner.done
