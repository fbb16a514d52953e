"""Tries of a datum: the ledger, who is charged for what, and the verdict before the next start.

The first delivery of a datum is free of any record. From then on the ledger of the datum (the last
message on `subjects.attempts`, changed by compare-and-set only) holds one entry per attempt:

1. A worker that gets a datum that may have been delivered before (delivery count over 1, or a
   message of a later round) reads the ledger, asks `verdict`, and if that is `Run`, adds a started
   attempt of its own and waits for the PubAck before it starts the command.
2. A worker whose attempt ends badly adds or closes its attempt with the cause, then naks.
3. When a worker's connection is gone without good-bye, the reaper closes (or adds) the attempt of
   each datum whose command the worker's claim says was running, with cause `worker-lost` and the time;
   then it naks. The others are naked without a record. A claim may be older than the ledger: where the run that it
   tells of has its end there, written before the worker was lost, nothing is added.
4. A worker that comes back (same incarnation) within CHARGE_AFTER_S withdraws those entries.
5. A worker that gets back a datum whose last try failed on itself *passes it on*: it counts that in the
   ledger and naks with a short delay, so that another one may take it that waits for work. Whether there is
   one it does not know, so after PASSES_MAX passes it tries again itself.
6. Whoever knows more, *explains* an attempt later. A worker whose user's container is gone writes
   `user-container-lost`; where the cluster says that memory was what it ended of, the scaler makes it
   `oom`, which is charged. A worker that was lost with its node, evicted or deleted is charged nothing after all.
7. A *copy* (`speculation`) is run beside the first attempt, once, and only of a datum whose ledger is empty. It records its
   start, marked as a copy, and charges nobody however it ends: it may be given up at any time, and cannot end the datum badly.
8. A datum that was executing at SUSPECT_AFTER ends of workers or containers is *suspected*: from then on it is run by a worker
   that has nothing else in hand, so nobody else is held up when it happens again.

So at each step a crash leaves a ledger that charges at most one attempt too few. A started attempt
without an end charges nobody: its worker may live, and be held up with it by a server that was away for longer
than a lease; whether it is gone is the reaper's word alone. If that never comes, FREE_BOUND is the end. A
datum that always kills its worker comes to its end after `tries` charged attempts. A charge for a lost worker is
provisional for CHARGE_AFTER_S seconds; a verdict against the datum that rests on it waits that long, and says so
in the ledger: clocks of two machines may disagree, so that by them it would seem to be over at once. And
where a lost container, once explained, would be the last try, EXPLAIN_S are given to that. If nobody explains it
(no cluster that could say, a scaler that is away), it is charged to nobody, and FREE_BOUND is the end.
Nothing here rests on JetStream's delivery count, which a server crash resets.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec

from trunkline.contracts.bounds import Count, ExitCode, Nanoseconds
from trunkline.contracts.states import Cause, DatumState

CHARGE_AFTER_S = 10.0
"""Seconds in which a worker that lost its connection may come back and be charged nothing."""

EXPLAIN_S = 5.0
"""Seconds in which a cluster says what a container has ended of: kubelets tell some 1 or 2 s later."""

EXPLAIN_LOOK_S = 0.5
"""Seconds between looks whether it has."""

FREE_BOUND = 20
"""How many attempts that charge nobody a datum may use up before it is quarantined all the same."""

SUSPECT_AFTER = 2
"""Ends of workers or containers in which a datum was executing, after which it is run alone."""

PASSES_MAX = 2
"""How often a worker passes on a datum that failed on it, after each try. The server gives a message to
whoever has waited longest, so the first pass reaches another worker if one waits at all."""

PASS_DELAY_S = 0.05
"""Seconds until such a datum comes again; a worker that is alone tries again PASSES_MAX times that later."""

CHARGED = frozenset({Cause.USER_EXIT, Cause.USER_TIMEOUT, Cause.OOM, Cause.WORKER_LOST})
"""Causes that count against `datum_tries`. A container that is lost without its worker is not among
them: it may be no fault of the datum's, and FREE_BOUND ends what always takes it along."""

NO_FAILURE = frozenset(
    {Cause.DONE, Cause.DRAINED, Cause.SERVER_RESTART, Cause.CANCELLED, Cause.SUPERSEDED}
)
"""Causes of which an attempt ends that has not failed."""

_MAY_BE_LOST = frozenset({None, Cause.SERVER_RESTART, Cause.CONTAINER_LOST})
"""What is said of attempts with which a worker may still be lost: it runs, it was back, or only the container was gone."""

_SUSPECT = frozenset({None, Cause.WORKER_LOST, Cause.CONTAINER_LOST, Cause.OOM})
"""Causes that may take others along; memory may be used up by outputs of others, too (`memory_volume`)."""

_PASSED = CHARGED | {Cause.NO_RESOURCES}
"""Causes after which a datum is rather tried somewhere else."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt at a datum by one worker incarnation."""

    worker: str
    incarnation: str
    started_ns: Nanoseconds
    """Wall clock of the worker, nanoseconds since the epoch; to show, never to decide."""
    ended_ns: Nanoseconds = 0
    """Wall clock of whoever ended it; 0 while it is not known to have ended."""
    cause: Cause | None = None
    exit_code: ExitCode | None = None
    detail: str = ""
    """One sentence for people: the last lines of stderr, or what the reaper saw."""
    copy: bool = False
    """Whether it was a second one beside another: it counts for nothing but its own outcome."""
    claimed_ns: Nanoseconds = 0
    """Since when the worker's claim said that it ran. By this it is known whether a claimed run was charged, or has ended."""


class Ledger(msgspec.Struct, frozen=True, kw_only=True, tag="attempt-ledger.v1"):
    """All recorded attempts at one datum, oldest first.

    Written by workers and by the reaper on `subjects.attempts` with the expected last sequence of
    that subject; read by workers before a start and by the coordinator to show them.
    """

    attempts: tuple[Attempt, ...] = ()
    generation: Count = 1
    passed: Count = 0
    """How often the datum was passed on since its last attempt."""
    waited: Count = 0
    """After how many attempts a verdict against the datum was put off, for a worker to come back."""


class Run(msgspec.Struct, frozen=True):
    """The datum may be started: record the attempt first."""

    alone: bool = False
    """Whether by a worker that holds nothing else: let go what is not begun and finish the rest before."""


class Wait(msgspec.Struct, frozen=True):
    """A charge is still provisional, or one is still to come: nak with this delay and look again."""

    delay_s: float
    noted: bool = False
    """Whether the ledger is to say so first (`waited`): this wait is the one that must be."""


class PassOn(msgspec.Struct, frozen=True):
    """Its last try failed on who asks: count this pass, and nak with this delay."""

    delay_s: float


class GiveUp(msgspec.Struct, frozen=True):
    """The datum is at the end of its tries: publish this outcome, with the ledger."""

    state: DatumState
    reason: str


Verdict = Run | Wait | PassOn | GiveUp


class Leave(msgspec.Struct, frozen=True):
    """The datum is not to be tried here at all: ack."""


def charged(ledger: Ledger) -> list[Attempt]:
    """Return the attempts that count against `datum_tries`.

    One without an end does not: whoever asks has the datum in hand, so its former holder has lost
    the lease, but perhaps nothing else. Nor does any of a copy.
    """
    return [each for each in ledger.attempts if each.cause in CHARGED and not each.copy]


def verdict(ledger: Ledger, tries: int, now_ns: int, incarnation: str = "") -> Verdict:
    """Return what is to be done about a datum with this ledger that was delivered once more.

    Args:
        ledger: What is recorded about the datum.
        tries: The spec's `datum_tries`, at least 1.
        now_ns: Wall clock, nanoseconds since the epoch.
        incarnation: Who asks, and would run it; empty for one that passes nothing on.
    """
    ledger = _without_copies(ledger)
    counted = charged(ledger)
    if len(counted) >= tries:
        return _against(ledger, counted, tries, now_ns)
    if len(ledger.attempts) - len(counted) >= FREE_BOUND:
        return GiveUp(state=DatumState.QUARANTINED, reason=_told_free(ledger))
    unexplained = _unexplained(ledger, now_ns)
    if unexplained and len(counted) + len(unexplained) >= tries:
        return Wait(delay_s=min(EXPLAIN_LOOK_S, *unexplained))
    if ledger.passed < PASSES_MAX and _failed_on(ledger, incarnation):
        return PassOn(delay_s=PASS_DELAY_S)
    return Run(alone=suspected(ledger))


