"""From the end of a run to what becomes of the datum.

Before a run that may not be the first, the ledger is asked whether there is to be one (`judged`). After it, three
decisions: whose fault the end was (`judge`); what the spec's `err_cmd` has made of it, where there
is one (`after_err_cmd`); and, for a failed try and with the ledger that has this attempt in it, whether
the datum is tried again (`after`).

| end | fault | cause in the ledger |
|---|---|---|
| exit code 0, or one that the spec accepts | - | (done) |
| any other exit code, a signal | the datum's | user-exit |
| a signal, and the kernel killed for memory meanwhile | the datum's | oom |
| over the time limit | the datum's | user-timeout |
| a warm command says that it failed, or ends before it asks for the next one | the datum's | user-exit |
| a warm command does not ask for its first datum in time | the datum's | user-timeout |
| not found, not executable, bad directory, ... | the datum's | user-exit |
| no memory or no processes left to start it | ours | no-resources |
| output that cannot be a repo's content | the datum's | user-exit |
"""

import dataclasses
import errno
import signal
from collections.abc import Sequence
from typing import NamedTuple, assert_never

from trunkline.contracts import attempts
from trunkline.contracts.states import Cause, DatumState

FIRST_DELAY_S = 0.1
MOST_DELAY_S = 10.0
_NAMED_CHARS = 200
"""Of the inputs in a reason."""

_TOLD_CHARS = 500
"""Of what a warm command says of a failure."""

_OURS = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
_TEXTS = {
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.ENOEXEC: "not an executable file (does a script lack its #! line?)",
    errno.E2BIG: "arguments and environment are too large",
    errno.ENOTDIR: "a part of the path is no directory",
    errno.EINVAL: "an argument or a variable holds a NUL character",
    errno.ELOOP: "too many symbolic links",
    errno.ETXTBSY: "the file is being written",
}


@dataclasses.dataclass(frozen=True)
class Exited:
    """The command ended by itself."""

    code: int
    oom: bool = False
    """Whether the kernel killed for memory in its container meanwhile: a shell outlives what it has started."""


@dataclasses.dataclass(frozen=True)
class Signalled:
    """The command was ended by a signal that we did not send."""

    number: int
    oom: bool = False
    """Whether the kernel killed for memory in its container meanwhile."""


@dataclasses.dataclass(frozen=True)
class TimedOut:
    """The command was killed at the end of its time."""

    limit_s: float


@dataclasses.dataclass(frozen=True)
class NotStarted:
    """There was no command to run."""

    command: str
    number: int
    """errno."""
    directory: str = ""
    """Where it was to run, if it cannot run there."""
    user: str = ""
    """Whom it was to run as, if it cannot."""


@dataclasses.dataclass(frozen=True)
class Told:
    """A warm command says that the datum has failed, and lives on."""

    text: str


@dataclasses.dataclass(frozen=True)
class Left:
    """A warm command ended, and had not asked for the next datum."""

    how: Exited | Signalled
    ready: bool
    """Whether it had asked for this one."""


@dataclasses.dataclass(frozen=True)
class NotReady:
    """A warm command was killed since it did not ask for its first datum."""

    limit_s: float


Ended = Exited | Signalled | TimedOut | NotStarted | Told | Left | NotReady


class Judged(NamedTuple):
    """What is to be done about a datum, once this ledger is stored."""

    verdict: attempts.Verdict | attempts.Leave
    ledger: attempts.Ledger


@dataclasses.dataclass(frozen=True)
class Good:
    """The outputs count."""


@dataclasses.dataclass(frozen=True)
class Bad:
    """A failed attempt."""

    cause: Cause
    reason: str
    exit_code: int | None = None


@dataclasses.dataclass(frozen=True)
class Recovered:
    """A failed attempt that `err_cmd` has made good: the datum is done, without output."""

    bad: Bad


@dataclasses.dataclass(frozen=True)
class TryAgain:
    """Give it back, to be delivered after this delay."""

    delay_s: float
    reason: str


@dataclasses.dataclass(frozen=True)
class Fail:
    """Publish this as the outcome."""

    state: DatumState
    reason: str


