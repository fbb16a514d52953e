import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from trunkline.runtime.clock import SystemClock
from trunkline.worker_agent.link import Link
from trunkline.worker_agent.process import Runner

_SHIM = (
    "import socket, sys; from trunkline.worker_agent import shim;"
    "sys.exit(shim.serve_one(socket.socket(fileno=int(sys.argv[1]))))"
)


class ShimProcess:
    """A shim in a process of its own, at the other end of a socket pair."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-c", _SHIM, str(number)], pass_fds=[number]
            )
        self.link = Link(ours)
        self.runner = Runner(self.link, clock=SystemClock())

    async def code(self) -> int:
        return await asyncio.to_thread(self.process.wait, 10)


@pytest.fixture
async def shim() -> AsyncIterator[ShimProcess]:
    started = ShimProcess()
    try:
        async with asyncio.timeout(10):
            await started.link.hello()
        yield started
    finally:
        started.link.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.process.wait(10)
        if started.process.poll() is None:
            started.process.kill()
            started.process.wait(5)
