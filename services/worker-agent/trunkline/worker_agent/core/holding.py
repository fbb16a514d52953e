r"""What a worker holds, and what it does about it next.

A lease is a datum message in this worker's hands. Its life here:

    Received -> WAITING -> Begin -> BEGUN -> Ran -> STORING -> Stored -> REPORTING -> Settled
                  |  \-> Stage (its files are fetched while another one runs)
                  |-> GiveBack: waited too long, or the worker stops
                  |-> Forget:   the connection was lost, it is somebody else's by now
                  \-> Cancel:   its job is gone, or it was restarted
    BEGUN, STORING, REPORTING -> Cancel -> Settled

BEGUN takes a slot, from the start of staging to the end of the command; Started says when the command
begins, which is what a lost worker is charged for. STORING (outputs are on their
way to the store) and REPORTING (the outcome is on its way) do not, so the next one begins meanwhile;
only a store or a server that does not keep up stops that. A message that was delivered before (or may
have been) is not staged ahead: its ledger must be read and its start recorded first, and a start that
is recorded and not made would charge somebody.

What is asked for: of the oldest job the free slots and, beside them, as many datums as take `ahead_s`
at the pace of those that were started, but no more than half of what the job still had waiting when it
was last heard of, so that the last ones are not all in one worker's hands; of the younger ones the free slots. Nothing is
fetched ahead when datums are long, or once something was given back. A request goes out for a slot
that nothing is on its way to, and beside that when half of what is fetched ahead is used up: a request
for each datum is a write, and a message of the server's, each. Less is asked for only where a long wait
would follow, since taking a request back costs a new subscription.

A message may hold several datums: then all this is about the message, and Advanced says which of its
datums executes.

A datum that is suspected to take its worker along (`contracts.attempts`) is Isolated before it starts: what waits is given
back, what comes is, too, and once the others are settled it has the worker to itself. All goes on as before when it is
Settled, or another one of its message executes.

A crash at any point leaves the truth where it was: nothing here is stored, and what was held comes
again by the reaper or after `ack_wait`.
"""

import math
from collections import deque
from typing import assert_never

from trunkline.contracts.messages import Held
from trunkline.worker_agent.core.lease import (
    Advanced,
    Assigned,
    Begin,
    Cancel,
    Declined,
    Effect,
    Event,
    Forget,
    GiveBack,
    Isolated,
    Key,
    Lease,
    Phase,
    Ran,
    Received,
    Reconnected,
    Settled,
    Stage,
    Started,
    Stopped,
    Stored,
    Superseded,
    Tell,
    Ticked,
    Want,
)

LONG_S = 0.5
"""A datum that takes longer has none behind it: a round trip costs it less than 1 %."""

STORING_MAX = 2
"""Datums whose outputs may be on their way while the next one runs; more would only pile up."""

REPORTING_MAX = 1024
"""Datums whose outcomes may be on their way; more means that the server does not keep up."""

JOBS_MAX = 32
"""Jobs that are pulled from at once, the oldest first."""

_TYPICAL_WEIGHT = 0.25