def judge(ended: Ended, accepted: tuple[int, ...]) -> Good | Bad:
    """Return whether an attempt was good, or the cause that goes into the ledger.

    Args:
        ended: How it ended.
        accepted: Exit codes that count as success beside 0.
    """
    match ended:
        case Exited(code, oom):
            if code == 0 or code in accepted:
                return Good()
            cause, said = _charged(oom=oom)
            return Bad(cause, f"{said}exit code {code}", code)
        case Signalled(number, oom):
            cause, said = _charged(oom=oom)
            return Bad(cause, f"{said}killed by signal {_signal(number)}", -number)
        case TimedOut(limit_s):
            return Bad(Cause.USER_TIMEOUT, f"timed out after {limit_s:g} s")
        case NotStarted():
            return _not_started(ended)
        case Told(text):
            return Bad(Cause.USER_EXIT, " ".join(text.split())[:_TOLD_CHARS] or "it has failed")
        case Left(how, ready):
            return _left(how, ready)
        case NotReady(limit_s):
            text = f"it did not ask for a datum within {limit_s:g} s (datum_batching)"
            return Bad(Cause.USER_TIMEOUT, text)
        case _:
            assert_never(ended)


def _charged(*, oom: bool) -> tuple[Cause, str]:
    return (Cause.OOM, "out of memory: ") if oom else (Cause.USER_EXIT, "")


def _left(how: Exited | Signalled, ready: bool) -> Bad:
    when = "before it asked for the next" if ready else "before it asked for a first"
    verdict = judge(how, ())
    if isinstance(verdict, Bad):
        return dataclasses.replace(verdict, reason=f"{verdict.reason}, {when} datum")
    return Bad(Cause.USER_EXIT, f"it ended {when} datum (datum_batching), with exit code 0", 0)


def judge_output(path: str, reason: str) -> Bad:
    """Return the end of an attempt whose output holds something that cannot be stored."""
    return Bad(Cause.USER_EXIT, f"its output {path!r} cannot be stored: {reason}", 0)


def is_its_own(bad: Bad) -> bool:
    """Return whether a failed attempt was the command's own fault, which is what `err_cmd` is for."""
    return bad.cause in attempts.CHARGED


def after_err_cmd(bad: Bad, ended: Ended, accepted: tuple[int, ...]) -> Recovered | Bad:
    """Return what a failed attempt has come to once `err_cmd` has ended, in whatever way."""
    verdict = judge(ended, accepted)
    if isinstance(verdict, Good):
        return Recovered(bad)
    return dataclasses.replace(bad, reason=f"{bad.reason}; err_cmd: {verdict.reason}")


def after(
    ledger: attempts.Ledger, bad: Bad, tries: int, now_ns: int, paths: Sequence[str] = ()
) -> TryAgain | Fail:
    """Return what becomes of a datum after a failed attempt.

    It fails for good by no charge that may still be withdrawn: then it goes back for as long, and who gets it
    next judges.

    Args:
        ledger: With the failed attempt in it, closed.
        bad: The failed attempt.
        tries: The spec's `datum_tries`.
        now_ns: Wall clock, nanoseconds since the epoch.
        paths: What its inputs matched, for people.
    """
    where = _named(paths)
    counted = attempts.charged(ledger)
    charged = len(counted)
    if bad.cause in attempts.CHARGED:
        count = f" (try {charged} of {tries})" if tries > 1 else ""
        open_s = attempts.provisional_s(counted, now_ns)
        if charged - len(open_s) >= tries:
            return Fail(DatumState.FAILED, bad.reason + count + where)
        rest_s = max(open_s) if charged >= tries else delay_s(charged)
        return TryAgain(rest_s, bad.reason + count + where)
    free = len(ledger.attempts) - charged
    return TryAgain(delay_s(free), bad.reason + where)


def given_up(reason: str, paths: Sequence[str]) -> str:
    """Return why a datum is given up by its ledger, for people: with what its inputs matched."""
    return reason + _named(paths)


def delay_s(attempt: int) -> float:
    """Return the seconds before another try, after so many (from 1): doubling, bounded.

    0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, and 10 from the eighth on: three tries, the usual number, are over after
    0.3 s of waiting; what is away for some seconds is outlasted by eight. Nobody sleeps meanwhile: the
    server keeps the message, and the slot is free.
    """
    return min(MOST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(30, max(0, attempt - 1)))


