"""Which datums take so long that a second worker is to try them, too.

Once a share of a job's datums have outcomes, what that share has taken at most, times a factor, is the limit.
A datum that executes for longer than the limit, and for FLOOR_S at least, is given to a second worker as a *copy* if

- one is idle, and nothing waits in the job's queue, which comes first;
- no copy of it was made before: a datum that is slow twice is slow, and is not tried a third time for that;
- no more are out than a tenth of the workers, or one: a job whose last quarter is slow as a whole must not run twice.

How long a datum executes is taken from its worker's claim where that was first seen, as the difference of two
times of one clock, and from there on from our own; so neither a clock that is wrong nor one that jumps makes copies
later, and a worker that has fallen silent goes on ageing.

What was copied is known from what was decided here, and from claims, in which two workers execute one datum. A
coordinator that begins in the middle knows of a copy that waits (the queue is not empty), that runs (two claims)
and that has ended (the datum's ledger); one that it makes again at the same time has the same Msg-Id.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from trunkline.contracts.spec import Speculation

FLOOR_S = 1.0
"""Seconds below which no datum is called slow: a copy costs two messages, a ledger and a start."""

WORKERS_A_COPY = 10
"""So many workers for each copy that is out."""

_STEPS = 32
"""Steps of a histogram per doubling: a quantile is at most 2.2 % too high."""


class Durations:
    """How long datums took, in steps of a fixed ratio: some hundred numbers for any job."""

    def __init__(self) -> None:
        self.count = 0
        self._steps: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """Take one more into account."""
        step = math.ceil(_STEPS * math.log2(min(max(seconds, 1e-3), 1e9)))
        self._steps[step] = self._steps.get(step, 0) + 1
        self.count += 1

    def quantile_s(self, share: float) -> float:
        """Return what this share of all took at most; there must be some."""
        left = max(1, math.ceil(share * self.count))
        for step in sorted(self._steps):
            left -= self._steps[step]
            if left <= 0:
                break
        return float(2.0 ** (step / _STEPS))


@dataclass(frozen=True, slots=True)
class Running:
    """A datum that executes, as its worker's last claim says."""

    index: int
    generation: int
    worker: str
    incarnation: str
    since_ns: int
    for_s: float
    """How long by then, by the worker's clock."""


@dataclass(frozen=True, slots=True)
class View:
    """What is known of a job at one time."""

    total: int | None
    """Datums of the job that were not skipped; None while it is listed."""
    done: int
    """Those of them that have outcomes."""
    waiting: int
    """Messages in the queue that nobody holds."""
    workers: int
    """That work on such jobs and go on to."""
    idle: int
    """Those of them that hold nothing."""
    running: Collection[Running]


@dataclass(frozen=True, slots=True)
class Copy:
    """A second worker is to try this."""

    slow: Running
    for_s: float
    limit_s: float


@dataclass(slots=True)
class Stragglers:
    """The datums of one job that execute.

    Invariants: a datum is returned at most once per generation; never more are out than `most`.
    """

    wanted: Speculation
    durations: Durations = field(default_factory=Durations)
    _since_s: dict[tuple[int, int, str], float] = field(default_factory=dict)
    """By index, generation and incarnation: when it began, by our clock."""
    _copied: set[tuple[int, int]] = field(default_factory=set)
    _left: set[tuple[int, int]] = field(default_factory=set)
    """Those that are not to be copied."""

    def due(self, total: int | None, done: int) -> bool:
        """Whether enough is done to tell which datums are slow, and something is left."""
        if total is None or not self.durations.count:
            return False
        return self.wanted.quantile * total <= done < total

    def look(self, view: View, now_s: float) -> list[Copy]:
        """Return what is to be copied now, the slowest first.

        Args:
            view: What there is.
            now_s: Our monotonic clock.
        """
        self._age(view.running, now_s)
        if not self.due(view.total, view.done) or view.waiting:
            return []
        self._copied |= _twice(view.running)
        limit_s = max(FLOOR_S, self.wanted.after * self.durations.quantile_s(self.wanted.quantile))
        out = len({(each.index, each.generation) for each in view.running} & self._copied)
        room = min(view.idle, max(1, view.workers // WORKERS_A_COPY) - out)
        slow = [
            Copy(each, for_s, limit_s)
            for each in view.running
            if (each.index, each.generation) not in self._copied | self._left
            and (for_s := now_s - self._since_s[_key(each)]) > limit_s
        ]
        slow.sort(key=lambda each: (-each.for_s, each.slow.index))
        chosen = slow[: max(0, room)]
        self._copied |= {(each.slow.index, each.slow.generation) for each in chosen}
        return chosen

    def unmade(self, copy: Copy) -> None:
        """Forget a copy of which it is not known whether it was made: it is chosen again, with the same Msg-Id."""
        self._copied.discard((copy.slow.index, copy.slow.generation))

    def leave(self, copy: Copy) -> None:
        """Leave a datum to who has it: it was tried more than once already."""
        self.unmade(copy)
        self._left.add((copy.slow.index, copy.slow.generation))

    def _age(self, running: Iterable[Running], now_s: float) -> None:
        """Remember since when what executes does, and forget what does no more."""
        self._since_s = {
            _key(each): self._since_s.get(_key(each), now_s - max(0.0, each.for_s))
            for each in running
        }


def _key(running: Running) -> tuple[int, int, str]:
    return running.index, running.generation, running.incarnation


def _twice(running: Iterable[Running]) -> set[tuple[int, int]]:
    """Return the datums that execute in more than one place."""
    seen: dict[tuple[int, int], str] = {}
    twice: set[tuple[int, int]] = set()
    for each in running:
        if seen.setdefault((each.index, each.generation), each.incarnation) != each.incarnation:
            twice.add((each.index, each.generation))
    return twice
