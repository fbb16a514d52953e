"""What /proc tells of processes: who is whose child, CPU time and peak memory.

Only the standard library is used here: peers run in virtual environments of their own.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")

_SCHEDULED = 2
"""Which of a process's clocks: the time that it has run, in its threads that ended, too."""


@dataclass(frozen=True)
class Process:
    """One line of /proc/<pid>/stat."""

    pid: int
    parent: int
    ticks: int
    """Of itself and of the children that it has reaped."""


def parse_stat(line: str) -> Process:
    """Read a line of /proc/<pid>/stat; the name in it may hold blanks and parentheses."""
    before, _, after = line.rpartition(")")
    fields = after.split()
    # Fields are numbered from 1 in proc(5); `after` begins with field 3.
    ticks = sum(int(each) for each in fields[11:15])
    return Process(int(before.split(" ", 1)[0]), int(fields[1]), ticks)


def parse_peak(status: str) -> int:
    """Return VmHWM of /proc/<pid>/status in bytes; a zombie has none."""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def below(root: int, processes: Iterable[Process]) -> list[Process]:
    """Return the root and all its descendants."""
    children: dict[int, list[Process]] = {}
    found = []
    for each in processes:
        children.setdefault(each.parent, []).append(each)
        if each.pid == root:
            found.append(each)
    for each in found:  # grows while it is walked
        found.extend(children.get(each.pid, ()))
    return found


def tree(root: int) -> list[Process]:
    """Return a process and all below it, as they are now."""
    return below(root, (each for each in map(look, _pids()) if each is not None))


def look(pid: int) -> Process | None:
    """Return a process; None if it is gone."""
    try:
        return parse_stat((PROC / str(pid) / "stat").read_text())
    except OSError:
        return None


def own_cpu_s(pid: int) -> float | None:
    """Return the CPU time of a process without its children, to the nanosecond; None if it is gone.

    Made as clock_getcpuclockid(3) does it, which Python has for threads only.
    """
    try:
        return time.clock_gettime((~pid << 3) | _SCHEDULED)
    except OSError:
        return None


def peak(pid: int) -> int:
    """Return a process's peak of resident memory in bytes; 0 if it is gone."""
    try:
        return parse_peak((PROC / str(pid) / "status").read_text())
    except OSError:
        return 0


def command(pid: int) -> str:
    """Return a process's command line; empty if it is gone."""
    try:
        text = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return ""
    return text.decode(errors="replace").replace("\0", " ")


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