def judged(
    ledger: attempts.Ledger, begun: attempts.Attempt, tries: int, now_ns: int, *, isolated: bool
) -> Judged:
    """Return what is to be done about a datum that may have come before.

    A write may be repeated after its answer was lost: on a ledger that has `begun` already the datum runs.

    Args:
        ledger: What is recorded about the datum.
        begun: The attempt, as it would be recorded at its start.
        tries: The spec's `datum_tries`.
        now_ns: Wall clock, nanoseconds since the epoch.
        isolated: Whether nothing else is in hand. If not, the start of one that is to run alone is not recorded yet.
    """
    if begun in ledger.attempts:
        return Judged(attempts.Run(), ledger)
    verdict: attempts.Verdict | attempts.Leave = (
        attempts.verdict_of_copy(ledger)
        if begun.copy
        else attempts.verdict(ledger, tries, now_ns, begun.incarnation)
    )
    match verdict:
        case attempts.Run(alone) if isolated or not alone:
            return Judged(verdict, attempts.started(ledger, begun))
        case attempts.PassOn():
            return Judged(verdict, attempts.passed(ledger))
        case attempts.Wait(noted=True):
            return Judged(verdict, attempts.waited(ledger))
        case _:
            return Judged(verdict, ledger)


def recorded(ledger: attempts.Ledger, attempt: attempts.Attempt) -> attempts.Ledger:
    """Return the ledger with a closed attempt; told twice, it stands once.

    A write of the ledger may be repeated after its answer was lost, so this must be a no-op on a
    ledger that has the attempt: one of the same incarnation and start, with the same cause, or with the
    one that the cluster knows of by now.

    Who records an end lives: a charge for its loss that a reaper, late, has entered since it came back is taken
    back here, or the one run would be charged twice, and the datum be given up before its tries.
    """
    causes = {attempt.cause}
    if attempt.cause is Cause.CONTAINER_LOST:
        causes.add(Cause.OOM)
    own = (attempt.incarnation, attempt.started_ns)
    if any(
        (each.incarnation, each.started_ns) == own and each.cause in causes
        for each in ledger.attempts
    ):
        return ledger
    return attempts.ended(attempts.withdrawn(ledger, attempt.incarnation), attempt)


def of_generation(ledger: attempts.Ledger | None, generation: int) -> attempts.Ledger:
    """Return the ledger as it counts for a generation: a restarted datum begins anew."""
    if ledger is None or ledger.generation != generation:
        return attempts.Ledger(generation=generation)
    return ledger


def lost(ledger: attempts.Ledger, incarnation: str) -> bool:
    """Return whether somebody has charged this incarnation as lost."""
    return any(
        each.incarnation == incarnation and each.cause is Cause.WORKER_LOST
        for each in ledger.attempts
    )


def _not_started(ended: NotStarted) -> Bad:
    if ended.number in _OURS:
        text = f"{ended.command} could not be started: no memory or processes left"
        return Bad(Cause.NO_RESOURCES, text)
    missing = ended.number == errno.ENOENT
    text = _TEXTS.get(ended.number, errno.errorcode.get(ended.number, str(ended.number)))
    if ended.user:
        text = "the image knows no such user" if missing else text
        return Bad(Cause.USER_EXIT, f"{ended.command} cannot be run as {ended.user!r}: {text}", 126)
    if ended.directory:
        text = "there is no such directory" if missing else text
        return Bad(
            Cause.USER_EXIT, f"{ended.command} cannot be run in {ended.directory!r}: {text}", 126
        )
    if missing:
        return Bad(Cause.USER_EXIT, f"command not found: {ended.command}", 127)
    return Bad(Cause.USER_EXIT, f"{ended.command} cannot be run: {text}", 126)


def _named(paths: Sequence[str]) -> str:
    text = ", ".join(paths)
    if len(text) > _NAMED_CHARS:
        text = f"{text[:_NAMED_CHARS]}..."
    return f", input {text}" if text else ""


def _signal(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)