class Holding:
    """All leases of one worker incarnation.

    Args:
        slots: How many run at once.
        prefetch: The most that is fetched ahead.
        ahead_s: Seconds of work that are fetched ahead, at the pace so far.
        give_back_s: After which what was not begun goes back to the others.
        stages: Whether there is anything to do for a datum before its turn.

    Invariants: at most `slots` are BEGUN; each message that came is begun and settled, or given
    back, forgotten or cancelled, exactly once; after Stopped nothing is begun, wanted or staged.
    """

    def __init__(
        self,
        *,
        slots: int,
        prefetch: int,
        ahead_s: float,
        give_back_s: float,
        stages: bool = True,
    ) -> None:
        self.slots = slots
        self.prefetch = prefetch
        self.ahead_s = ahead_s
        self.give_back_s = give_back_s
        self.stopped = False
        self.leases: dict[Key, Lease] = {}
        self.jobs: tuple[str, ...] = ()
        self._stages = stages
        self._waiting: dict[str, deque[Lease]] = {}
        """By job, those that are not begun, as they came; no job without any."""
        self._count = [0] * len(Phase)
        """How many are in each phase."""
        self._asked: dict[str, int] = {}
        self._pending: dict[str, int] = {}
        self._typical_s: float | None = None
        self._slow = False
        self._alone: Key | None = None
        """Of the lease that shall have no company."""

    @property
    def idle(self) -> bool:
        """Whether nothing is held."""
        return not self.leases

    @property
    def resting(self) -> bool:
        """Whether nothing runs and nothing waits to: what is held is only on its way out."""
        return not (self._count[Phase.BEGUN] or self._count[Phase.WAITING])

    @property
    def alone(self) -> bool:
        """Whether an isolated datum is all there is."""
        return self._alone is not None and len(self.leases) == 1

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
                preparing=each.phase is Phase.BEGUN and not each.started,
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
        begun, alone = self._count[Phase.BEGUN], self._alone
        effects = self._heard(event, now_s, now_ns)
        if self._waiting and self._slots_free():
            self._begin(effects, now_s, now_ns)
        steady = Advanced | Started | Stored | Settled
        idle = isinstance(event, steady) and begun == self._count[Phase.BEGUN]
        if not (self.stopped or self._alone or (idle and alone is None)):
            self._look_ahead(effects)
        return effects

    # --- events -----------------------------------------------------------------------------------

    def _heard(self, event: Event, now_s: float, now_ns: int) -> list[Effect]:
        match event:
            case Received():
                return self._received(event, now_s)
            case Ran(key, stored):
                return self._ran(key, stored, now_s)
            case Stored(key):
                self._move(key, Phase.STORING, Phase.REPORTING)
                return []
            case Settled(key):
                return self._settled(key)
            case Advanced() | Started():
                return self._gone_on(event, now_ns)
            case Assigned() | Superseded() | Isolated() | Declined():
                return self._told(event)
            case Reconnected():
                return [*(Forget(each.key) for each in self._drop_waiting()), Tell()]
            case Ticked():
                return self._aged(now_s)
            case Stopped():
                return self._stop()
            case _:
                assert_never(event)

    def _told(self, event: Assigned | Superseded | Isolated | Declined) -> list[Effect]:
        match event:
            case Assigned(jobs):
                return self._assigned(jobs)
            case Superseded(key):
                return self._superseded(key)
            case Isolated(key):
                return self._isolate(key)
            case Declined(job):
                self._answered(job)
                return []

    def _assigned(self, jobs: tuple[str, ...]) -> list[Effect]:
        gone = set(self.jobs) - set(jobs)
        self.jobs = jobs
        self._pending = {job: left for job, left in self._pending.items() if job in jobs}
        pulled = sorted(job for job in gone if self._asked.pop(job, None) is not None)
        effects: list[Effect] = [Want(job, 0) for job in pulled]
        for lease in list(self.leases.values()):
            if lease.key.job not in jobs and not lease.cancelled:
                begun = lease.phase is not Phase.WAITING
                lease.cancelled = True
                effects.append(Cancel(lease.key, begun))
                if not begun:
                    self._forget(lease)
        for job in gone:
            self._waiting.pop(job, None)
        return effects

    def _superseded(self, key: Key) -> list[Effect]:
        lease = self.leases.get(key)
        if lease is None or lease.cancelled:
            return []
        lease.cancelled = True
        if lease.phase is not Phase.WAITING:
            return [Cancel(key, begun=True)]
        self._waiting[key.job].remove(lease)
        if not self._waiting[key.job]:
            del self._waiting[key.job]
        self._forget(lease)
        return [Cancel(key, begun=False), Tell()]

    def _received(self, event: Received, now_s: float) -> list[Effect]:
        job = event.key.job
        self._answered(job)
        if event.key in self.leases:
            return []  # the same message once more: it was lost in between and is ours again
        lease = Lease(event.key, event.index, event.generation, event.fresh, now_s)
        if job not in self.jobs:
            return [Cancel(lease.key, begun=False)]
        if self.stopped or self._alone:
            return [GiveBack(lease.key)]
        self.leases[lease.key] = lease
        self._count[Phase.WAITING] += 1
        self._waiting.setdefault(job, deque()).append(lease)
        self._pending[job] = event.pending
        return [Tell()]

    def _answered(self, job: str) -> None:
        """Note that one of the messages that were asked for has come."""
        if job in self._asked:
            self._asked[job] = max(0, self._asked[job] - 1)

    def _ran(self, key: Key, stored: bool, now_s: float) -> list[Effect]:
        lease = self._move(key, Phase.BEGUN, Phase.REPORTING if stored else Phase.STORING)
        if lease is None or not lease.started:
            return []  # what had its outcome, or was given up, says nothing of how long the others take
        took_s = now_s - lease.begun_s
        if self._typical_s is None:
            self._typical_s = took_s
        else:
            self._typical_s += _TYPICAL_WEIGHT * (took_s - self._typical_s)
        self._slow = False
        return []

    def _gone_on(self, event: Advanced | Started, now_ns: int) -> list[Effect]:
        lease = self.leases.get(event.key)
        if lease is None or lease.phase is not Phase.BEGUN:
            return []
        lease.started = isinstance(event, Started)
        if isinstance(event, Advanced):
            lease.index, lease.generation, lease.begun_ns = event.index, event.generation, now_ns
            if self._alone == event.key:
                self._alone = None
        return [Tell()]

    def _settled(self, key: Key) -> list[Effect]:
        lease = self.leases.get(key)
        if lease is None:
            return []
        self._forget(lease)
        return [Tell()] if self.idle else []

    def _aged(self, now_s: float) -> list[Effect]:
        old: list[Lease] = []
        for job, waiting in list(self._waiting.items()):
            while waiting and now_s - waiting[0].received_s >= self.give_back_s:
                old.append(waiting.popleft())
                self._forget(old[-1])
            if not waiting:
                del self._waiting[job]
        if old:
            self._slow = True
        return [GiveBack(each.key) for each in old]

    def _stop(self) -> list[Effect]:
        if self.stopped:
            return []
        self.stopped = True
        return self._let_go()

    def _isolate(self, key: Key) -> list[Effect]:
        if self.stopped or self._alone == key or key not in self.leases:
            return []
        self._alone = key
        return self._let_go()

    def _let_go(self) -> list[Effect]:
        """Have nothing more come, and give back what waits."""
        effects: list[Effect] = [Want(job, 0) for job in self._asked]
        self._asked.clear()
        return [*effects, *(GiveBack(each.key) for each in self._drop_waiting()), Tell()]

    # --- what follows from the state --------------------------------------------------------------

    def _begin(self, effects: list[Effect], now_s: float, now_ns: int) -> None:
        while self._waiting and self._slots_free():
            lease = self._next()
            self._take(lease)
            lease.phase = Phase.BEGUN
            self._count[Phase.WAITING] -= 1
            self._count[Phase.BEGUN] += 1
            lease.begun_s, lease.begun_ns = now_s, now_ns
            effects += (Tell(), Begin(lease.key))

    def _look_ahead(self, effects: list[Effect]) -> None:
        """Stage the next one, and ask for more."""
        if self._stages and self._waiting:
            following = self._next()
            if following.fresh and not following.staged:
                following.staged = True
                effects.append(Stage(following.key))
        free = self.slots - self._count[Phase.BEGUN] - self._count[Phase.WAITING]
        ahead = self._ahead()
        for job in self.jobs[:JOBS_MAX]:
            most = max(0, free + ahead)
            asked = self._asked.get(job, 0)
            lack = most - asked
            if (lack > 0 and (asked < free or 2 * lack > ahead)) or (lack < 0 and self._slow):
                self._asked[job] = most
                effects.append(Want(job, most))
            ahead = 0  # of the younger ones

    def _ahead(self) -> int:
        """Return how many datums of the oldest job are to be held beside those that have a slot."""
        typical_s = self._typical_s
        if typical_s is None:  # one, to be staged while the first one runs
            return 0 if self._slow else min(self.prefetch, 1)
        if self._slow or typical_s > LONG_S or not self.jobs:
            return 0
        fair = self._count[Phase.WAITING] + (self._pending.get(self.jobs[0], 0) + 1) // 2
        paced = math.ceil(self.ahead_s / max(typical_s, 1e-6))
        return min(self.prefetch, paced, fair)

    def _slots_free(self) -> int:
        if self.stopped or self._alone:
            return 0
        _, begun, storing, reporting = self._count
        return 0 if storing >= STORING_MAX or reporting >= REPORTING_MAX else self.slots - begun

    def _next(self) -> Lease:
        """Return what is begun next: of the oldest job, what came first; there must be something."""
        waiting = self._waiting
        if len(waiting) > 1:
            return next(waiting[job][0] for job in self.jobs if job in waiting)
        return next(iter(waiting.values()))[0]

    def _take(self, lease: Lease) -> None:
        """Take the first waiting one of its job off the line."""
        waiting = self._waiting[lease.key.job]
        waiting.popleft()
        if not waiting:
            del self._waiting[lease.key.job]

    def _move(self, key: Key, from_: Phase, to: Phase) -> Lease | None:
        lease = self.leases.get(key)
        if lease is None or lease.phase is not from_:
            return None
        lease.phase = to
        self._count[from_] -= 1
        self._count[to] += 1
        return lease

    def _drop_waiting(self) -> list[Lease]:
        dropped = [each for waiting in self._waiting.values() for each in waiting]
        self._waiting.clear()
        for each in dropped:
            self._forget(each)
        return dropped

    def _forget(self, lease: Lease) -> None:
        del self.leases[lease.key]
        self._count[lease.phase] -= 1
        if self._alone == lease.key:
            self._alone = None
