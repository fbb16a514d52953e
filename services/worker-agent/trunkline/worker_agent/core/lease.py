r"""What a worker holds, and what it does about it next.

A lease is a datum message in this worker's hands. Its life here:

    Received -> WAITING -> Begin -> BEGUN -> Ran -> STORING -> Settled
                  |  \-> Stage (its files are fetched while another one runs)
                  |-> GiveBack: waited too long, or the worker stops
                  |-> Forget:   the connection was lost, it is somebody else's by now
                  \-> Cancel:   its job is gone
    BEGUN, STORING -> Cancel -> Settled

BEGUN takes a slot, from the start of staging to the end of the command; STORING does not, so the
next one begins while outputs are stored. A message that was delivered before (or may have been) is
not staged ahead: its ledger must be read and its start recorded first, and a start that is recorded
and not made would charge somebody.

What is asked for: slots + prefetch less what waits or runs, from each job that may be pulled, the
oldest first. Prefetch is for short datums; once something was given back, or when a typical datum
takes a good part of the time that it may wait, only the free slots are asked for. Less is asked for
only where a long wait would follow, since taking a request back costs a new subscription.

A crash at any point leaves the truth where it was: nothing here is stored, and what was held comes
again by the reaper or after `ack_wait`.
"""

import dataclasses
import enum
from typing import NamedTuple, assert_never

from trunkline.contracts.messages import Held

STORING_MAX = 2
"""Datums whose outputs may be on their way while the next one runs; more would only pile up."""

JOBS_MAX = 32
"""Jobs that are pulled from at once, the oldest first."""

_TYPICAL_WEIGHT = 0.25


class Key(NamedTuple):
    """A lease: the message's job and its sequence in the pipeline's stream."""

    job: str
    sequence: int


class Phase(enum.Enum):
    """How far a lease is."""

    WAITING = enum.auto()
    BEGUN = enum.auto()
    STORING = enum.auto()


@dataclasses.dataclass
class Lease:
    """One datum in hand."""

    key: Key
    index: int
    generation: int
    fresh: bool
    """Whether this is surely its first delivery."""
    received_s: float
    phase: Phase = Phase.WAITING
    staged: bool = False
    cancelled: bool = False
    begun_s: float = 0.0
    begun_ns: int = 0


# --- events ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Assigned:
    """These jobs may be pulled from, oldest first; a job that is missing is surely gone."""

    jobs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Received:
    """A message came."""

    key: Key
    index: int
    generation: int
    fresh: bool


@dataclasses.dataclass(frozen=True)
class Ran:
    """A begun datum needs its slot no more: its command has ended, or will not be started."""

    key: Key


@dataclasses.dataclass(frozen=True)
class Settled:
    """A begun datum was acked or given back."""

    key: Key


@dataclasses.dataclass(frozen=True)
class Reconnected:
    """The connection was lost and is back: what was not begun is not ours any more."""


@dataclasses.dataclass(frozen=True)
class Ticked:
    """Some time passed."""


@dataclasses.dataclass(frozen=True)
class Stopped:
    """Take nothing more: a drain, a SIGTERM, or the shim is gone. One way."""


Event = Assigned | Received | Ran | Settled | Reconnected | Ticked | Stopped

# --- effects --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Want:
    """Let up to this many further messages of a job come; 0 of a job that is gone: stop its pull."""

    job: str
    count: int


@dataclasses.dataclass(frozen=True)
class Stage:
    """Fetch the files of a datum that will be next."""

    key: Key


@dataclasses.dataclass(frozen=True)
class Begin:
    """Start on a datum; Ran and Settled follow."""

    key: Key


@dataclasses.dataclass(frozen=True)
class GiveBack:
    """Nak a datum that was not begun, and forget it."""

    key: Key


@dataclasses.dataclass(frozen=True)
class Forget:
    """Drop a datum that was not begun without a word."""

    key: Key


@dataclasses.dataclass(frozen=True)
class Cancel:
    """Its job is gone: kill what runs, report nothing, take the message off. Settled if begun."""

    key: Key
    begun: bool


@dataclasses.dataclass(frozen=True)
class Tell:
    """Publish the claim."""


Effect = Want | Stage | Begin | GiveBack | Forget | Cancel | Tell


