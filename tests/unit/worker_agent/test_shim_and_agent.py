"""A shim and its agent: what each does when the other goes, says nonsense, or is a newer one."""

import asyncio
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from tests.support import shims
from tests.support.processes import gone
from tests.support.shim_runs import ENV, Heard, run, sh

from trunkline.runtime.clock import SystemClock
from trunkline.worker_agent import protocol
from trunkline.worker_agent.core import outcome
from trunkline.worker_agent.link import Link, ShimLostError, accept
from trunkline.worker_agent.process import Command, Runner
from trunkline.worker_agent.protocol import HelloFlag, Kind


async def test_a_shim_that_is_killed_is_told_at_once(shim):
    heard = Heard()

    async def lost() -> float:
        with pytest.raises(ShimLostError):
            await run(shim, *sh("echo $$; sleep 60"), heard=heard)
        return time.monotonic()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(lost())
        async with asyncio.timeout(10):
            await heard.until(b"\n")
        shim.process.kill()
        killed_s = time.monotonic()
    os.kill(int(heard.stdout), signal.SIGKILL)
    assert task.result() - killed_s < 2
    assert shim.link.lost.is_set()
    with pytest.raises(ShimLostError):
        await run(shim, "true")


async def test_without_its_agent_the_shim_kills_everything(shim):
    heard = Heard()

    async def lost():
        with pytest.raises(ShimLostError):
            await run(shim, *sh("setsid sleep 60 & echo $!; echo $$; exec sleep 60"), heard=heard)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(lost())
        async with asyncio.timeout(10):
            while heard.stdout.count(b"\n") < 2:
                heard.more.clear()
                await heard.more.wait()
        shim.link.close()
    await shim.left_us()
    for pid in heard.stdout.split():
        await gone(int(pid))


async def test_bye_ends_the_shim_with_zero(shim):
    shim.link.bye()
    assert await shim.code() == 0


async def test_sigterm_is_told_to_the_agent_and_the_shim_goes_on(shim):
    told = asyncio.Event()
    shim.link._on_term = told.set
    shim.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        await told.wait()
    assert (await run(shim, "true")).ended == outcome.Exited(0)


async def test_garbage_from_the_agent_ends_the_connection(shim):
    shim.link._socket.send(b"\xff" * 64)
    await shim.left_us()


async def test_frames_of_a_newer_agent_are_skipped(shim):
    shim.link._socket.send(b"\x05\0\0\0\x63\x01\0\0\0")
    assert (await run(shim, "true")).ended == outcome.Exited(0)


async def meet(path: str, *, terminating: bool) -> Link:
    async with asyncio.timeout(10):
        link = Link(await accept(path))
        told_to_end = asyncio.Event()
        link._on_term = told_to_end.set
        assert not Path(path).exists()  # while it is there, nobody else can come
        hello = await link.hello()
        if terminating and HelloFlag.TERMINATING not in hello.flags:
            await told_to_end.wait()  # the signal came between its HELLO and our look
    assert terminating or HelloFlag.TERMINATING not in hello.flags
    heard = Heard()
    told = await Runner(link, clock=SystemClock()).run(Command(sh("echo hi"), ENV), heard)
    assert (told.ended, bytes(heard.stdout)) == (outcome.Exited(0), b"hi\n")
    return link


@pytest.mark.parametrize("kind", shims.BOTH)
async def test_a_shim_on_a_path_serves_one_agent_after_the_other(kind):
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/agent.sock"
        argv = shims.on_path(kind, path)
        with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as started:
            try:
                first = await meet(path, terminating=False)
                first.close()
                started.send_signal(signal.SIGTERM)
                second = await meet(path, terminating=True)
                second.bye()
                async with asyncio.timeout(10):
                    await second.lost.wait()
                assert await asyncio.to_thread(started.wait, 10) == 0
            finally:
                started.kill()


async def until(kind: Kind, connected: socket.socket) -> tuple[protocol.Frame, list[int]]:
    """Read as a shim does, up to a frame of this kind."""
    decoder, descriptors = protocol.Decoder(), []
    while True:
        data, found, _, _ = await asyncio.to_thread(socket.recv_fds, connected, 65536, 16)
        descriptors += found
        for frame in decoder.feed(data):
            if frame.kind == kind:
                return frame, descriptors


async def test_pipes_that_something_unkillable_holds_are_given_to_nobody_else():
    ours, theirs = socket.socketpair()
    runner = Runner(Link(ours), clock=SystemClock())
    command, heard = Command(("x",), {}), Heard()
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run(command, Heard()))
        spawn, (_, old, _) = await until(Kind.SPAWN, theirs)
        theirs.sendall(protocol.exited(spawn.id, protocol.Exited(0, left=1)))
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run(command, heard))
        spawn, (_, new, _) = await until(Kind.SPAWN, theirs)
        with pytest.raises(BrokenPipeError):
            os.write(old, b"late")
        os.write(new, b"mine")
        theirs.sendall(protocol.exited(spawn.id, protocol.Exited(0)))
    assert heard.stdout == b"mine"
    theirs.close()


async def test_a_command_by_a_recipe_that_is_not_there_ends_the_connection(shim):
    shim.link._socket.send(protocol.spawn(1, 9, {}))
    await shim.left_us()


async def test_a_recipe_without_its_descriptors_ends_the_connection(shim):
    shim.link._socket.send(protocol.recipe(0, protocol.Recipe(("true",), {})))
    await shim.left_us()
