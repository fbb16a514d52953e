"""Commands that tests have a shim run, and what is heard of them."""

import asyncio
import os

from trunkline.worker_agent.process import Command

ENV = {"PATH": os.environ["PATH"]}


class Heard:
    def __init__(self):
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.more = asyncio.Event()

    def __call__(self, stream, data):
        getattr(self, stream).extend(data)
        self.more.set()

    async def until(self, text: bytes) -> None:
        while text not in self.stdout:
            self.more.clear()
            await self.more.wait()


async def run(shim, *argv, heard=None, timeout_s=None, stdin=b"", env=None, cwd="", umask=0o022):
    command = Command(argv, ENV if env is None else env, cwd, stdin, umask)
    return await again(shim, command, heard, timeout_s=timeout_s)


async def again(shim, command, heard=None, *, own=None, timeout_s=None):
    async with asyncio.timeout(20):
        return await shim.runner.run(command, heard or Heard(), own=own, timeout_s=timeout_s)


def sh(text: str) -> tuple[str, ...]:
    return ("sh", "-c", text)
