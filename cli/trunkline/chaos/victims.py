"""Who can be hit: processes of one installation, and nobody else.

A victim is never found by a name. Services are those of the installation's own pid files, which hold each
one's start time; workers are those that the pool tells of; commands are what runs below a worker. Whoever
that is must be a descendant of the supervisor that holds the installation's lock, and is looked at again
after a descriptor of it was opened: a pid that went to somebody else meanwhile has another start time,
and a signal by the descriptor reaches the process that was looked at or nobody.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from trunkline.chaos import pool
from trunkline.chaos.core.schedule import Target
from trunkline.contracts import errors
from trunkline.local.children import start_time
from trunkline.local.home import Home

_SERVICES = (Target.COORDINATOR, Target.SCALER, Target.NATS)
LEADER_SHARE = 0.75
"""Of the faults of a service of which others stand by: hitting those has less to show."""

_BELOW_AGENT = 2
"""A command's process is a child of a shim, which is a child of an agent."""

_DEEPEST = 100
"""Ends a walk up through processes that come and go under it."""


class NotOursError(errors.TrunklineError):
    """A process is none of the installation's, so nothing is done to it."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"process {pid} is none of this installation's")
        self.pid = pid


class Victim:
    """One process that may be hit. A context manager: it holds a descriptor of it."""

    def __init__(self, name: str, pid: int, started: str, descriptor: int) -> None:
        self.name, self.pid, self._started, self._descriptor = name, pid, started, descriptor

    @property
    def process(self) -> tuple[int, str]:
        """Return what no other process has: a pid comes again, at another time."""
        return self.pid, self._started

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def send(self, number: signal.Signals) -> bool:
        """Send it a signal; False if it is gone."""
        try:
            signal.pidfd_send_signal(self._descriptor, number)
        except ProcessLookupError:
            return False
        return True


def hold(name: str, pid: int, started: str, supervisor: int) -> Victim:
    """Return a process to be hit.

    Args:
        name: What to call it.
        pid: Its id.
        started: When it was started, as `start_time` says it.
        supervisor: Whose descendant it must be.

    Raises:
        NotOursError: it is gone, another one, or none of the supervisor's.
    """
    if pid <= 1 or pid in (supervisor, os.getpid()):
        raise NotOursError(pid)
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        raise NotOursError(pid) from None
    if not started or start_time(pid) != started or supervisor not in _ancestors(pid):
        os.close(descriptor)
        raise NotOursError(pid)
    return Victim(name, pid, started, descriptor)


async def choose(home: Home, target: Target, chance: float, leader: str = "") -> Victim | None:
    """Return one of the processes that are a target now; None if there is none.

    Args:
        home: The installation's.
        target: What is to be hit.
        chance: From 0 to below 1: which one of those that there are.
        leader: Who leads them, if that is known: it is hit LEADER_SHARE of the time.
    """
    supervisor = home.supervisor()
    if not supervisor:
        return None
    found = sorted(_services(home, target) if target in _SERVICES else await _below(home, target))
    if not found:
        return None
    leads = [each for each in found if each[0] == leader]
    if leads and len(found) > 1:
        if chance < LEADER_SHARE:
            found, chance = leads, 0.0
        else:
            found.remove(leads[0])
            chance = (chance - LEADER_SHARE) / (1 - LEADER_SHARE)
    name, pid, started = found[int(chance * len(found))]
    with contextlib.suppress(NotOursError):
        return hold(name, pid, started, supervisor)
    return None


def _services(home: Home, target: Target) -> list[tuple[str, int, str]]:
    """Return name, pid and start time of each service of a kind: one, or several that stand by."""
    found: list[tuple[str, int, str]] = []
    for path in home.pids.glob("*.pid"):
        if path.stem == target or path.stem.startswith(f"{target}-"):
            with contextlib.suppress(OSError, ValueError):
                pid, _, started = path.read_text().strip().partition(" ")
                found.append((path.stem, int(pid), started))
    return found


async def _below(home: Home, target: Target) -> list[tuple[str, int, str]]:
    try:
        workers = {pid: name for name, pid in await pool.workers(home)}
    except (OSError, errors.TrunklineError):
        return []
    if target is Target.WORKER:
        return [(name, pid, start_time(pid)) for pid, name in workers.items()]
    return list(_commands(workers))


def _commands(workers: dict[int, str]) -> Iterator[tuple[str, int, str]]:
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            pid = int(path.name)
            above = _ancestors(pid)
            for depth, ancestor in enumerate(above, 1):
                if ancestor in workers and depth >= _BELOW_AGENT:
                    yield f"a command of {workers[ancestor]}", pid, start_time(pid)


def _ancestors(pid: int) -> list[int]:
    """Return the parent of a process, its parent, and so on, as they are now."""
    found: list[int] = []
    while pid > 1 and len(found) < _DEEPEST:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            break
        pid = int(fields[1])
        found.append(pid)
    return found
