"""A command as process 1 of its own mount and process namespaces, with its own user id and root.

Two processes stand for a container (`enter.py`): an outer one, which makes the namespaces, waits, and
ends with the exit code of the inner one; and that, which becomes the command. Only the outer one is a child
of ours. It dies with us, and the inner one with it; the death of a process 1 is the death of all in its namespace. So no
crash of ours leaves a process behind.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.cluster.kubelet import images
from tests.cluster.kubelet.memory import Memory, Unlimited

_ENTER = Path(__file__).with_name("enter.py")


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A directory or file of the host's at a place in the container."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a container is to be."""

    command: list[str]
    env: dict[str, str]
    directories: tuple[str, ...]
    mounts: list[Mount] = field(default_factory=list)
    workdir: str = "/"
    uid: int = 0
    gid: int = 0
    groups: list[int] = field(default_factory=list)
    drop_all: bool = False
    no_new_privileges: bool = False
    read_only_root: bool = False


class CannotStartError(Exception):
    """The command could not be started; the text is what a container runtime would say."""


class NamespacesRefusedError(Exception):
    """This machine lets us make no containers."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"no mount and process namespaces can be had here, and tests of pods need them: {why}."
            " Run them as root, with CAP_SYS_ADMIN"
        )


class Sandbox:
    """A container that has been started."""

    def __init__(self, outer: asyncio.subprocess.Process, memory: Memory, plan: Plan) -> None:
        self._outer, self._memory, self._plan = outer, memory, plan
        self.pid = 0
        """The command, on the host; 0 where it had ended at once."""
        self._handle: int | None = None
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, IndexError):
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text()
            self.pid = int(children.split()[0])
            self._handle = os.pidfd_open(self.pid)

    def send(self, number: int) -> None:
        """Send a signal to the command; one that has ended gets none."""
        if self._handle is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    async def execute(self, words: list[str]) -> int:
        """Run something in the container, as its user; return the exit code."""
        plan = self._plan
        user = ("--setuid", str(plan.uid), "--setgid", str(plan.gid))
        nsenter = shutil.which("nsenter")
        assert nsenter is not None, "nsenter is in util-linux"
        process = await asyncio.create_subprocess_exec(
            *(nsenter, "--target", str(self.pid), "--mount", "--pid", *user, "--", *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=plan.env,
        )
        try:
            return await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise

    async def wait(self) -> tuple[int, bool]:
        """Wait for its end; return the exit code (128 + signal) and whether memory was the cause."""
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(
                self._memory.watch(self.pid, lambda: self.send(signal.SIGKILL)), name="memory"
            )
            code = await self._outer.wait()
            watching.cancel()
        return code, self._memory.exhausted()

    def close(self) -> None:
        """Let go of what belonged to it, once it has ended."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        self._memory.close()


async def start(plan: Plan, directory: Path, log: Path, memory: Memory) -> Sandbox:
    """Start a container; its plan and its mount point lie in the directory.

    Raises:
        CannotStartError: The command is not there, or a mount failed. Nothing is left running.
    """
    directory.mkdir(parents=True, exist_ok=True)
    heard, answer = os.pipe()
    try:
        outer = await _enter(_write(plan, directory, answer, memory), log, answer)
    except BaseException:
        os.close(heard)
        memory.close()
        raise
    finally:
        os.close(answer)
    try:
        refused = await _read(heard)
    except BaseException:
        await _give_up(outer, memory)
        raise
    if refused:
        await _give_up(outer, memory)
        raise CannotStartError(refused)
    return Sandbox(outer, memory, plan)


async def _give_up(outer: asyncio.subprocess.Process, memory: Memory) -> None:
    with contextlib.suppress(ProcessLookupError):
        outer.kill()
    await outer.wait()
    memory.close()


def _write(plan: Plan, directory: Path, answer: int, memory: Memory) -> Path:
    """Write the plan, for nobody else to read: it holds what the pod's secrets say."""
    root, path = directory / "root", directory / "plan.json"
    root.mkdir(exist_ok=True)
    path.touch(mode=0o600)
    places = {"root": root, "cgroup": memory.cgroup, "counters": memory.counters}
    planned = {name: None if place is None else str(place) for name, place in places.items()}
    path.write_text(json.dumps({**asdict(plan), **planned, "answer": answer}))
    return path


async def _enter(plan: Path, log: Path, answer: int) -> asyncio.subprocess.Process:
    enter = (sys.executable, "-IS", str(_ENTER), str(plan))
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", *enter),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[answer],
            start_new_session=True,
        )


async def prove(directory: Path) -> None:
    """See whether containers can be made here.

    Raises:
        NamespacesRefusedError: They cannot.
    """
    plan = Plan(command=["/bin/true"], env={"PATH": "/bin"}, directories=images.HOST)
    try:
        sandbox = await start(plan, directory / "proof", directory / "proof.log", Unlimited())
        await sandbox.wait()
        sandbox.close()
    except CannotStartError as error:
        raise NamespacesRefusedError(str(error)) from error


async def _read(heard: int) -> str:
    """Return what the container says before its command runs: nothing, unless it cannot."""
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: protocol, os.fdopen(heard, "rb", buffering=0)
    )
    try:
        return (await reader.read()).decode()
    finally:
        transport.close()
