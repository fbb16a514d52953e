"""The supervisor: what dies is started again, what is stopped is gone, and one has a directory."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from trunkline.contracts import api, records
from trunkline.local import stack as stacks
from trunkline.local.home import Home, NotRunningError


@pytest.fixture
def home() -> Iterator[Home]:
    root = Path(tempfile.mkdtemp(prefix="tl-"))
    yield Home(root)
    shutil.rmtree(root, ignore_errors=True)


def processes_of(home: Home) -> list[psutil.Process]:
    """Return every process that was told of this directory, by its arguments or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(home.root) in text for text in told):
            found.append(process)
    return found


async def until_no_process_is_left(home: Home) -> None:
    async with asyncio.timeout(30):
        while left := processes_of(home):
            assert left
            await asyncio.sleep(0.05)


async def test_a_stopped_installation_leaves_no_process_and_starts_again_where_it_stood(
    home: Home,
) -> None:
    async with stacks.running(home, nodes=3, port=0) as stack:
        assert set(stack.pids) == {"nats-server", "coordinator", "scaler", "pool"}
        async with stack.client() as client:
            await client.call("repo.create", api.RepoCreate(name="kept"), records.Repo)
        url = stack.url
    await until_no_process_is_left(home)
    with pytest.raises(NotRunningError):
        home.read_context()
    async with stacks.running(home) as stack, stack.client() as client:
        assert stack.url == url
        assert (await client.call("nodes.get", None, records.Nodes)).count == 3
        await client.call("repo.get", api.Named(name="kept"), api.RepoView)


async def test_every_service_that_is_killed_is_started_again_and_only_a_fault_of_ours_ends_all(
    home: Home,
) -> None:
    """1. All are killed in turn, while nobody is there to be told. 2. What keeps one has a fault: that is told."""
    told: list[str] = []
    listener: Exception = BrokenPipeError()

    def tell(text: str) -> None:
        told.append(text)
        if "was ended by SIGKILL" in text:
            raise listener

    async def broken() -> None:
        nonlocal listener
        async with stacks.running(home, nodes=1, port=0, tell=tell) as stack:
            for service in stacks.STOP_ORDER:
                before = stack.pids[service]
                stack.kill(service)
                async with asyncio.timeout(10):
                    assert await stack.restarted(service, after=1) != before
            async with stack.client() as client:
                await client.call("status", None, api.Status)
            listener = LookupError("no such service")
            stack.kill("coordinator")
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup):
        await broken()
    assert [line.partition(" ")[0] for line in told[:4]] == [*stacks.STOP_ORDER, "coordinator"]
    assert told[-1] == "stopping: coordinator cannot be kept running: LookupError: no such service"
    await until_no_process_is_left(home)


async def test_a_second_supervisor_is_refused_and_harms_nothing(home: Home) -> None:
    async with stacks.running(home, nodes=1, port=0) as stack:
        pids = stack.pids
        with pytest.raises(stacks.AlreadyRunningError) as refused:
            async with stacks.running(home):
                pass
        assert refused.value.pid == str(os.getpid())
        assert home.supervisor() == os.getpid()
        assert stack.pids == pids


async def test_a_killed_supervisor_takes_its_services_along_and_the_next_one_goes_on(
    home: Home,
) -> None:
    """Kill -9 of the supervisor is a crash of everything at once."""
    command = [sys.executable, "-m", "trunkline.local", "--home", str(home.root), "--port", "0"]
    supervisor = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert supervisor.stderr is not None
        async with asyncio.timeout(30):
            said = ""
            while "store: " not in said:
                said += await asyncio.to_thread(supervisor.stderr.readline)
        assert ":***@" in said  # a log may keep it, so there is no password in it
        password = urlsplit(home.read_context().url).password
        assert password and password not in said  # noqa: PT018 - it has one
        assert home.supervisor() == supervisor.pid
        supervisor.send_signal(signal.SIGKILL)
        supervisor.wait()
        await until_no_process_is_left(home)
    finally:
        supervisor.kill()
        supervisor.communicate()
    assert home.supervisor() is None
    async with stacks.running(home) as stack, stack.client() as client:
        await client.call("status", None, api.Status)


async def test_what_does_not_come_up_says_why(home: Home) -> None:
    settings = {"TRUNKLINE_ACK_WAIT_S": "soon"}
    with pytest.raises(stacks.StartError) as failed:
        async with stacks.running(home, port=0, settings=settings, ready_s=7):
            pass
    assert "TRUNKLINE_ACK_WAIT_S" in str(failed.value)
    await until_no_process_is_left(home)


async def test_ctrl_c_stops_an_installation_in_the_foreground_in_good_order_and_is_told(
    home: Home,
) -> None:
    command = [sys.executable, "-m", "trunkline.cli", "up", "--home", str(home.root), "--port", "0"]
    up = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert up.stderr is not None
        async with asyncio.timeout(30):
            while "store: " not in await asyncio.to_thread(up.stderr.readline):
                pass
        up.send_signal(signal.SIGINT)
        _, told = await asyncio.to_thread(up.communicate, timeout=30)
        line = "stopping: told to by SIGINT"
        assert (up.returncode, told) == (0, f"{line}\n")
        assert line in (home.logs / "supervisor.log").read_text()
        await until_no_process_is_left(home)
    finally:
        up.kill()
        up.communicate()
