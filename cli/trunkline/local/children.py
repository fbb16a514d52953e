"""One service as a child process: started, started again when it dies, stopped in bounded time.

    starting --> running --died--> (back-off) --> starting
                    |
                    +--stopping: SIGTERM --in time--> gone
                                    +--not in time--> SIGKILL --> gone

What a crash of the supervisor between any two lines leaves behind: the kernel sends each child
SIGTERM when its parent is gone (PR_SET_PDEATHSIG, set in the child before its program starts, and
checked once more against a parent that died in between), so a killed supervisor takes its services
with it. On a system without prctl, or for a child that will not go, the next supervisor finds
`pids/<service>.pid`: a process id together with the start time of that process, so that a recycled
id is never taken for a service. The file is written after the start and removed after the end; a
crash in between leaves a child without a file, which the kernel's signal takes care of.

Children get a session of their own: Ctrl-C on the terminal reaches the supervisor alone, which
then stops them in the right order.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from trunkline.runtime import backoff

log = logging.getLogger(__name__)

STEADY_S = 10.0
"""A child that lived this long is started again at once, and its former deaths are forgotten."""

_PROLOGUE = """\
import os, signal, sys
parent, files, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
if files:
    import resource
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
if os.getppid() != parent:
    sys.exit("the supervisor is gone")
os.execv(program[0], program)
"""
"""Runs in the child, in place of a `preexec_fn`, which is unsafe beside threads."""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """What is to run."""

    name: str
    command: tuple[str, ...]
    """The program by its full path, and its arguments."""
    env: dict[str, str] = {}
    """Added to the supervisor's own environment."""
    stop_s: float = 10.0
    """How long it may take to end after SIGTERM."""
    inherits: tuple[int, ...] = ()
    """File descriptors of ours that it gets, under the same numbers."""
    many_files: bool = False
    """Whether it gets as many file descriptors as the system lets us give: a nats-server needs one
    for each stream and each connection."""


class Child:
    """One service of one supervisor."""

    def __init__(
        self, service: Service, *, pids: Path, logs: Path, tell: Callable[[str], None]
    ) -> None:
        self.service = service
        self.starts = 0
        self.pid = 0
        """Of the process that runs now; 0 while there is none."""
        self._pid_file = pids / f"{service.name}.pid"
        self._log_file = logs / f"{service.name}.log"
        self._tell = tell
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Keep the service running until `stop`; then return once it is gone."""
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            ended = await self._live()
            if self._stopping.is_set():
                return
            failures = 0 if time.monotonic() - began >= STEADY_S else failures + 1
            wait_s = 0.0 if failures <= 1 else backoff.delay_s(failures - 2, first_s=0.2)
            self._tell(f"{self.service.name} {ended}; {_again(wait_s)}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()

    def stop(self) -> None:
        """Let `run` end the service and return."""
        self._stopping.set()

    def kill(self, number: signal.Signals) -> None:
        """Send the process that runs now a signal."""
        if not self.pid:
            raise ProcessLookupError(self.service.name)
        os.kill(self.pid, number)

    async def started(self, after: int = 0) -> int:
        """Return the process id once the service runs and was started more than `after` times."""
        while not (self.pid and self.starts > after):
            self._changed.clear()
            await self._changed.wait()
        return self.pid

    async def _live(self) -> str:
        """Have one process of it, from its start to its end; return what became of it."""
        try:
            process = await self._start()
        except OSError as error:  # a full disk, no memory: this passes, and must not end the others
            return f"could not be started: {error}"
        try:
            code = await self._until_gone(process)
        finally:
            await self._end(process)
        return _ended(code)

    async def _start(self) -> asyncio.subprocess.Process:
        descriptor = os.open(self._log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", "-c", _PROLOGUE, str(os.getpid()), f"{self.service.many_files:d}"),
                *self.service.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env={**os.environ, **self.service.env},
                start_new_session=True,
                pass_fds=self.service.inherits,
            )
        finally:
            os.close(descriptor)
        self.pid = process.pid
        self.starts += 1
        with contextlib.suppress(OSError):  # without it the kernel's signal clears up
            record(self._pid_file.parent, self.service.name, process.pid)
        self._changed.set()
        return process

    async def _until_gone(self, process: asyncio.subprocess.Process) -> int:
        """Return the exit code; end the process when `stop` is called."""
        async with asyncio.TaskGroup() as tasks:
            gone = tasks.create_task(process.wait(), name=f"{self.service.name}-gone")
            stopping = tasks.create_task(self._stopping.wait(), name=f"{self.service.name}-stop")
            await asyncio.wait({gone, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not gone.done():
                await self._terminate(process)
        return process.returncode or 0

    async def _terminate(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(self.service.stop_s):
                await process.wait()
        except TimeoutError:
            self._tell(f"{self.service.name} did not stop in {self.service.stop_s:g} s; killed")
            process.kill()
            await process.wait()

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """Leave nothing behind, also when the supervisor is cancelled in the middle."""
        if process.returncode is None:
            process.kill()
            await process.wait()
        self.pid = 0
        self._changed.set()
        self._pid_file.unlink(missing_ok=True)


def record(pids: Path, name: str, pid: int) -> None:
    """Write down which process a service is."""
    (pids / f"{name}.pid").write_text(f"{pid} {start_time(pid)}\n")


def recorded(pids: Path) -> dict[str, int]:
    """Return the services that run, as was written down, with their processes."""
    found = {path.stem: _recorded(path) for path in _files(pids)}
    return {name: pid for name, pid in found.items() if pid is not None}


async def clear_leftovers(
    pids: Path, *, only: str | None = None, grace_s: float = 5.0
) -> list[str]:
    """End what a killed supervisor left running; return the names of the services that were.

    Args:
        pids: Where it is written down.
        only: Of this service alone.
        grace_s: How long they may take before they are killed.
    """
    left: dict[str, int] = {}
    for path in _files(pids):
        if only not in (None, path.stem):
            continue
        pid = _recorded(path)
        if pid is not None:
            left[path.stem] = pid
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        path.unlink(missing_ok=True)
    deadline = time.monotonic() + grace_s
    for pid in left.values():
        while start_time(pid) and time.monotonic() < deadline:  # noqa: ASYNC110 - no child of ours
            await asyncio.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):
            if start_time(pid):
                os.kill(pid, signal.SIGKILL)
    return list(left)


def start_time(pid: int) -> str:
    """Return when a process started, in the kernel's ticks; empty if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]


def _files(pids: Path) -> list[Path]:
    return sorted(pids.glob("*.pid"))


def _recorded(path: Path) -> int | None:
    """Return the process that a pid file names, if it is still the same one."""
    try:
        pid, _, started = path.read_text().strip().partition(" ")
        number = int(pid)
    except (OSError, ValueError):
        return None
    return number if started and start_time(number) == started else None


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs one of our modules."""
    return (sys.executable, "-m", module, *arguments)


def _ended(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _again(wait_s: float) -> str:
    return "started again" if wait_s == 0 else f"starting it again in {wait_s:.1f} s"


def last_lines(path: Path, count: int = 5) -> Sequence[str]:
    """Return the end of a log, to tell why a service does not start."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8192))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []
