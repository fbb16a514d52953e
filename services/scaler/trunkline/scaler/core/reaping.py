"""Who holds what, who is gone, and what is done about it: the reaper's decisions.

Per worker (named by pipeline and name; the pipeline is the authenticated user's word, never the
worker's) there is at most one living incarnation:

    unknown --claim--> living --closing claim--------------------------> closed
                         |  ^                                              ^
       connection lost,  |  | claim of the same incarnation within         |
       or silent and     |  | CHARGE_AFTER_S: all is withdrawn             |
       not listed        v  |                                              |
                        lost --the cluster says that its process is gone--> dead

    living --its process is gone--> dead
    living --an incarnation that follows it claims the name--> lost
    living --one that it follows itself claims the name--> living

*Which follows which.* Two processes may speak under one name: a node was cut off, its worker was given up,
its name was given to another one, and the node is back; or a claim is late, since the server that had it was
stopped. No wall clocks are compared. Each process has the server number its first claim (`Claim.order`): who has begun to
speak later has the higher number, however often it comes back. Where one of them has no number yet, one that was
lost before does not follow. A living one that has said nothing for SILENT_S is followed by whoever speaks: so no
number, and be it wrong (the stream of claims was lost, and counts anew), keeps a worker from being heard for ever.

What a former process claims is given back, each lease once and none that a living worker claims; and it is told
to drain, for if it lives it takes datums like any other, and nobody would notice its end.

On the way to `lost` or `dead`: what the worker had not begun is naked at once, and so is what it was
still preparing (its inputs, a look at its ledger); whose command ran is charged first (an entry in the ledger), then naked; then an empty claim is stored in its name, so
that nobody reaps it again. A worker whose last claim was `closing` left on purpose and is charged
nothing.

The entry has the cause that the cluster gives. A worker that went with its node, or was evicted or deleted, has its
datums' attempts in the ledger, but nobody is charged for them. Mostly its connection is lost before the cluster says
so: then the charge is excused, up to FORGET_S seconds later.

What a death of the reaper between any two effects leaves: leases without a nak (the sweep of its
successor finds the claim still standing, and ack_wait is the net below), or a charge whose nak is
missing (the same). Everything is safe to repeat: a nak of what is settled or purged does nothing,
a charge finds its own entry, a withdrawal finds nothing to withdraw.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import assert_never

import msgspec

from trunkline.contracts.attempts import CHARGE_AFTER_S, CHARGED
from trunkline.contracts.messages import HEARTBEAT_S, Claim, Held
from trunkline.contracts.states import Cause
from trunkline.scaler.core.losses import (
    Charge,
    ClaimHeard,
    Close,
    Connected,
    Disconnected,
    Dismiss,
    Effect,
    Event,
    Excuse,
    Key,
    LookUp,
    Nak,
    ProcessGone,
    Reaped,
    Reconnected,
    Tick,
    Withdraw,
)

SILENT_S = HEARTBEAT_S + 1.0
"""Seconds without a claim after which a worker that is neither listed nor connected is swept."""
DEAF_S = 30.0
"""Seconds without a claim after which what is known of a worker's connections counts no more: a server
that is there would have ended them, so it was lost itself, with all that it had to say."""
FORGET_S = 60.0
"""Seconds after which a worker that is gone is no longer remembered."""

SERVER_STOPS = frozenset({"Server Shutdown", "Cluster Name Conflict", "Kicked"})
"""Reasons of a disconnect that say nothing about the worker."""

UNKNOWN = "connection lost"


@dataclass
class _Known:
    """One worker, as far as it was heard of."""

    heard_s: float
    claim: Claim | None = None
    """The last one of the incarnation that lives; None once that is lost, dead or closed."""
    connections: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Lost:
    """An incarnation that is gone for now."""

    held: tuple[Held, ...]
    at_s: float
    dead: bool
    instance: str = ""
    cause: Cause = Cause.WORKER_LOST
    """What its attempts were put down to."""


class Reaping:
    """The state of the reaper: a cache of claims and of who was reaped lately.

    Invariant: an incarnation is living or among the gone, never both; so nothing that it held is
    given back twice.
    """

    def __init__(self) -> None:
        self._known: dict[Key, _Known] = {}
        self._gone: dict[tuple[Key, str], _Lost] = {}
        """By worker and incarnation."""

    def claim(self, key: Key) -> Claim | None:
        """Return the last claim of a living worker."""
        known = self._known.get(key)
        return known.claim if known else None

    def heard_s(self, key: Key) -> float | None:
        """Return when a living worker was last heard of."""
        known = self._known.get(key)
        return known.heard_s if known and known.claim else None

    def living(self) -> list[tuple[Key, Claim]]:
        """Return all workers that live, with their last claims."""
        return [(key, known.claim) for key, known in self._known.items() if known.claim]

    def handle(self, event: Event) -> list[Effect]:
        """Take one event into account and return what is to be done about it, in order."""
        match event:
            case ClaimHeard():
                return self._heard(event)
            case Connected():
                return self._connected(event)
            case Disconnected():
                return self._disconnected(event)
            case ProcessGone():
                return self._process_gone(event)
            case Reconnected():
                return self._reconnected(event)
            case Tick():
                return self._tick(event)
            case _:
                assert_never(event)

    def _heard(self, event: ClaimHeard) -> list[Effect]:
        key, claim, now_s = event.key, event.claim, event.now_s
        if is_mark(claim):
            return []
        known = self._known.setdefault(key, _Known(heard_s=now_s))
        gone = self._gone.get((key, claim.incarnation))
        if gone is not None and gone.dead:
            return self._late(key, claim, gone, "a last claim of a dead process")
        effects: list[Effect] = []
        living = known.claim
        if living is not None and living.incarnation != claim.incarnation:
            if not self._follows(key, claim, known, now_s):
                gone = gone or _Lost((), now_s, False, claim.instance)
                return self._late(key, claim, gone, "a claim of a former process")
            effects += self._lose(key, known, "another process has its name", now_s, dead=False)
        elif living is not None and claim.number < living.number:
            return []  # it has come the longer way
        known.heard_s = now_s
        effects += self._back(key, claim, now_s)
        known.claim = None if claim.closing else claim
        if claim.closing:
            self._gone[key, claim.incarnation] = _Lost(
                claim.held, now_s, True, claim.instance, Cause.DRAINED
            )
            effects += [Nak(key[0], held) for held in claim.held]
        return effects

    def _follows(self, key: Key, claim: Claim, known: _Known, now_s: float) -> bool:
        """Return whether a claim is of a later process than the one that lives by its name."""
        living = known.claim
        if living is None or now_s - known.heard_s > SILENT_S:
            return True
        if claim.order and living.order:
            return claim.order > living.order
        return (key, claim.incarnation) not in self._gone

    def _back(self, key: Key, claim: Claim, now_s: float) -> list[Effect]:
        """Let who was lost live on; in time, it is charged nothing."""
        gone = self._gone.pop((key, claim.incarnation), None)
        if gone is None or now_s - gone.at_s > CHARGE_AFTER_S:
            return []
        return [
            Withdraw(key[0], held, claim.worker, claim.incarnation)
            for held in gone.held
            if _runs(held)
        ]

    def _late(self, key: Key, claim: Claim, gone: _Lost, reason: str) -> list[Effect]:
        """Give back what is claimed by who does not live, or not by this name; and have it end."""
        again = (key, claim.incarnation) in self._gone
        new = tuple(each for each in claim.held if each not in gone.held)
        self._gone[key, claim.incarnation] = replace(gone, held=gone.held + new)
        elsewhere = self._claimed(key[0]) if new else frozenset()
        late = [each for each in new if (each.job, each.sequence) not in elsewhere]
        effects: list[Effect] = [Close(key[0], claim)]
        if late:
            cause = Cause.DRAINED if claim.closing else gone.cause
            effects = _reap(key, claim, late, reason, cause, again=again)
        if not claim.draining:
            effects.append(Dismiss(*key, claim.incarnation))
        return effects

    def _claimed(self, pipeline: str) -> frozenset[tuple[str, int]]:
        """Return the leases that a pipeline's living workers claim."""
        return frozenset(
            (held.job, held.sequence)
            for (of, _), claim in self.living()
            if of == pipeline
            for held in claim.held
        )

    def _connected(self, event: Connected) -> list[Effect]:
        """A worker that reconnects drops what it has not begun: give that back for it."""
        known = self._known.setdefault(event.key, _Known(heard_s=event.now_s))
        told_again = not event.new or event.connection in known.connections
        if not told_again:
            # it has one at a time, and a server that was killed never says that the former is gone
            known.connections.clear()
        known.connections.add(event.connection)
        if known.claim is None or told_again:
            return []
        dropped = [held for held in known.claim.held if not held.executing]
        begun = tuple(held for held in known.claim.held if held.executing)
        known.claim = _holding(known.claim, begun)
        return [Nak(event.key[0], held) for held in dropped]

    def _disconnected(self, event: Disconnected) -> list[Effect]:
        known = self._known.get(event.key)
        if known is not None:
            known.connections.discard(event.connection)
        if event.reason in SERVER_STOPS:
            return []
        if known is None or known.claim is None:
            heard = any(key == event.key for key, _ in self._gone)
            return [] if heard or event.looked_up else [LookUp(replace(event, looked_up=True))]
        if known.connections or known.claim.connection not in ("", event.connection):
            return []  # it has a newer one, or this was a former process's: its claims will say
        return self._lose(event.key, known, event.reason or UNKNOWN, event.now_s, dead=False)

    def _process_gone(self, event: ProcessGone) -> list[Effect]:
        last = ""
        for (key, incarnation), gone in self._gone.items():
            if key != event.key or not _is_of(gone.instance, event):
                continue
            if gone.dead or not event.again:
                self._gone[key, incarnation] = replace(gone, dead=True)
                if not last or gone.at_s >= self._gone[key, last].at_s:
                    last = incarnation
        known = self._known.get(event.key)
        if (
            event.again
            or known is None
            or known.claim is None
            or not _is_of(known.claim.instance, event)
        ):
            return self._excuse(event, last) if last else []
        return self._lose(event.key, known, event.reason, event.now_s, dead=True, cause=event.cause)

    def _excuse(self, event: ProcessGone, incarnation: str) -> list[Effect]:
        """Take a charge back that was made before it was known how the worker went."""
        gone = self._gone[event.key, incarnation]
        if event.cause in CHARGED or gone.cause is not Cause.WORKER_LOST:
            return []
        self._gone[event.key, incarnation] = replace(gone, cause=event.cause)
        pipeline, worker = event.key
        return [
            Excuse(pipeline, held, worker, incarnation, event.reason, event.cause)
            for held in gone.held
            if _runs(held)
        ]

    def _reconnected(self, event: Reconnected) -> list[Effect]:
        """Give everybody the time to come back that a silent worker is given."""
        for known in self._known.values():
            known.connections.clear()
            known.heard_s = max(known.heard_s, event.now_s)
        return []

    def _tick(self, event: Tick) -> list[Effect]:
        effects: list[Effect] = []
        for which, gone in list(self._gone.items()):
            if event.now_s - gone.at_s > FORGET_S:
                del self._gone[which]
        for key, known in list(self._known.items()):
            silent_s = event.now_s - known.heard_s
            if silent_s > DEAF_S:
                known.connections.clear()
            if known.claim is None:
                if silent_s > FORGET_S and not known.connections:
                    del self._known[key]
            elif known.connections or event.listed is None or key in event.listed:
                continue
            elif silent_s > SILENT_S:
                effects += self._lose(key, known, "no sign of life", event.now_s, dead=False)
        return effects

    def _lose(
        self,
        key: Key,
        known: _Known,
        reason: str,
        now_s: float,
        *,
        dead: bool,
        cause: Cause = Cause.WORKER_LOST,
    ) -> list[Effect]:
        claim = known.claim
        assert claim is not None
        known.claim = None
        self._gone[key, claim.incarnation] = _Lost(claim.held, now_s, dead, claim.instance, cause)
        return _reap(key, claim, claim.held, reason, cause)


