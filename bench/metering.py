"""What a run costs: CPU time, in all and by kind of process, and peak memory by kind.

*In all* is what the control group was charged (`cgroups`): nothing is missed. Without a group it is
the user and system time of each living process below the bench and of the children that it has
reaped; what is orphaned and reaped by a process that is not below the bench is missed then.

*By kind*: processes are looked at some times a second, each by its own clock, which leaves out its
children. Those that come and go too fast to be looked at are the users' commands, so `commands` are
what is left of the whole: however they ended and whoever reaped them. Up to `PERIOD_S` of the last
CPU time of a process that is killed lands there, too.

*Peak memory* of a kind is the largest sum, at one look, of its living processes' own peaks. Shared
pages count in each process: a worker shares with the pool what that has imported. Commands are left
out. A peak is one since the process began, not since the run did.

The looking itself is done in a thread, whose CPU time is taken off.
"""

import collections
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType

from bench import cgroups, processes

PERIOD_S = 0.2

CLIENT, POOL, AGENTS, SHIMS, COMMANDS = "client", "pool", "agents", "shims", "commands"
"""The client is the bench itself: it commits, waits, and supervises the services."""
SERVICES = {
    "nats-server": "nats-server",
    "trunkline.coordinator": "coordinator",
    "trunkline.local.scaler": "scaler",
    "trunkline.local.pool": POOL,
}
"""Part of a command line -> kind."""
KINDS = (CLIENT, "coordinator", "scaler", "nats-server", POOL, AGENTS, SHIMS, COMMANDS)


@dataclass(frozen=True)
class Usage:
    """What one run has used."""

    cpu_s: float
    cpu_of: dict[str, float]
    """Seconds by kind; together they are `cpu_s`."""
    rss_of: dict[str, int]
    """Bytes by kind, without commands."""

    @property
    def rss_bytes(self) -> int:
        """All but the client, which holds the bench's own lists."""
        return sum(each for kind, each in self.rss_of.items() if kind != CLIENT)


def kind(command: str, parent: str) -> str:
    """Return the kind of a process by its command line and its parent's kind.

    Agents and shims are forked from the pool and have its command line; what else is the pool's
    child was orphaned by a worker.
    """
    named = next((name for part, name in SERVICES.items() if part in command), CLIENT)
    match parent:
        case "pool":
            return AGENTS if named == POOL else COMMANDS
        case "agents":
            return SHIMS
        case "shims" | "commands":
            return COMMANDS
        case _:
            return named


@dataclass
class _Seen:
    """A process that is not known to be gone."""

    kind: str
    first_s: float
    last_s: float


@dataclass
class Tally:
    """Sums up looks at processes, each of which gives the CPU seconds of the living by pid."""

    seen: dict[int, _Seen] = field(default_factory=dict)
    gone: dict[str, float] = field(default_factory=lambda: collections.defaultdict(float))

    def look(self, living: dict[int, tuple[str, float]]) -> None:
        """Take a look into account: pid -> (kind, CPU seconds since its birth)."""
        for pid, (name, cpu_s) in living.items():
            known = self.seen.get(pid)
            if known is not None and cpu_s < known.last_s:  # another has the number now
                self._leave(pid)
                known = None
            if known is None:
                self.seen[pid] = _Seen(name, 0.0, cpu_s)
            else:
                known.kind, known.last_s = name, cpu_s
        for pid in [each for each in self.seen if each not in living]:
            self._leave(pid)

    def begin(self) -> None:
        """Forget all CPU time up to now."""
        self.gone.clear()
        for each in self.seen.values():
            each.first_s = each.last_s

    def cpu_of(self, whole_s: float) -> dict[str, float]:
        """Return CPU seconds by kind; what is left of the whole are commands."""
        told = {name: self.gone.get(name, 0.0) for name in KINDS}
        for each in self.seen.values():
            told[each.kind] += each.last_s - each.first_s
        del told[COMMANDS]
        return {**told, COMMANDS: max(0.0, whole_s - sum(told.values()))}

    def _leave(self, pid: int) -> None:
        left = self.seen.pop(pid)
        self.gone[left.kind] += left.last_s - left.first_s


class Meter:
    """Measures from its entry to its exit; `usage` is what was measured.

    Args:
        root: The process whose tree is measured, of kind client.
        group: In which that tree runs, if there is one.
    """

    def __init__(self, root: int, group: cgroups.Group | None) -> None:
        self._root, self._group = root, group
        self._tally = Tally()
        self._kinds = {root: CLIENT}
        self._peaks: collections.Counter[str] = collections.Counter()
        self._whole_s = self._looking_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="meter", daemon=True)
        self.usage = Usage(0.0, {}, {})

    def __enter__(self) -> "Meter":
        """Begin."""
        self._look()
        self._tally.begin()
        self._whole_s = self._total_s()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        whole_s = self._total_s() - self._whole_s
        self._stop.set()
        self._thread.join()
        self._look()
        cpu_of = self._tally.cpu_of(whole_s)
        cpu_of[CLIENT] = max(0.0, cpu_of[CLIENT] - self._looking_s)
        self.usage = Usage(sum(cpu_of.values()), cpu_of, dict(self._peaks))

    def _look_on(self) -> None:
        while not self._stop.wait(PERIOD_S):
            self._look()
            self._looking_s = time.thread_time()

    def _look(self) -> None:
        living: dict[int, tuple[str, float]] = {}
        peaks: collections.Counter[str] = collections.Counter()
        pids = self._pids()
        self._kinds = {pid: name for pid, name in self._kinds.items() if pid in pids}
        for pid in pids:
            cpu_s, name = processes.own_cpu_s(pid), self._kind(pid)
            if cpu_s is not None:
                living[pid] = name, cpu_s
                if name != COMMANDS:
                    peaks[name] += processes.peak(pid)
        self._tally.look(living)
        self._peaks |= peaks

    def _kind(self, pid: int) -> str:
        """Return a process's kind as it was when it was first seen, before it was orphaned."""
        if pid not in self._kinds:
            found = processes.look(pid)
            if found is None:
                return COMMANDS
            parent = self._kind(found.parent) if found.parent > 1 else CLIENT
            name = kind(processes.command(pid), parent)
            if name == CLIENT:  # or forked by it, and about to become something else
                return name
            self._kinds[pid] = name
        return self._kinds[pid]

    def _pids(self) -> set[int]:
        if self._group is not None:
            return set(self._group.pids())
        return {each.pid for each in processes.tree(self._root)}

    def _total_s(self) -> float:
        if self._group is not None:
            return self._group.cpu_s()
        return sum(each.ticks for each in processes.tree(self._root)) * processes.TICK_S
