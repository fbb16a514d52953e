"""A job whose queue, server, workers, reaper and coordinator all fail, in one process and simulated time.

What outlives a process is here: the work queue, the outcomes, the ledgers, the claims, the job record. It
fails as NATS does: messages come at least once and in any order, acks are not fenced, and a crash takes
back the newest acks and the delivery counts. `faulty_workers` and `faulty_services` have the processes:
the real cores, and around them what their edges do with their effects, a step at a time, so that a
crash can come between any two.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from trunkline.contracts.attempts import Attempt, Ledger
from trunkline.contracts.messages import Claim
from trunkline.contracts.states import DatumState
from trunkline.scaler.core import losses

PIPELINE, JOB = "p", "a" * 32
TRIES = 3
ACK_WAIT_S = 15.0


@dataclass(frozen=True)
class Task:
    """A datum's message; its Msg-Id, too."""

    index: int
    generation: int
    round: int
    copy: int = 0
    """Which copy of a datum that takes long, since it may be made again; 0 for none."""


class Delivery(NamedTuple):
    sequence: int
    task: Task
    delivered: int


class Queue:
    """A work queue with one consumer."""

    def __init__(self) -> None:
        self.messages: dict[int, Task] = {}
        self.ready_s: dict[int, float] = {}
        """Those that wait: since when, or from when on."""
        self.due_s: dict[int, float] = {}
        """Those in flight: until when."""
        self._delivered: Counter[int] = Counter()
        self._known: set[Task] = set()
        self._acked: list[tuple[int, Task]] = []
        self._sequences = itertools.count(1)

    def put(self, task: Task, now_s: float) -> None:
        if task not in self._known:
            self._known.add(task)
            self._wait(next(self._sequences), task, now_s)

    def take(self, pick: int, now_s: float) -> Delivery | None:
        waiting = sorted(each for each, since in self.ready_s.items() if since <= now_s)
        if not waiting:
            return None
        sequence = waiting[pick % len(waiting)]
        del self.ready_s[sequence]
        self.due_s[sequence] = now_s + ACK_WAIT_S
        self._delivered[sequence] += 1
        return Delivery(sequence, self.messages[sequence], self._delivered[sequence])

    def ack(self, sequence: int) -> None:
        """Whoever says it."""
        task = self.messages.pop(sequence, None)
        if task is not None:
            self._acked.append((sequence, task))
        self.ready_s.pop(sequence, None)
        self.due_s.pop(sequence, None)

    def nak(self, sequence: int, at_s: float) -> None:
        """Whoever says it."""
        if self.due_s.pop(sequence, None) is not None:
            self.ready_s[sequence] = at_s

    def renew(self, sequence: int, now_s: float) -> None:
        if sequence in self.due_s:
            self.due_s[sequence] = now_s + ACK_WAIT_S

    def expire(self, now_s: float) -> None:
        for sequence in [each for each, due in self.due_s.items() if due <= now_s]:
            self.nak(sequence, now_s)

    def crash(self, taken_back: int, now_s: float) -> None:
        """Come back with the newest acks and all that was delivered forgotten."""
        self._delivered.clear()
        for sequence in list(self.due_s):
            self.nak(sequence, now_s)
        for sequence, task in self._acked[len(self._acked) - taken_back :]:
            self._wait(sequence, task, now_s)
        self._acked.clear()

    def lose(self, pick: int) -> None:
        """Lose a message as a disk does."""
        if self.messages:
            sequence = sorted(self.messages)[pick % len(self.messages)]
            self.messages.pop(sequence)
            self.ready_s.pop(sequence, None)
            self.due_s.pop(sequence, None)

    def _wait(self, sequence: int, task: Task, now_s: float) -> None:
        self.messages[sequence] = task
        self.ready_s[sequence] = now_s


@dataclass
class Record:
    """The job's."""

    total: int
    listed_to: int = 0
    ended: bool = False
    """Whether its listing has ended."""
    round: int = 1
    generations: dict[str, int] = field(default_factory=dict)

    def generation(self, index: int) -> int:
        return self.generations.get(str(index), 1)


@dataclass
class World:
    """All that outlives processes, and what a test counts."""

    record: Record
    now_s: float = 1000.0
    queue: Queue = field(default_factory=Queue)
    outcomes: dict[tuple[int, int], DatumState] = field(default_factory=dict)
    histories: dict[tuple[int, int], tuple[Attempt, ...]] = field(default_factory=dict)
    """What the outcomes say of the attempts."""
    judged: dict[tuple[int, int], Ledger] = field(default_factory=dict)
    """The ledgers as they were when the outcomes came: what is entered later decides nothing."""
    stream: list[tuple[int, int, DatumState]] = field(default_factory=list)
    ledgers: dict[int, Ledger] = field(default_factory=dict)
    claims: dict[str, Claim] = field(default_factory=dict)
    mail: list[Callable[[float], losses.Event]] = field(default_factory=list)
    """What the reaper is to hear, oldest first; made when it hears it."""
    runs: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How often a command was begun, but for copies."""
    copies_run: Counter[tuple[int, int]] = field(default_factory=Counter)
    refused: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Outcomes that were not the first."""
    failures: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How often a command has failed, but for copies."""
    incidents: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How often a worker died, or was not to be reached, while it had a datum begun that was no copy."""
    excuses: int = 0
    """Faults after which a run may be charged to nobody."""

    @property
    def now_ns(self) -> int:
        return int(self.now_s * 1e9)

    def report(
        self, index: int, generation: int, state: DatumState, history: Sequence[Attempt] = ()
    ) -> None:
        """Store an outcome; a second one is refused, to the same effect for who reports it."""
        if (index, generation) not in self.outcomes:
            self.outcomes[index, generation] = state
            self.histories[index, generation] = tuple(history)
            self.judged[index, generation] = self.ledgers.get(index, Ledger())
            self.stream.append((index, generation, state))
        else:
            self.refused[index, generation] += 1

    def claim(self, claim: Claim) -> None:
        self.claims[claim.worker] = claim
        key = (PIPELINE, claim.worker)
        self.mail.append(lambda now_s: losses.ClaimHeard(key, claim, now_s))


def is_bad(index: int) -> bool:
    """Whether the command fails on a datum."""
    return index % 7 == 3


def is_poison(index: int) -> bool:
    """Whether a datum kills the worker that runs it."""
    return index % 11 == 5