def _against(ledger: Ledger, counted: list[Attempt], tries: int, now_ns: int) -> Wait | GiveUp:
    still_s = max(provisional_s(counted, now_ns), default=0.0)
    rests = any(each.cause is Cause.WORKER_LOST for each in counted)
    if rests and ledger.waited < len(ledger.attempts):
        return Wait(still_s or CHARGE_AFTER_S, noted=True)
    if still_s:
        return Wait(still_s)
    lost = counted[-1].cause is Cause.WORKER_LOST
    state = DatumState.QUARANTINED if lost else DatumState.FAILED
    return GiveUp(state=state, reason=_told(counted, tries))


def provisional_s(counted: Sequence[Attempt], now_ns: int) -> list[float]:
    """Return for each charge for a worker that was lost lately the seconds in which it may still come back."""
    open_s = [
        CHARGE_AFTER_S - (now_ns - each.ended_ns) / 1e9
        for each in counted
        if each.cause is Cause.WORKER_LOST
    ]
    return [each for each in open_s if 0 < each <= CHARGE_AFTER_S]


def suspected(ledger: Ledger) -> bool:
    """Return whether a datum was executing so often when a worker or a container ended that it is to run alone."""
    known = _without_copies(ledger).attempts
    return sum(each.cause in _SUSPECT for each in known) >= SUSPECT_AFTER


def verdict_of_copy(ledger: Ledger) -> Run | Leave:
    """Return whether a second worker may try a datum beside its first attempt, which has no entry.

    One that has failed, has taken a worker along or was copied already is left to who has it.
    """
    return Leave() if ledger.attempts else Run()


def superseded(ledger: Ledger, incarnation: str, now_ns: int) -> Ledger:
    """Return the ledger as an outcome of this incarnation's shows it: other copies are superseded by it.

    If it is not the first outcome, nobody sees that.
    """

    def told(each: Attempt) -> Attempt:
        if not each.copy or each.cause is not None or each.incarnation == incarnation:
            return each
        return msgspec.structs.replace(each, cause=Cause.SUPERSEDED, ended_ns=now_ns)

    if not any(each.copy for each in ledger.attempts):
        return ledger
    return msgspec.structs.replace(ledger, attempts=tuple(map(told, ledger.attempts)))


def _without_copies(ledger: Ledger) -> Ledger:
    if not any(each.copy for each in ledger.attempts):
        return ledger
    own = tuple(each for each in ledger.attempts if not each.copy)
    return msgspec.structs.replace(ledger, attempts=own)


def _unexplained(ledger: Ledger, now_ns: int) -> list[float]:
    """Return for each container that was lost lately the seconds in which somebody may still say why."""
    open_s = [
        EXPLAIN_S - (now_ns - each.ended_ns) / 1e9
        for each in ledger.attempts
        if each.cause is Cause.CONTAINER_LOST
    ]
    return [each for each in open_s if 0 < each <= EXPLAIN_S]


def _failed_on(ledger: Ledger, incarnation: str) -> bool:
    last = ledger.attempts[-1] if ledger.attempts else None
    return last is not None and last.incarnation == incarnation and last.cause in _PASSED


def passed(ledger: Ledger) -> Ledger:
    """Return the ledger with one more pass."""
    return msgspec.structs.replace(ledger, passed=ledger.passed + 1)


def waited(ledger: Ledger) -> Ledger:
    """Return the ledger after a verdict against the datum was put off."""
    return msgspec.structs.replace(ledger, waited=len(_without_copies(ledger).attempts))


def started(ledger: Ledger, attempt: Attempt) -> Ledger:
    """Return the ledger with a new attempt; told twice by one incarnation, it stands once."""
    own = (each for each in ledger.attempts if each.incarnation == attempt.incarnation)
    if any(each.ended_ns == 0 for each in own):
        return ledger
    return msgspec.structs.replace(ledger, attempts=(*ledger.attempts, attempt), passed=0)


