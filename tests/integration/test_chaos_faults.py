"""What stands in front of NATS, and what goes wrong inside a process that was started for it."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from trunkline.chaos.core.schedule import Target
from trunkline.chaos.front import Front
from trunkline.chaos.inside import Control, State
from trunkline.local import server_files

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

INSIDE = """
import asyncio, sys, time
from trunkline.contracts import errors
from trunkline.runtime import ending
from trunkline.storage.store import open_store

async def main():
    store = open_store("memory://")
    try:
        key = await store.put(b"a")
        await store.get(key)
        found = "fine"
    except errors.UnavailableError as error:
        found = str(error)
    print(round(time.time()), round(time.time_ns() / 1e9), found)

ending.run(lambda: asyncio.run(main()))
"""


@asynccontextmanager
async def echoing(front: Front) -> AsyncIterator[int]:
    """Yield the port of a front before a server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(100):
                writer.write(data)
        writer.transport.abort()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    behind = server.sockets[0].getsockname()[1]
    (port,) = server_files.more({behind}, 1)
    async with server, front.standing([(port, behind)]):
        yield port


async def said(connection: Connection, text: bytes) -> bytes:
    reader, writer = connection
    writer.write(text)
    return await reader.readexactly(len(text))


async def test_a_front_hands_on_what_comes_until_it_cuts() -> None:
    front = Front()
    async with asyncio.timeout(20), echoing(front) as port:
        first = await asyncio.open_connection("127.0.0.1", port)
        front.delay_s = 0.001
        assert await said(first, b"one") == b"one"
        front.cut()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await said(first, b"two")
        second = await asyncio.open_connection("127.0.0.1", port)
        assert await said(second, b"three") == b"three"
        for _, writer in (first, second):
            writer.close()


async def test_a_silent_front_loses_nothing() -> None:
    front = Front()
    async with asyncio.timeout(20), echoing(front) as port:
        connection = await asyncio.open_connection("127.0.0.1", port)
        assert await said(connection, b"before") == b"before"
        front.hold()
        waiting = asyncio.ensure_future(said(connection, b"meanwhile"))  # noqa: TID251
        other = await asyncio.open_connection("127.0.0.1", port)
        assert not waiting.done()
        front.flow()
        assert await waiting == b"meanwhile"
        for _, writer in (connection, other):
            writer.close()


def inside(control: Control | None, module: str = "") -> list[str]:
    """Return what a process says of its two wall clocks and its store."""
    environment = {**os.environ, **(control.environment() if control else {})}
    done = subprocess.run(
        [sys.executable, "-c", INSIDE, module],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip().split(" ", 2)


def test_a_process_that_was_started_for_it_has_the_faults_that_the_control_file_says(
    tmp_path: Path,
) -> None:
    control = Control(tmp_path / "control.json")
    now_s = time.time_ns() / 1e9
    with control.clock_during(Target.COORDINATOR, 7200):
        seconds, also, found = inside(control, "trunkline.coordinator")
    assert found == "fine"
    assert int(also) - int(seconds) in (0, 1)
    assert 7200 <= int(seconds) - now_s + 1 < 7200 + 60
    control.change(full=True)
    *_, found = inside(control, "trunkline.coordinator")
    assert "No space left on device" in found
    control.change(full=False, failing=1.0)
    *_, found = inside(control, "trunkline.local.pool")
    assert "made to fail" in found
    assert msgspec.json.decode(control.file.read_bytes())["failing"] == 1.0


def test_the_end_of_a_fault_leaves_what_others_do_and_what_is_so_all_the_time(
    tmp_path: Path,
) -> None:
    control = Control(tmp_path / "control.json")

    def state() -> State:
        return msgspec.json.decode(control.file.read_bytes(), type=State)

    control.change(failing=0.5)
    first, second = control.during(failing=0.1), control.during(failing=0.2)
    full, clock = control.during(full=True), control.clock_during(Target.SCALER, 60)
    for fault in (first, second, full, clock):
        fault.__enter__()
    with control.clock_during(Target.SCALER, -60), control.clock_during(Target.WORKER, 5):
        assert state() == State(failing=0.2, full=True, clocks_s={"scaler": -60, "worker": 5})
    assert state() == State(failing=0.2, full=True, clocks_s={"scaler": 60})
    first.__exit__(None, None, None)
    assert state().failing == 0.2
    for fault in (second, full, clock):
        fault.__exit__(None, None, None)
    assert state() == State(failing=0.5)


def test_a_process_without_it_is_as_ever() -> None:
    seconds, _, found = inside(None)
    assert found == "fine"
    assert abs(int(seconds) - time.time_ns() / 1e9) < 60
