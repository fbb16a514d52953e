import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.contracts import attempts
from trunkline.contracts.states import Cause, DatumState
from trunkline.worker_agent.core import outcome
from trunkline.worker_agent.core.outcome import Bad, Exited, Fail, Good, Recovered, TryAgain

LATER = 10**12
"""When a worker that was lost at the epoch does not come back any more."""


def attempt(cause, *, by="w1", started_ns=1, ended_ns=2):
    return attempts.Attempt(
        worker=by, incarnation=by, started_ns=started_ns, ended_ns=ended_ns, cause=cause
    )


@pytest.mark.parametrize(
    ("ended", "cause", "reason", "code"),
    [
        (outcome.Exited(3), Cause.USER_EXIT, "exit code 3", 3),
        (outcome.Exited(137, oom=True), Cause.OOM, "out of memory: exit code 137", 137),
        (outcome.Signalled(9), Cause.USER_EXIT, "killed by signal 9 (SIGKILL)", -9),
        (
            outcome.Signalled(9, oom=True),
            Cause.OOM,
            "out of memory: killed by signal 9 (SIGKILL)",
            -9,
        ),
        (outcome.TimedOut(30.0), Cause.USER_TIMEOUT, "timed out after 30 s", None),
        (
            outcome.NotStarted("foo", errno.ENOENT),
            Cause.USER_EXIT,
            "command not found: foo",
            127,
        ),
        (
            outcome.NotStarted("foo", errno.EACCES),
            Cause.USER_EXIT,
            "foo cannot be run: permission denied",
            126,
        ),
        (
            outcome.NotStarted("foo", errno.ENOENT, directory="/w"),
            Cause.USER_EXIT,
            "foo cannot be run in '/w': there is no such directory",
            126,
        ),
        (
            outcome.NotStarted("foo", errno.ENOENT, user="me"),
            Cause.USER_EXIT,
            "foo cannot be run as 'me': the image knows no such user",
            126,
        ),
        (
            outcome.NotStarted("foo", errno.EPERM, user="me"),
            Cause.USER_EXIT,
            "foo cannot be run as 'me': not permitted",
            126,
        ),
        (
            outcome.NotStarted("foo", errno.ENOMEM),
            Cause.NO_RESOURCES,
            "foo could not be started: no memory or processes left",
            None,
        ),
    ],
)
def test_each_bad_end_has_its_cause_and_a_text(ended, cause, reason, code):
    assert outcome.judge(ended, ()) == Bad(cause, reason, code)


def test_output_that_cannot_be_stored_is_the_commands_fault():
    assert outcome.judge_output("/a", "it is a link") == Bad(
        Cause.USER_EXIT, "its output '/a' cannot be stored: it is a link", 0
    )


def test_zero_and_accepted_codes_are_good():
    assert outcome.judge(outcome.Exited(0), ()) == Good()
    assert outcome.judge(outcome.Exited(0, oom=True), ()) == Good()
    assert outcome.judge(outcome.Exited(3), (3, 4)) == Good()
    assert outcome.judge(outcome.Exited(0), (3,)) == Good()


def test_a_datum_with_tries_left_is_tried_again_later_and_later():
    ledger, delays = attempts.Ledger(), []
    bad = Bad(Cause.USER_EXIT, "exit code 1", 1)
    for number in range(9):
        ledger = outcome.recorded(ledger, attempt(Cause.USER_EXIT, started_ns=number))
        told = outcome.after(ledger, bad, 10, LATER)
        assert isinstance(told, TryAgain)
        assert told.reason == f"exit code 1 (try {number + 1} of 10)"
        delays.append(told.delay_s)
    assert delays[:3] == [0.1, 0.2, 0.4]
    assert delays[-1] == 10.0
    ledger = outcome.recorded(ledger, attempt(Cause.USER_EXIT, started_ns=99))
    assert outcome.after(ledger, bad, 10, LATER) == Fail(
        DatumState.FAILED, "exit code 1 (try 10 of 10)"
    )


def test_the_only_try_needs_no_count():
    ledger = attempts.Ledger(attempts=(attempt(Cause.USER_EXIT),))
    bad = Bad(Cause.USER_EXIT, "exit code 1", 1)
    assert outcome.after(ledger, bad, 1, LATER) == Fail(DatumState.FAILED, "exit code 1")


def test_what_is_no_fault_of_the_datum_uses_up_no_try():
    ledger = attempts.Ledger(attempts=(attempt(Cause.NO_RESOURCES),))
    bad = Bad(Cause.NO_RESOURCES, "no memory")
    assert outcome.after(ledger, bad, 1, LATER) == TryAgain(0.1, "no memory")


def test_a_reason_names_the_inputs_and_not_thousands_of_characters():
    ledger = attempts.Ledger(attempts=(attempt(Cause.USER_TIMEOUT), attempt(Cause.USER_TIMEOUT)))
    bad = outcome.judge(outcome.TimedOut(30), ())
    assert isinstance(bad, Bad)
    told = outcome.after(ledger, bad, 3, LATER, ["/a", "/b"])
    assert told.reason == "timed out after 30 s (try 2 of 3), input /a, /b"
    assert len(outcome.after(ledger, bad, 3, LATER, ["/x" * 999]).reason) < 300