def ended(ledger: Ledger, attempt: Attempt) -> Ledger:
    """Return the ledger with the open attempt of this incarnation closed, or with it added."""
    attempts = list(ledger.attempts)
    for position, each in enumerate(attempts):
        if each.incarnation == attempt.incarnation and each.ended_ns == 0:
            attempts[position] = msgspec.structs.replace(
                attempt,
                started_ns=each.started_ns,
                copy=each.copy,
                claimed_ns=attempt.claimed_ns or each.claimed_ns,
            )
            break
    else:
        attempts.append(attempt)
    return msgspec.structs.replace(ledger, attempts=tuple(attempts))


def lost(ledger: Ledger, attempt: Attempt) -> Ledger:
    """Return the ledger with the attempt at which an incarnation was lost; told twice, or of a run that was over, it changes nothing.

    One that came back may not have been withdrawn, and be lost again at a later attempt; and the start of either may
    be stored after its charge. The claim that a charge rests on tells them apart: it says since when that attempt ran.
    Of one that has tried only a copy, it is the copy's loss, also where the copy's entry was closed before: withdrawn,
    or by its own end.
    """
    own = [each for each in ledger.attempts if each.incarnation == attempt.incarnation]
    over = (each for each in own if each.cause not in _MAY_BE_LOST)
    if any(each.claimed_ns == attempt.claimed_ns for each in over):
        return ledger
    copy = bool(own) and all(each.copy for each in own)
    return ended(ledger, msgspec.structs.replace(attempt, copy=copy))


def withdrawn(ledger: Ledger, incarnation: str) -> Ledger:
    """Return the ledger after an incarnation came back: its last lost attempt charges nobody."""
    back = Attempt(
        worker="",
        incarnation=incarnation,
        started_ns=0,
        cause=Cause.SERVER_RESTART,
        detail="the worker came back",
    )
    return excused(ledger, back)


def explained(ledger: Ledger, attempt: Attempt) -> Ledger:
    """Return the ledger with the cause that is known by now of an attempt whose container was lost.

    If it is not there yet, it is added; explained twice, it stands once.
    """
    position = _last(ledger, attempt.incarnation, Cause.CONTAINER_LOST)
    if position is not None:
        return _with_cause(ledger, position, attempt)
    own = (each for each in ledger.attempts if each.incarnation == attempt.incarnation)
    if any(each.cause is attempt.cause for each in own):
        return ledger
    return ended(ledger, attempt)


def excused(ledger: Ledger, attempt: Attempt) -> Ledger:
    """Return the ledger with a charge for a lost worker turned into a cause that charges nobody."""
    position = _last(ledger, attempt.incarnation, Cause.WORKER_LOST)
    return ledger if position is None else _with_cause(ledger, position, attempt)


def _last(ledger: Ledger, incarnation: str, cause: Cause) -> int | None:
    found = [
        position
        for position, each in enumerate(ledger.attempts)
        if each.incarnation == incarnation and each.cause is cause
    ]
    return found[-1] if found else None


def _with_cause(ledger: Ledger, position: int, attempt: Attempt) -> Ledger:
    known = list(ledger.attempts)
    known[position] = msgspec.structs.replace(
        known[position], cause=attempt.cause, detail=attempt.detail
    )
    return msgspec.structs.replace(ledger, attempts=tuple(known))


def _told(counted: list[Attempt], tries: int) -> str:
    alike = Counter((_cause(each), each.worker) for each in counted)
    causes = ", ".join(
        f"{cause} on {worker}" if number == 1 else f"{cause} {number} times on {worker}"
        for (cause, worker), number in alike.items()
    )
    most = "1 try" if tries == 1 else f"{tries} tries"
    return f"gave up after {len(counted)} of {most}: {causes}"


def _told_free(ledger: Ledger) -> str:
    counts = Counter(
        str(each.cause or "without an end") for each in ledger.attempts if each.cause not in CHARGED
    )
    causes = ", ".join(f"{number} x {cause}" for cause, number in counts.most_common())
    return f"given up after {FREE_BOUND} attempts that were no fault of the datum's: {causes}"


def _cause(attempt: Attempt) -> str:
    code = "" if attempt.exit_code is None else f" {attempt.exit_code}"
    return f"{attempt.cause}{code}"
