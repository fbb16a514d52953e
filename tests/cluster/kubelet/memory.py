"""Memory limits of containers, and who is killed when one is passed.

By a cgroup (version 1) where this machine lets us make one: then the kernel kills. Elsewhere by looking at
what the processes have resident, some times a second: then we kill. Either way the container sees
how many were killed in `/sys/fs/cgroup/memory/memory.oom_control`, as it does on a node. `LIMITED_BY` says which of them it is here.

Who is killed: the largest process of the container, as on nodes with cgroups of version 1 or with
`singleProcessOOMKill`; or, `whole=True`, the container, as on nodes with cgroups of version 2.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import psutil
from tests.cluster import leftovers

Kill = Callable[[], None]
"""Kills the container's first process, and so all of them."""


class Memory(Protocol):
    """The memory of one container, from before its start to after its end."""

    cgroup: Path | None
    """What its first process has to join."""
    counters: Path | None
    """A directory with the file `memory.oom_control`, to be shown to it as its own group."""

    async def watch(self, first: int, kill: Kill) -> None:
        """See to the limit until cancelled; `first` is the container's process 1, on the host."""

    def exhausted(self) -> bool:
        """Say whether somebody was killed for it. Asked once the container has ended."""

    def close(self) -> None:
        """Forget it."""


class Unlimited:
    """The memory of a container without a limit."""

    cgroup: Path | None = None
    counters: Path | None = None

    async def watch(self, first: int, kill: Kill) -> None:
        """Do nothing."""

    def exhausted(self) -> bool:
        """Never is."""
        return False

    def close(self) -> None:
        """Do nothing."""


class CgroupMemory:
    """Limited by the kernel."""

    def __init__(self, parent: Path, limit: int, *, whole: bool) -> None:
        self._group = leftovers.make(parent, "memory", Path.rmdir)
        self.cgroup: Path | None = self._group
        self.counters: Path | None = self._group
        self._whole, self._seen = whole, False
        (self._group / "memory.limit_in_bytes").write_text(str(limit))
        self._control = (self._group / "memory.oom_control").open()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        registration = f"{self._event} {self._control.fileno()}"
        (self._group / "cgroup.event_control").write_text(registration)

    async def watch(self, first: int, kill: Kill) -> None:  # noqa: ARG002 - the kernel knows it
        """Hear of a kill, and let the whole container follow where that is asked for."""
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._event, self._hear, told)
        try:
            await told.wait()
            if self._whole:
                kill()
        finally:
            loop.remove_reader(self._event)

    def _hear(self, told: asyncio.Event) -> None:
        os.eventfd_read(self._event)
        self._seen = True
        told.set()

    def exhausted(self) -> bool:
        """Ask the kernel's counter, too: the container may have ended before we heard."""
        self._control.seek(0)
        counters = dict(line.split() for line in self._control)
        return self._seen or counters.get("oom_kill", "0") != "0"

    def close(self) -> None:
        """Remove the group, in which no process is left, or one that is just dying: it is a leftover then."""
        os.close(self._event)
        self._control.close()
        with contextlib.suppress(OSError):
            self._group.rmdir()


class ResidentMemory:
    """Limited by looking; the counter that the container sees is a file that we write."""

    cgroup: Path | None = None

    def __init__(self, limit: int, *, whole: bool) -> None:
        self._limit, self._whole, self._kills = limit, whole, 0
        self._shown = leftovers.make(Path(tempfile.gettempdir()), "memory")
        self.counters: Path | None = self._shown
        self._count()

    async def watch(self, first: int, kill: Kill) -> None:
        """Look at all processes of the container."""
        while True:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._look(psutil.Process(first), kill)
            await asyncio.sleep(0.05)

    def _look(self, first: psutil.Process, kill: Kill) -> None:
        sizes = {process: process.memory_info().rss for process in (first, *first.children(True))}
        if sum(sizes.values()) <= self._limit:
            return
        self._kills += 1
        self._count()  # first: who learns of the death may ask at once
        largest = max(sizes, key=lambda process: sizes[process])
        if self._whole or largest == first:
            kill()
        else:
            largest.kill()

    def _count(self) -> None:
        path = self._shown / "memory.oom_control"
        path.write_text(f"oom_kill_disable 0\nunder_oom 0\noom_kill {self._kills}\n")

    def exhausted(self) -> bool:
        """Say whether we killed."""
        return self._kills > 0

    def close(self) -> None:
        """Remove the counter."""
        shutil.rmtree(self._shown)


def _own_group() -> Path | None:
    """Return the memory cgroup in which we may make others; None where there is none."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = [line.split(":", 2)[2] for line in lines if line.split(":")[1] == "memory"]
    for parent in (Path(f"/sys/fs/cgroup/memory{path}") for path in (*own, "/")):
        with contextlib.suppress(OSError):
            leftovers.make(parent, "memory", Path.rmdir).rmdir()
            return parent
    return None


_PARENT = _own_group()
LIMITED_BY = f"cgroups in {_PARENT}" if _PARENT else "looking at resident memory"


def limited(limit: int | None, *, whole: bool, by_looking: bool = False) -> Memory:
    """Return the memory of a container that is about to start; the limit is in bytes."""
    if limit is None:
        return Unlimited()
    if _PARENT is None or by_looking:
        return ResidentMemory(limit, whole=whole)
    return CgroupMemory(_PARENT, limit, whole=whole)
