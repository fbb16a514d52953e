"""Samplers of what running processes do: py-spy for Python's, perf for the nats-server.

py-spy comes into an environment of the bench's own; it needs the right to trace. Stacks hold native
frames, too, so that what msgspec or the loop does is seen; a process is stopped for each sample, so
that its wall clock time is worth nothing then, but its CPU time is its own. perf is the system's
(Debian: `apt-get install linux-perf`); without it the nats-server is not split.
"""

import asyncio
import contextlib
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import cgroups, environments, stacks

SPY_HZ, PERF_HZ = 200, 997
ATTACH_S = 30.0


@dataclass(frozen=True)
class Sampled:
    """A process that is sampled, and where that is written."""

    kind: str
    path: Path

    async def shares(self) -> stacks.Shares:
        """Return what was found, once sampling has ended."""
        if self.path.suffix == ".folded":
            return stacks.of_python(self.path.read_text())
        script = await environments.call("perf", "script", "-i", str(self.path), "-F", "ip,sym")
        return stacks.of_server(script)


@asynccontextmanager
async def spied(
    kind: str, pid: int, folder: Path, group: cgroups.Group | None
) -> AsyncIterator[Sampled]:
    """Sample a Python process until the end."""
    path = folder / f"{kind}.folded"
    program = Path(await environments.python("spy")).parent / "py-spy"
    options = ["--native", "--full-filenames", "--rate", str(SPY_HZ), "--duration", "3600"]
    options += ["--format", "raw", "--output", str(path)]
    command = [str(program), "record", "--pid", str(pid), *options]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    async with _until_done(process, group):
        assert process.stdout is not None
        async with asyncio.timeout(ATTACH_S):
            while b"Sampling process" not in (line := await process.stdout.readline()):
                if not line:
                    told = f"py-spy cannot sample the {kind}"
                    raise environments.FailedError(told)
        yield Sampled(kind, path)


@asynccontextmanager
async def counted(
    kind: str, pid: int, folder: Path, group: cgroups.Group | None
) -> AsyncIterator[Sampled | None]:
    """Sample a program with symbols until the end; None where there is no perf."""
    program = shutil.which("perf")
    if program is None:
        yield None
        return
    path = folder / f"{kind}.perf"
    options = ["-F", str(PERF_HZ), "-g", "-p", str(pid), "-o", str(path)]
    process = await asyncio.create_subprocess_exec(
        program, "record", *options, stderr=asyncio.subprocess.DEVNULL
    )
    async with _until_done(process, group):
        yield Sampled(kind, path)


@asynccontextmanager
async def _until_done(
    process: asyncio.subprocess.Process, group: cgroups.Group | None
) -> AsyncIterator[None]:
    """Keep a sampler out of what is measured, and have it write at the end."""
    if group is not None:
        group.send_out(process.pid)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        await process.communicate()
