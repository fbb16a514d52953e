"""What breaks when: a pure function of a seed and a list of habits.

A habit is a kind of fault, whom it befalls, and how often. Each habit has a stream of chances of its own,
made of the seed and its name; so the same seed gives the same faults at the same times, and another habit
beside it changes nothing of them. Gaps are even between half and one and a half of what the habit says, so
that faults of several habits fall together now and then, in every order.

A schedule has no end: whoever runs it stops when it has seen enough.
"""

import enum
import hashlib
import heapq
from collections.abc import Iterator, Sequence

import msgspec


class Kind(enum.StrEnum):
    """What is done to a victim."""

    KILL = "kill"
    """SIGKILL."""
    PAUSE = "pause"
    """SIGSTOP, and SIGCONT some time later."""
    CUT = "cut"
    """All connections to NATS end at once."""
    DELAY = "delay"
    """What goes to NATS and comes from it is late, by up to MOST_DELAY_S."""
    SILENCE = "silence"
    """Nothing goes through, and no connection ends."""
    FAIL = "fail"
    """A share of the requests to the store fail, before they are done or after."""
    FULL = "full"
    """Whatever is to be stored fails, as on a full disk."""
    JUMP = "jump"
    """The wall clock is another one, by up to MOST_JUMP_S either way."""


class Target(enum.StrEnum):
    """Who it is done to."""

    WORKER = "worker"
    """A worker agent, and with it what it runs."""
    USER = "user"
    """A process of a user's command."""
    COORDINATOR = "coordinator"
    SCALER = "scaler"
    NATS = "nats-server"
    NETWORK = "network"
    STORE = "store"


MOST_DELAY_S = 0.2
MOST_JUMP_S = 3600.0
FAILING = 0.05
"""The share of requests to the store that fail undone, and the share that fail though they are done."""


class Habit(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of fault that comes again and again."""

    kind: Kind
    target: Target
    every_s: float
    """Between two of them, on average."""
    lasts_s: tuple[float, float] = (0.0, 0.0)
    """The shortest and the longest time until it is over; a kill is over at once."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One fault."""

    at_s: float
    """From the beginning of the schedule."""
    kind: Kind
    target: Target
    chance: float
    """From 0 to below 1: which one of the victims that there are."""
    lasts_s: float = 0.0


KILLS = (
    Habit(kind=Kind.KILL, target=Target.WORKER, every_s=2),
    Habit(kind=Kind.KILL, target=Target.COORDINATOR, every_s=20),
    Habit(kind=Kind.KILL, target=Target.SCALER, every_s=20),
    Habit(kind=Kind.KILL, target=Target.NATS, every_s=30),
)
"""Deaths only, of everything that an installation consists of."""

SILENCES = (
    # a worker's lease ends in the middle of it as often as not
    Habit(kind=Kind.PAUSE, target=Target.WORKER, every_s=10, lasts_s=(0.5, 30)),
    Habit(kind=Kind.PAUSE, target=Target.COORDINATOR, every_s=25, lasts_s=(0.5, 8)),
    Habit(kind=Kind.PAUSE, target=Target.SCALER, every_s=25, lasts_s=(0.5, 8)),
    # past the pings that a client waits for, at the most
    Habit(kind=Kind.PAUSE, target=Target.NATS, every_s=40, lasts_s=(0.2, 12)),
)
"""Processes that are there and say nothing, and go on later with what they believed before."""

USERS = (Habit(kind=Kind.KILL, target=Target.USER, every_s=5),)
"""Commands that die; each costs its datum a try, as it should."""

NETWORK = (
    Habit(kind=Kind.CUT, target=Target.NETWORK, every_s=10),
    Habit(kind=Kind.DELAY, target=Target.NETWORK, every_s=20, lasts_s=(1, 6)),
    Habit(kind=Kind.SILENCE, target=Target.NETWORK, every_s=35, lasts_s=(0.3, 15)),
)
"""Between NATS and all others; only where something stands in front of it."""

STORE = (
    Habit(kind=Kind.FAIL, target=Target.STORE, every_s=12, lasts_s=(4, 10)),
    Habit(kind=Kind.FULL, target=Target.STORE, every_s=45, lasts_s=(0.5, 5)),
)
CLOCKS = tuple(
    Habit(kind=Kind.JUMP, target=each, every_s=30, lasts_s=(1, 20))
    for each in (Target.WORKER, Target.COORDINATOR, Target.SCALER)
)
"""Both only in processes that were started to be broken from inside."""

HABITS: dict[str, tuple[Habit, ...]] = {
    "kills": KILLS,
    "silences": SILENCES,
    "users": USERS,
    "all": (*KILLS, *SILENCES, *USERS),
    "network": NETWORK,
    "store": STORE,
    "clocks": CLOCKS,
    "everything": (*KILLS, *SILENCES, *NETWORK, *STORE, *CLOCKS),
}
"""By the names that people give. From `network` on, the installation must be started for it."""
OUTSIDE = ("kills", "silences", "users", "all")
"""What can be done to any installation that runs."""


def faults(seed: int, habits: Sequence[Habit]) -> Iterator[Fault]:
    """Yield what breaks, by time, without end."""
    return heapq.merge(*(_of(seed, habit) for habit in habits))


def told(seed: int) -> str:
    """Return what people are told of a seed; whom a fault hits is up to who is there then."""
    return f"seed {seed}: the same one gives the same schedule"


def _of(seed: int, habit: Habit) -> Iterator[Fault]:
    chances = _chances(f"{seed}/{habit.kind}/{habit.target}")
    at_s = 0.0
    while True:
        at_s += habit.every_s * (0.5 + next(chances))
        least, most = habit.lasts_s
        chance, length = next(chances), next(chances)
        yield Fault(
            at_s=at_s,
            kind=habit.kind,
            target=habit.target,
            chance=chance,
            lasts_s=least + (most - least) * length,
        )


def _chances(name: str) -> Iterator[float]:
    """Yield numbers from 0 to below 1 that depend on the name alone, on every machine."""
    number = 0
    while True:
        digest = hashlib.sha256(f"{name}/{number}".encode()).digest()
        yield int.from_bytes(digest[:6], "big") / (1 << 48)
        number += 1