class Holding:
    """All leases of one worker incarnation.

    Invariants: at most `slots` are BEGUN; each message that came is begun and settled, or given
    back, forgotten or cancelled, exactly once; after Stopped nothing is begun, wanted or staged.
    """

    def __init__(self, *, slots: int, prefetch: int, give_back_s: float) -> None:
        self.slots = slots
        self.prefetch = prefetch
        self.give_back_s = give_back_s
        self.stopped = False
        self.leases: dict[Key, Lease] = {}
        self.jobs: tuple[str, ...] = ()
        self._asked: dict[str, int] = {}
        self._typical_s: float | None = None
        self._slow = False

    @property
    def idle(self) -> bool:
        """Whether nothing is held."""
        return not self.leases

    def held(self) -> tuple[Held, ...]:
        """Return what a claim says."""
        return tuple(
            Held(
                job=each.key.job,
                sequence=each.key.sequence,
                index=each.index,
                generation=each.generation,
                executing=each.phase is Phase.BEGUN,
                since_ns=each.begun_ns,
            )
            for each in self.leases.values()
        )

    def handle(self, event: Event, now_s: float, now_ns: int) -> list[Effect]:
        """Take one event into account and return what is to be done about it, in order.

        Args:
            event: What happened.
            now_s: Monotonic clock.
            now_ns: Wall clock, for claims.
        """
        effects: list[Effect] = []
        match event:
            case Assigned(jobs):
                effects += self._assigned(jobs)
            case Received():
                effects += self._received(event, now_s)
            case Ran(key):
                self._ran(key, now_s)
            case Settled(key):
                lease = self.leases.pop(key, None)
                if lease is not None and self.idle:
                    effects.append(Tell())
            case Reconnected():
                waiting = self._waiting()
                self._drop(waiting)
                effects += [*(Forget(each.key) for each in waiting), Tell()]
            case Ticked():
                effects += self._aged(now_s)
            case Stopped():
                effects += self._stop()
            case _:
                assert_never(event)
        return effects + self._arranged(now_s, now_ns)

    # --- events -----------------------------------------------------------------------------------

    def _assigned(self, jobs: tuple[str, ...]) -> list[Effect]:
        gone = set(self.jobs) - set(jobs)
        self.jobs = jobs
        pulled = sorted(job for job in gone if self._asked.pop(job, None) is not None)
        effects: list[Effect] = [Want(job, 0) for job in pulled]
        for lease in list(self.leases.values()):
            if lease.key.job not in jobs and not lease.cancelled:
                begun = lease.phase is not Phase.WAITING
                lease.cancelled = True
                effects.append(Cancel(lease.key, begun))
                if not begun:
                    del self.leases[lease.key]
        return effects

    def _received(self, event: Received, now_s: float) -> list[Effect]:
        job = event.key.job
        if job in self._asked:
            self._asked[job] = max(0, self._asked[job] - 1)
        if event.key in self.leases:
            return []  # the same message once more: it was lost in between and is ours again
        lease = Lease(event.key, event.index, event.generation, event.fresh, now_s)
        if job not in self.jobs:
            return [Cancel(lease.key, begun=False)]
        if self.stopped:
            return [GiveBack(lease.key)]
        self.leases[lease.key] = lease
        return [Tell()]

    def _ran(self, key: Key, now_s: float) -> None:
        lease = self.leases.get(key)
        if lease is None or lease.phase is not Phase.BEGUN:
            return
        lease.phase = Phase.STORING
        took_s = now_s - lease.begun_s
        if self._typical_s is None:
            self._typical_s = took_s
        else:
            self._typical_s += _TYPICAL_WEIGHT * (took_s - self._typical_s)
        self._slow = False

    def _aged(self, now_s: float) -> list[Effect]:
        old = [each for each in self._waiting() if now_s - each.received_s >= self.give_back_s]
        self._drop(old)
        if old:
            self._slow = True
        return [GiveBack(each.key) for each in old]

    def _stop(self) -> list[Effect]:
        if self.stopped:
            return []
        self.stopped = True
        waiting = self._waiting()
        self._drop(waiting)
        effects: list[Effect] = [Want(job, 0) for job in self._asked]
        self._asked.clear()
        return [*effects, *(GiveBack(each.key) for each in waiting), Tell()]

    # --- what follows from the state --------------------------------------------------------------

    def _arranged(self, now_s: float, now_ns: int) -> list[Effect]:
        if self.stopped:
            return []
        effects: list[Effect] = []
        waiting = self._waiting()
        while waiting and self._slots_free() > 0:
            lease = waiting.pop(0)
            lease.phase = Phase.BEGUN
            lease.begun_s, lease.begun_ns = now_s, now_ns
            effects += [Tell(), Begin(lease.key)]
        following = waiting[0] if waiting else None
        if following is not None and following.fresh and not following.staged:
            following.staged = True
            effects.append(Stage(following.key))
        return effects + self._wanted()

    def _wanted(self) -> list[Effect]:
        waiting = len(self._waiting())
        begun = sum(each.phase is Phase.BEGUN for each in self.leases.values())
        free = max(0, self.slots + self._ahead() - waiting - begun)
        effects: list[Effect] = []
        for job in self.jobs[:JOBS_MAX]:
            asked = self._asked.get(job, 0)
            if free > asked or (asked > free and self._slow):
                self._asked[job] = free
                effects.append(Want(job, free))
        return effects

    def _ahead(self) -> int:
        long = self._typical_s is not None and self._typical_s > self.give_back_s / 2
        return 0 if self._slow or long else self.prefetch

    def _slots_free(self) -> int:
        phases = [each.phase for each in self.leases.values()]
        if phases.count(Phase.STORING) >= STORING_MAX:
            return 0
        return self.slots - phases.count(Phase.BEGUN)

    def _waiting(self) -> list[Lease]:
        """Return what is not begun, in the order in which it will be: by job, then as it came."""
        order = {job: position for position, job in enumerate(self.jobs)}
        waiting = [each for each in self.leases.values() if each.phase is Phase.WAITING]
        return sorted(waiting, key=lambda each: order.get(each.key.job, len(order)))

    def _drop(self, leases: list[Lease]) -> None:
        for each in leases:
            del self.leases[each.key]
