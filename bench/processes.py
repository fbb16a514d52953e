"""CPU time and peak memory of a process and all below it, read from /proc.

CPU is user and system time of each living process and of the children that it has reaped. So what
comes and goes between two readings is counted, once somebody has waited for it. A process that dies
and is reaped by init instead of by its parent is not: a reading is therefore a lower bound, exact
unless something was orphaned. Peak memory is the sum of each process's own peak; shared pages count
more than once.
"""

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One line of /proc/<pid>/stat."""

    pid: int
    parent: int
    ticks: int
    """Of itself and of the children that it has reaped."""


@dataclass(frozen=True)
class Usage:
    """What a tree of processes has used up to now."""

    cpu_s: float
    rss_bytes: int
    """Sum of the peaks."""


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


def below(root: int, processes: list[Process]) -> list[Process]:
    """Return the root and all its descendants."""
    children: dict[int, list[Process]] = {}
    for each in processes:
        children.setdefault(each.parent, []).append(each)
    found = [each for each in processes if each.pid == root]
    for each in found:  # grows while it is walked
        found.extend(children.get(each.pid, ()))
    return found


def usage(root: int | None = None) -> Usage:
    """Return what the tree below a process (this one) has used."""
    tree = below(root or os.getpid(), everything())
    ticks = sum(each.ticks for each in tree)
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), sum(peak(each.pid) for each in tree))


def peak(pid: int) -> int:
    """Return a process's peak of resident memory in bytes; 0 if it is gone."""
    try:
        return parse_peak((PROC / str(pid) / "status").read_text())
    except OSError:
        return 0


def everything() -> list[Process]:
    """Return all processes that there are."""
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                found.append(parse_stat((entry / "stat").read_text()))
            except OSError:
                continue  # it ended meanwhile
    return found