def mark(claim: Claim, at_ns: int) -> Claim:
    """Return the empty claim that the reaper stores in the name of a worker that is gone."""
    return Claim(
        worker=claim.worker,
        incarnation=claim.incarnation,
        code_hash=claim.code_hash,
        slots=0,
        draining=True,
        closing=True,
        at_ns=at_ns,
        cut=claim.cut,
    )


def is_mark(claim: Claim) -> bool:
    """Return whether a claim is the reaper's own, which says nothing new to it."""
    return claim.closing and claim.slots == 0


def _reap(
    key: Key,
    claim: Claim,
    held: Collection[Held],
    reason: str,
    cause: Cause,
    *,
    again: bool = False,
) -> list[Effect]:
    pipeline, worker = key
    unbegun = [Nak(pipeline, each, worker) for each in held if not _runs(each)]
    begun = [
        Charge(pipeline, each, worker, claim.incarnation, reason, cause)
        for each in held
        if _runs(each)
    ]
    charged = len(begun) if cause in CHARGED else 0
    back = len(unbegun) + len(begun) - charged
    told = Reaped(pipeline, worker, claim.incarnation, reason, back, charged, again)
    return [*unbegun, *begun, Close(pipeline, claim), told]


def _is_of(instance: str, event: ProcessGone) -> bool:
    """Return whether what is known of a process may be meant, and not another one that had its name."""
    return instance == event.instance or "" in (instance, event.instance)


def _runs(held: Held) -> bool:
    return held.executing and not held.preparing


def _holding(claim: Claim, held: tuple[Held, ...]) -> Claim:
    return msgspec.structs.replace(claim, held=held)
