"""A control group of our own, which knows the CPU time of all that ever ran in it.

The kernel charges a group while a process runs. So nothing is missed: neither what was orphaned and
reaped by somebody else, nor a user's command that lived between two looks, nor what was killed.
Version 2 of control groups is needed, and the right to make a group below the own one; the `cpu`
controller is not, for `cpu.stat` tells of each group. Root has that right, and a user whose system
gives him his own part of the tree. Where it is missing there is no group, and `metering` counts
processes instead.

Groups are charged with what is below them, too: a program that is measured by itself enters a group
below that of the bench, and its figures are differences taken while nothing else is measured.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "BENCH_GROUP"
"""Tells a program which group to enter before it starts anything."""

_PREFIX = "trunkline-bench-"
_END_S = 5.0


@dataclass(frozen=True)
class Group:
    """One control group."""

    path: Path

    def enter(self) -> None:
        """Move this process here; its children will start here."""
        (self.path / "cgroup.procs").write_text("0")

    def send_out(self, pid: int) -> None:
        """Move a process to the group above, where it is not charged to this one."""
        (self.path.parent / "cgroup.procs").write_text(str(pid))

    def cpu_s(self) -> float:
        """Return the CPU seconds of all that ran here, to the microsecond."""
        return parse_cpu_s((self.path / "cpu.stat").read_text())

    def pids(self) -> list[int]:
        """Return the processes that are here and in no group below."""
        return [int(each) for each in (self.path / "cgroup.procs").read_text().split()]

    @contextmanager
    def below(self, name: str) -> Iterator["Group"]:
        """Make a group below this one; it goes at the end."""
        group = Group(self.path / name)
        group.path.mkdir()
        try:
            yield group
        finally:
            group.end()

    def end(self) -> None:
        """Kill what is left here by those that have ended, and remove the group."""
        (self.path / "cgroup.kill").write_text("1")
        deadline = time.monotonic() + _END_S
        while self.pids() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.remove()

    def remove(self) -> None:
        """Remove the group, unless somebody is still in it."""
        with contextlib.suppress(OSError):
            self.path.rmdir()


@contextmanager
def entered() -> Iterator[Group | None]:
    """Make a group and move this process there, and back at the end; None where that is refused."""
    home = _own()
    group = None if home is None else _made(home)
    if home is None or group is None:
        yield None
        return
    try:
        yield group
    finally:
        home.enter()
        group.end()


def joined() -> Group | None:
    """Enter the group that the environment names, if it names one."""
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    group = Group(Path(named))
    group.enter()
    return group


def parse_cpu_s(stat: str) -> float:
    """Return the seconds in a group's `cpu.stat`."""
    return int(dict(line.split() for line in stat.splitlines())["usage_usec"]) / 1e6


def parse_mount(mounts: str) -> Path | None:
    """Return where version 2 is mounted, by /proc/mounts."""
    for line in mounts.splitlines():
        fields = line.split()
        if fields[2] == "cgroup2":
            return Path(fields[1])
    return None


def parse_own(memberships: str) -> str | None:
    """Return the path of the own version 2 group, by /proc/self/cgroup."""
    for line in memberships.splitlines():
        if line.startswith("0::"):
            return line.removeprefix("0::")
    return None


def _own() -> Group | None:
    try:
        mount = parse_mount(Path("/proc/mounts").read_text())
        path = parse_own(Path("/proc/self/cgroup").read_text())
    except OSError:
        return None
    return Group(mount / path.lstrip("/")) if mount is not None and path is not None else None


def _made(home: Group) -> Group | None:
    """Make a group and enter it, if we may; first remove what killed ones have left."""
    group = Group(home.path / f"{_PREFIX}{os.getpid()}")
    try:
        for path in home.path.glob(f"{_PREFIX}*"):
            for each in (*path.glob("*/"), path):
                Group(each).remove()
        group.path.mkdir()
        group.enter()
    except OSError:
        group.remove()
        return None
    return group
