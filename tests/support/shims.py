"""Both shims, each as a process that a test speaks to: one suite tells what both must do.

`python` is a local worker's, at the other end of a socket pair, and ends with its agent; `static` is a
container's, which comes to a path, and stays for the next agent.
"""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from trunkline.runtime.clock import SystemClock
from trunkline.worker_agent import shim, static_shim
from trunkline.worker_agent.link import Link, accept
from trunkline.worker_agent.process import Runner

BOTH = ("python", "static")
CACHE = Path(__file__).parents[2] / ".cache" / "shim"
"""Where `make shim-tests` puts what only tests need."""

_PAIR = (
    "import socket, sys; from trunkline.worker_agent import shim;"
    "sys.exit(shim.serve_one(socket.socket(fileno=int(sys.argv[1]))))"
)
_ENVIRON = {**os.environ, "OF_THE_IMAGE": "yes"}


def on_path(kind: str, path: str, wait_s: float = 10) -> list[str]:
    """Return the command line of a shim that comes to a path."""
    if kind == "python":
        return [sys.executable, "-m", "trunkline.worker_agent.shim", path, str(wait_s)]
    return [str(static_shim.binary()), path, str(wait_s)]


class ShimProcess:
    """A shim in a process of its own, and our end of the line to it."""

    def __init__(self, process: subprocess.Popen[bytes], connected: socket.socket) -> None:
        self.process = process
        self.link = Link(connected)
        self.runner = Runner(self.link, clock=SystemClock())
        self.stays = False
        """Whether it waits for the next agent."""

    async def code(self) -> int:
        return await asyncio.to_thread(self.process.wait, 10)

    async def left_us(self) -> None:
        """Wait until it has ended the connection, and does then what it is to do."""
        async with asyncio.timeout(10):
            await self.link.lost.wait()
        if self.stays:
            assert self.process.poll() is None
        else:
            assert await self.code() == shim.EXIT_AGENT_LOST

    def end(self) -> None:
        self.link.close()
        if self.stays:
            self.process.kill()
        try:
            self.process.wait(10)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait(5)


def of_pair() -> ShimProcess:
    """Start a local worker's."""
    ours, theirs = socket.socketpair()
    with theirs:
        number = theirs.fileno()
        argv = [sys.executable, "-c", _PAIR, str(number)]
        return ShimProcess(subprocess.Popen(argv, pass_fds=[number], env=_ENVIRON), ours)


async def come(argv: Sequence[str], path: str) -> ShimProcess:
    """Start one that comes to a path."""
    process = subprocess.Popen(argv, env=_ENVIRON, stderr=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(10):
            started = ShimProcess(process, await accept(path))
    except BaseException:
        process.kill()
        process.wait(5)
        raise
    started.stays = True
    return started