def test_err_cmd_makes_a_try_good_that_failed_by_its_own_fault_or_adds_its_own_end():
    bad = Bad(Cause.USER_EXIT, "exit code 3", 3)
    assert outcome.after_err_cmd(bad, Exited(0), ()) == Recovered(bad)
    assert outcome.after_err_cmd(bad, Exited(7), (7,)) == Recovered(bad)
    both = Bad(Cause.USER_EXIT, "exit code 3; err_cmd: exit code 7", 3)
    assert outcome.after_err_cmd(bad, Exited(7), ()) == both
    late = Bad(Cause.USER_EXIT, "exit code 3; err_cmd: timed out after 2 s", 3)
    assert outcome.after_err_cmd(bad, outcome.TimedOut(2), ()) == late
    own = [cause for cause in Cause if outcome.is_its_own(Bad(cause, ""))]
    assert own == [Cause.USER_EXIT, Cause.USER_TIMEOUT, Cause.OOM, Cause.WORKER_LOST]


def test_a_lost_worker_and_a_bad_exit_count_together():
    ledger = attempts.Ledger(
        attempts=(attempt(Cause.WORKER_LOST, by="w2"), attempt(Cause.USER_EXIT))
    )
    bad = Bad(Cause.USER_EXIT, "exit code 1", 1)
    assert isinstance(outcome.after(ledger, bad, 2, LATER), Fail)


def test_a_datum_does_not_fail_for_good_by_a_charge_that_may_still_be_withdrawn():
    """1. A worker loses its connection, and is charged. 2. The datum fails elsewhere. 3. The former one comes back."""
    ledger = attempts.Ledger(
        attempts=(attempt(Cause.WORKER_LOST, by="w2", ended_ns=LATER), attempt(Cause.USER_EXIT))
    )
    bad = Bad(Cause.USER_EXIT, "exit code 1", 1)
    told = outcome.after(ledger, bad, 2, LATER + 4 * 10**9)
    assert told == TryAgain(6.0, "exit code 1 (try 2 of 2)")
    assert isinstance(outcome.after(ledger, bad, 1, LATER + 4 * 10**9), Fail)
    assert isinstance(outcome.after(ledger, bad, 2, LATER + 10**10), Fail)
    assert attempts.verdict(attempts.withdrawn(ledger, "w2"), 2, LATER) == attempts.Run()


@given(
    st.lists(st.sampled_from([Cause.USER_EXIT, Cause.USER_TIMEOUT, Cause.DRAINED]), max_size=6),
    st.booleans(),
)
def test_a_repeated_record_changes_nothing(causes, recorded_start):
    """A ledger write whose answer was lost is repeated: it must not charge twice."""
    ledger = attempts.Ledger()
    for number, cause in enumerate(causes):
        if recorded_start:
            begun = attempts.Attempt(worker="w1", incarnation="w1", started_ns=number)
            ledger = attempts.started(ledger, begun)
        ended = attempt(cause, started_ns=number)
        ledger = outcome.recorded(ledger, ended)
        assert outcome.recorded(ledger, ended) == ledger
        assert len(ledger.attempts) == number + 1


def test_an_attempt_that_was_taken_for_lost_and_withdrawn_is_recorded_anew():
    begun = attempts.Attempt(worker="w1", incarnation="w1", started_ns=5)
    ledger = attempts.started(attempts.Ledger(), begun)
    ledger = attempts.ended(ledger, attempt(Cause.WORKER_LOST, started_ns=5))
    assert outcome.lost(ledger, "w1")
    ledger = attempts.withdrawn(ledger, "w1")
    assert not outcome.lost(ledger, "w1")
    ledger = outcome.recorded(ledger, attempt(Cause.USER_EXIT, started_ns=5))
    assert [each.cause for each in ledger.attempts] == [Cause.SERVER_RESTART, Cause.USER_EXIT]


def test_who_records_an_end_was_not_lost_though_a_reaper_has_said_so_after_it_came_back():
    """1. A worker loses its connection, and comes back. 2. The reaper hears of the loss, and charges it. 3. The worker's
    command fails: that is the datum's first charged try of two, not its last.
    """
    ledger = attempts.lost(attempts.Ledger(), attempt(Cause.WORKER_LOST, started_ns=4))
    ledger = outcome.recorded(ledger, attempt(Cause.USER_EXIT, started_ns=5))
    assert [each.cause for each in ledger.attempts] == [Cause.SERVER_RESTART, Cause.USER_EXIT]
    assert isinstance(
        outcome.after(ledger, Bad(Cause.USER_EXIT, "exit code 1", 1), 2, LATER), TryAgain
    )


def test_a_restarted_datum_begins_with_an_empty_ledger():
    old = attempts.Ledger(attempts=(attempt(Cause.USER_EXIT),))
    assert outcome.of_generation(old, 2) == attempts.Ledger(generation=2)
    assert outcome.of_generation(old, 1) == old
    assert outcome.of_generation(None, 1) == attempts.Ledger()
