"""Who leads: one process of a service acts, the others stand by, and agree on it by one record in KV.

    standing by --claimed by compare-and-set--> leading --renewed at a third of its life--> leading
         ^                                        |  |
         |                                        |  +--deadline passed, unanswered--> in doubt: it acts no
         |                                        |        more; a renewal that is stored ends the doubt
         +--wound up-- ending <--taken by another-+
         +--released, since it was told to stop---+

*The holder* counts from the instant before it sent what was stored last: until `life_s` later, by a clock
that never goes back and goes on while the process is stopped, nobody else can lead. After that it is in
doubt, and does nothing that another leader might mind. Its renewal is a compare-and-set on the revision
that it wrote itself, so one that succeeds proves that nobody has led in between: it goes on where it was,
and a server that is away for some seconds costs nobody's state.

*Who stands by* counts from the instant at which it saw a revision for the first time, which is later than
the holder's. Where nothing has changed for `life_s` and a little more (their clocks' rates may differ), it
claims by a compare-and-set on that revision: a holder that has renewed meanwhile, seen or not, makes the
server refuse it. No wall clock is compared, and nothing rests on the server's.

At once it may claim what is released, what nobody holds, and, at its start, what a process of *its own
name* holds: who gives a name to a process starts no other of that name before the former is gone.

*All rests on the record*, which nobody but the candidates writes. Is it lost, or overwritten by something that is none, it is taken
for one that nobody holds, and claimed at once; who held it holds on until it is told of that or its renewal is refused, a
third of its life later if the server answers, and for the whole of it if not. So long two may lead.
A bucket that was in memory and is lost counts its revisions from 1 again, so one of before comes round, and a compare-and-set on it
would succeed against a record that its writer has never seen. So nobody writes by what was so two lives ago, be it one that
was stopped or cut off: it looks first. What it was told does not count for that, since it may have waited to be read.

A crash between any two lines: before the claim is stored, nobody leads for a while; after it, the claim
lives `life_s`, then another takes it. A write that was stored and not answered is found by the refusal
of the next one: the record names the incarnation. Between the look at the deadline and the arrival of an
effect a process may be stopped for any time; why such an effect does no harm, docs/leading.md says of each.
"""

from dataclasses import dataclass
from typing import assert_never

import msgspec

from trunkline.contracts.records import Candidate

LIFE_S = 2.0
"""Of a claim that is not renewed. Another leads at most this after a kill; a holder that is held up for
longer, by its machine or its server, acts no more until it has renewed."""
RENEWALS = 3
"""In one life: two may be lost."""
APART = 1.05
"""How many lives who stands by waits: two clocks that differ by 2 % in their rates still agree."""
STALE = 2
"""Lives after which what is known of the record is looked up before anything is written by it."""
AGAIN_S = 0.1
"""Seconds after a write without an answer until the next one."""


@dataclass(frozen=True)
class Observed:
    """What the record is: told by the bucket in order, or looked up."""

    candidate: Candidate | None
    revision: int
    now_s: float
    asked_s: float | None = None
    """When it was looked up, which may be long before it is heard; None: it was told."""


@dataclass(frozen=True)
class Tick:
    """Time has passed."""

    now_s: float
    wall_ns: int = 0


@dataclass(frozen=True)
class Stored:
    """What was to be written is stored."""

    revision: int
    now_s: float


@dataclass(frozen=True)
class Refused:
    """It is not: the record has another revision."""

    now_s: float


@dataclass(frozen=True)
class Unanswered:
    """It is unknown whether it is stored."""

    now_s: float


@dataclass(frozen=True)
class WoundUp:
    """After StandDown, nothing acts any more."""

    now_s: float


@dataclass(frozen=True)
class Leave:
    """The process is to end, and nothing acts any more."""

    now_s: float


Event = Observed | Tick | Stored | Refused | Unanswered | WoundUp | Leave


@dataclass(frozen=True)
class Write:
    """Write the record, if it has this revision; 0: if there is none."""

    candidate: Candidate
    expected: int
    sent_s: float


@dataclass(frozen=True)
class Look:
    """Look the record up."""


@dataclass(frozen=True)
class Lead:
    """Begin to act."""


@dataclass(frozen=True)
class StandDown:
    """Another one leads: stop all that acts."""


Effect = Write | Look | Lead | StandDown


