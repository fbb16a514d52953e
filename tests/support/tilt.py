"""What `tilt ci` does with local resources, without Tilt: starts them in their order, waits for their probes, runs what ends."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from tests.support import tiltfile
from tests.support.tiltfile import Call, Tiltfile

STOP_S = 30.0
"""What Tilt gives a process that it ends, too."""
_READY_S = 60.0
_LOOK_S = 0.05


class Processes:
    """Local resources that serve. Made by `running`."""

    def __init__(self, of: Tiltfile, folder: Path) -> None:
        self._of, self._folder = of, folder
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, name: str) -> None:
        """Start one, or end it and start it anew, as a change of its files does; return once it is ready."""
        await self.stop(name)
        given = self._of[name]
        with self.log(name).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *tiltfile.words(given["serve_cmd"]),
                cwd=given["serve_dir"],
                env={**os.environ, **given["serve_env"]},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._running[name] = process
        try:
            async with asyncio.timeout(_READY_S):
                while not await _ready(given["readiness_probe"]):
                    assert process.returncode is None, self.last_words(name)
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            told = f"{name} is not ready: {self.last_words(name)}"
            raise AssertionError(told) from None

    async def stop(self, name: str) -> None:
        """End one as Tilt does: its process group, and by force if it takes too long."""
        process = self._running.pop(name, None)
        if process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await process.wait()
                    return
        told = f"{name} did not end"
        raise AssertionError(told)

    async def run(self, name: str) -> str:
        """Run one that ends, and return what it said; it must end well."""
        given = self._of[name]
        process = await asyncio.create_subprocess_exec(
            *tiltfile.words(given["cmd"]),
            cwd=given["dir"],
            env={**os.environ, **given["env"]},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, said.decode()
        return said.decode()

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def last_words(self, name: str) -> str:
        return self.log(name).read_text()[-2000:]

    @property
    def names(self) -> list[str]:
        """Of those that run, in the order of their starts."""
        return list(self._running)


@asynccontextmanager
async def running(of: Tiltfile, folder: Path) -> AsyncIterator[Processes]:
    """Start all that serve, each once what it depends on is ready; end them all."""
    processes = Processes(of, folder)
    try:
        waiting = [name for name in of.started(asked=True) if of[name]["serve_cmd"]]
        while waiting:
            wave = [each for each in waiting if not {*of[each]["resource_deps"]} & {*waiting}]
            async with asyncio.TaskGroup() as tasks:
                for name in wave:
                    tasks.create_task(processes.start(name), name=name)
            waiting = [each for each in waiting if each not in wave]
        yield processes
    finally:
        for name in reversed(processes.names):
            await processes.stop(name)


async def _ready(probe: Call) -> bool:
    with contextlib.suppress(OSError, aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(probe["timeout_secs"]):
            if probe["http_get"]:
                return await _answers(probe["http_get"])
            if probe["tcp_socket"]:
                asked = probe["tcp_socket"]
                _, writer = await asyncio.open_connection(asked["host"], asked["port"])
                writer.close()
                return True
            command = probe["exec"]["command"]
            process = await asyncio.create_subprocess_exec(
                *command, stderr=asyncio.subprocess.DEVNULL
            )
            try:
                return await process.wait() == 0
            finally:
                if process.returncode is None:
                    process.kill()
    return False


async def _answers(asked: Call) -> bool:
    async with aiohttp.ClientSession() as session:
        url = f"http://{asked['host']}:{asked['port']}{asked['path']}"
        async with session.get(url) as response:
            return 200 <= response.status < 400
