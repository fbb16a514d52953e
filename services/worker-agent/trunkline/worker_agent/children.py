"""A process's children, and what becomes its child when those end: found, killed, reaped.

For a process that is a child subreaper, so that nothing which its children have started gets away.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

_SWEEP_S = 5.0
"""A process in the middle of a device's I/O ignores SIGKILL; nobody waits for it longer."""


def ended() -> int | None:
    """Return a child that has ended and is left a zombie, or None; ChildProcessError: none is left."""
    found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return None if found is None else found.si_pid


def signal_group(leader: int, number: int) -> None:
    """Signal a process group, if it is there and lets us."""
    try:
        os.killpg(leader, number)
    except OSError:
        return


def sweep() -> int:
    """Kill and reap all children, and what becomes a child by that; return how many could not be.

    That is known after some seconds; mostly it is over at once.
    """
    deadline = time.monotonic() + _SWEEP_S
    pause = 0.0002
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 0
        if pid:
            continue
        alive = _children()
        if time.monotonic() > deadline:
            return len(alive)
        for child in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def _children() -> list[int]:
    """Return this process's children; from the kernel's list, or by looking at all processes."""
    me = os.getpid()
    try:
        text = Path(f"/proc/{me}/task/{me}/children").read_text()
    except OSError:
        return [pid for pid, parent in _parents() if parent == me]
    return [int(each) for each in text.split()]


def _parents() -> Iterator[tuple[int, int]]:
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                stat = Path(f"/proc/{name}/stat").read_text()
                yield int(name), int(stat.rpartition(")")[2].split()[1])