class Election:
    """One candidate's part in it.

    Invariant: of all candidates for one record, `holds` is true for at most one at any instant, whatever is
    lost, late, doubled or stopped, as long as their clocks' rates differ by 2 % at most and the record itself is kept.

    Args:
        me: With its name, its incarnation, and the life of its claims.
        named: Whether its name was given, so that it inherits what that name holds.
    """

    def __init__(self, me: Candidate, *, named: bool) -> None:
        self._me = me
        self._heir = named
        self._seen = False
        self._record: Candidate | None = None
        self._revision = 0
        self._since_s = 0.0
        """When that revision was first seen."""
        self._known_s = float("-inf")
        """When it was that for sure: the latest look's or write's."""
        self._looking = False
        self._leading = self._ending = self._leaving = False
        self._deadline_s = float("-inf")
        self._sent_s = float("-inf")
        self._again_s = float("-inf")
        self._writing: Write | None = None

    @property
    def leading(self) -> bool:
        """Whether it leads, as far as it knows."""
        return self._leading

    @property
    def follows(self) -> bool:
        """Whether it stands by, and knows of one that leads."""
        record = self._record
        if self._leading or record is None or record.released:
            return False
        return record.incarnation != self._me.incarnation

    @property
    def me(self) -> Candidate:
        """The candidate, with its term if it leads."""
        return self._me

    @property
    def left(self) -> bool:
        """Whether there is nothing more to do before the process ends."""
        return self._leaving and self._writing is None and not self._leading

    def holds(self, now_s: float) -> bool:
        """Whether nobody else can lead at this instant."""
        return self._leading and now_s < self._deadline_s

    def next_s(self) -> float | None:
        """Return when the next Tick may have an effect; None: not before another event."""
        if self._writing is not None or self._looking or self._leaving or self._ending:
            return None
        if self._leading:
            return max(self._sent_s + self._me.life_s / RENEWALS, self._again_s)
        if not self._seen:
            return None
        return max(self._free_at_s(), self._again_s)

    def handle(self, event: Event) -> list[Effect]:
        """Take one event into account and return what is to be done about it, in order."""
        match event:
            case Observed():
                return self._observed(event)
            case Tick():
                return self._tick(event)
            case Stored():
                return self._stored(event)
            case Refused() | Unanswered():
                self._writing = None
                self._heir = False
                self._again_s = event.now_s + AGAIN_S
                if self._leaving:
                    self._leading = False
                    return []
                return [Look()] if isinstance(event, Refused) else []
            case WoundUp():
                self._ending = False
                return []
            case Leave():
                self._leaving = True
                return self._release(event.now_s)
            case _:
                assert_never(event)

    def _free_at_s(self) -> float:
        """Return when the record may be claimed."""
        record = self._record
        if record is None or record.released or record.incarnation == self._me.incarnation:
            return self._since_s
        if self._heir and record.name == self._me.name:
            return self._since_s
        return self._since_s + record.life_s * APART

    def _observed(self, event: Observed) -> list[Effect]:
        record, known = event.candidate, self._revision
        if event.asked_s is not None:
            self._known_s, self._looking = event.asked_s, False
        elif self._seen and event.revision <= known:
            return []  # what was told is older than what was written, or looked up
        if self._leading and self._is_mine(record):
            if self._writing is None:
                self._revision = event.revision  # of a write whose answer was lost
            return []
        if not self._seen or event.revision != known:
            self._record, self._revision = record, event.revision
            self._since_s = event.now_s
        self._seen = True
        if record is not None and record.name != self._me.name:
            self._heir = False
        if not self._leading:
            return []
        self._leading, self._ending = False, True
        self._deadline_s = float("-inf")
        self._me = msgspec.structs.replace(self._me, term=0)
        return [StandDown()]

    def _is_mine(self, record: Candidate | None) -> bool:
        me = self._me
        return record is not None and (record.incarnation, record.term) == (me.incarnation, me.term)

    def _tick(self, event: Tick) -> list[Effect]:
        due_s = self.next_s()
        if due_s is None or event.now_s < due_s:
            return []
        me = self._me
        if self._stale(event.now_s):
            self._looking = True
            return [Look()]
        if not self._leading:
            term = self._record.term + 1 if self._record is not None else 1
            me = msgspec.structs.replace(me, term=term, since_ns=event.wall_ns)
        return self._write(me, event.now_s)

    def _stale(self, now_s: float) -> bool:
        return now_s - self._known_s > self._me.life_s * STALE

    def _write(self, candidate: Candidate, now_s: float) -> list[Effect]:
        self._writing = Write(candidate, self._revision, now_s)
        return [self._writing]

    def _stored(self, event: Stored) -> list[Effect]:
        written, self._writing = self._writing, None
        assert written is not None
        self._heir = False
        if event.revision < self._revision:
            return []  # another has taken it since
        self._record, self._revision = written.candidate, event.revision
        self._since_s = event.now_s
        self._known_s = written.sent_s
        if written.candidate.released or self._ending:
            self._leading = False
            return []
        begins, self._leading = not self._leading, True
        self._me = written.candidate
        self._sent_s, self._deadline_s = written.sent_s, written.sent_s + self._me.life_s
        if self._leaving:
            return self._release(event.now_s)
        return [Lead()] if begins else []

    def _release(self, now_s: float) -> list[Effect]:
        if not self._leading or self._writing is not None:
            return []
        if self._stale(now_s):  # the claim is over, and whose the record is now, nobody knows
            self._leading = False
            return []
        return self._write(msgspec.structs.replace(self._me, released=True), now_s)
