import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.contracts import attempts
from trunkline.contracts.states import Cause, DatumState
from trunkline.worker_agent.core import outcome

NOW = 1_000_000_000_000


def attempt(
    cause: Cause | None = None,
    *,
    by: str = "w1",
    ended_ns: int | None = None,
    code: int | None = None,
) -> attempts.Attempt:
    end = (0 if cause is None else 1) if ended_ns is None else ended_ns
    return attempts.Attempt(
        worker=by, incarnation=by, started_ns=1, ended_ns=end, cause=cause, exit_code=code
    )


def ledger(*entries: attempts.Attempt) -> attempts.Ledger:
    return attempts.Ledger(attempts=entries)


def test_an_empty_ledger_lets_the_datum_run():
    assert attempts.verdict(ledger(), tries=1, now_ns=NOW) == attempts.Run()


def test_user_errors_up_to_the_tries_fail_the_datum_and_name_every_cause():
    verdict = attempts.verdict(
        ledger(attempt(Cause.USER_EXIT, code=3), attempt(Cause.USER_TIMEOUT, by="w2")),
        tries=2,
        now_ns=NOW,
    )
    assert isinstance(verdict, attempts.GiveUp)
    assert verdict.state is DatumState.FAILED
    assert "user-exit 3 on w1" in verdict.reason
    assert "user-timeout on w2" in verdict.reason


def test_a_datum_that_loses_its_workers_is_quarantined_once_the_charges_are_final():
    early = NOW - int(2e9)
    lost = ledger(*(attempt(Cause.WORKER_LOST, ended_ns=early) for _ in range(3)))
    wait = attempts.verdict(lost, tries=3, now_ns=NOW)
    assert isinstance(wait, attempts.Wait)
    assert 7.9 < wait.delay_s <= 8.0
    assert wait.noted
    again = attempts.verdict(attempts.waited(lost), tries=3, now_ns=NOW + int(1e9))
    assert isinstance(again, attempts.Wait), "it came back too soon"
    later = attempts.verdict(attempts.waited(lost), tries=3, now_ns=NOW + int(9e9))
    assert isinstance(later, attempts.GiveUp)
    assert later.state is DatumState.QUARANTINED


@pytest.mark.parametrize("off_s", [-3000, 3000])
def test_a_charge_is_provisional_whatever_the_clocks_say(off_s: int):
    """1. The reaper charges a third attempt. 2. By the clock of who gets the datum that was an hour ago, or
    is yet to come. 3. The lost worker comes back within ten seconds, and the datum is tried again.
    """
    three = (attempt(Cause.WORKER_LOST, by=f"w{n}", ended_ns=NOW) for n in range(3))
    lost, now_ns = ledger(*three), NOW + off_s * 10**9
    wait = attempts.verdict(lost, tries=3, now_ns=now_ns)
    assert wait == attempts.Wait(attempts.CHARGE_AFTER_S, noted=True)
    noted = attempts.waited(lost)
    back = attempts.withdrawn(noted, "w2")
    assert isinstance(attempts.verdict(back, tries=3, now_ns=now_ns), attempts.Run)
    assert isinstance(attempts.verdict(noted, tries=3, now_ns=now_ns), attempts.GiveUp)


def test_who_only_lost_the_lease_is_charged_nothing():
    """1. A server is away for longer than a lease, thrice, while a datum runs for long. 2. Each time it comes to
    another worker, and the others run on. 3. None of them is lost; it is run, and the first result counts.
    """
    held = ledger(*(attempt(None, by=f"w{n}") for n in range(3)))
    assert attempts.charged(held) == []
    assert isinstance(attempts.verdict(held, tries=3, now_ns=NOW), attempts.Run)


def test_starts_that_nobody_ever_ends_are_bounded():
    open_ = ledger(*(attempt(None, by=f"w{n}") for n in range(attempts.FREE_BOUND)))
    verdict = attempts.verdict(open_, tries=3, now_ns=NOW)
    assert isinstance(verdict, attempts.GiveUp)
    assert verdict.reason.endswith("20 x without an end")


def test_a_datum_that_kills_its_own_container_comes_to_its_end_too():
    lost = ledger(*(attempt(Cause.CONTAINER_LOST) for _ in range(attempts.FREE_BOUND)))
    verdict = attempts.verdict(lost, tries=2, now_ns=NOW * 1000)
    assert isinstance(verdict, attempts.GiveUp)
    assert verdict.state is DatumState.QUARANTINED


def test_a_lost_container_that_could_be_the_last_try_is_given_time_to_be_explained():
    """The next start waits for the cluster's word, looking again and again; then it is free."""
    lost = ledger(attempt(Cause.CONTAINER_LOST, ended_ns=NOW))
    assert attempts.verdict(lost, tries=2, now_ns=NOW + 1) == attempts.Run()
    wait = attempts.verdict(lost, tries=1, now_ns=NOW + 1)
    assert wait == attempts.Wait(attempts.EXPLAIN_LOOK_S)
    late = NOW + int(attempts.EXPLAIN_S * 1e9)
    assert attempts.verdict(lost, tries=1, now_ns=late) == attempts.Run()
    oom = attempts.explained(lost, attempt(Cause.OOM, ended_ns=NOW))
    verdict = attempts.verdict(oom, tries=1, now_ns=NOW + 1)
    assert isinstance(verdict, attempts.GiveUp)
    assert verdict.state is DatumState.FAILED
    assert verdict.reason == "gave up after 1 of 1 try: oom on w1"


def test_like_causes_are_named_once_with_their_number() -> None:
    tried = ledger(*[attempt(Cause.OOM, ended_ns=NOW)] * 3)
    verdict = attempts.verdict(tried, tries=3, now_ns=NOW + 1)
    assert isinstance(verdict, attempts.GiveUp)
    assert verdict.reason == "gave up after 3 of 3 tries: oom 3 times on w1"


@given(st.permutations(["explained", "explained", "started", "recorded"]))
def test_explaining_is_once_and_late_or_early(order):
    """Before the worker's own entry, after it, twice, and beside somebody else's next start: one attempt each."""
    found = ledger()
    for step in order:
        match step:
            case "explained":
                found = attempts.explained(found, attempt(Cause.OOM))
            case "recorded":
                found = outcome.recorded(found, attempt(Cause.CONTAINER_LOST))
            case _:
                found = attempts.started(found, attempt(None, by="w2"))
    causes = {each.worker: each.cause for each in found.attempts}
    assert len(found.attempts) == 2
    assert causes == {"w1": Cause.OOM, "w2": None}


def test_a_loss_is_charged_once_and_one_at_a_later_attempt_of_the_same_worker_once_more():
    """1. A worker is lost, and charged. 2. It is back, which nobody enters. 3. It begins again, and is lost."""
    once = attempts.lost(ledger(attempt(None)), loss(7))
    assert attempts.lost(once, loss(7)) == once
    again = attempts.lost(attempts.started(once, attempt(None)), loss(8))
    assert [each.cause for each in again.attempts] == [Cause.WORKER_LOST] * 2
    assert attempts.lost(again, loss(7)) == again
    assert attempts.lost(again, loss(8)) == again


def test_a_claim_that_does_not_say_since_when_is_charged_once_for_all_that_it_claims():
    """No worker of ours claims so; one that lies neither ends a datum's tries by it nor has a second charge made."""
    once = attempts.lost(ledger(), loss(0))
    assert attempts.lost(once, loss(0)) == once
    assert attempts.lost(attempts.started(once, attempt(None)), loss(0)).attempts[-1].cause is None


def loss(claimed_ns: int) -> attempts.Attempt:
    return msgspec.structs.replace(attempt(Cause.WORKER_LOST, ended_ns=NOW), claimed_ns=claimed_ns)


@given(st.permutations(["started", "charged", "charged", "charged"]))
def test_a_repeated_charge_counts_once_whenever_the_start_is_stored(order):
    """1. A reaper charges. 2. The start of that attempt was under way, and is stored. 3. Its successor charges, too."""
    found = ledger()
    for step in order:
        found = (
            attempts.lost(found, loss(7))
            if step == "charged"
            else attempts.started(found, attempt(None))
        )
    assert len(attempts.charged(found)) == 1


def test_a_repeated_charge_leaves_the_attempt_that_the_worker_has_begun_since():
    """1. A worker is lost and charged. 2. It is back, and begins again. 3. The charge is repeated. 4. It is lost then."""
    once = attempts.lost(ledger(attempt(None)), loss(7))
    begun = attempts.started(once, attempt(None))
    assert attempts.lost(begun, loss(7)) == begun
    assert len(attempts.charged(attempts.lost(begun, loss(8)))) == 2


def test_a_loss_after_a_charge_was_withdrawn_is_charged_although_the_claim_is_the_same():
    back = attempts.withdrawn(attempts.lost(ledger(), loss(7)), "w1")
    assert len(attempts.charged(attempts.lost(back, loss(7)))) == 1


def test_a_run_that_failed_before_its_worker_was_lost_is_charged_for_that_alone():
    """1. A worker records that its command failed. 2. It is lost before it gives the datum back. 3. A reaper has only
    its last claim, which says that the command runs. 4. The worker of another run, so claimed since then, is lost.
    """
    begun = msgspec.structs.replace(attempt(None), claimed_ns=7)
    failed = msgspec.structs.replace(attempt(Cause.USER_EXIT), claimed_ns=7)
    for known in (ledger(), attempts.started(ledger(), begun)):
        over = outcome.recorded(known, failed)
        assert attempts.lost(over, loss(7)) == over
        assert len(attempts.charged(attempts.lost(over, loss(8)))) == 2


@pytest.mark.parametrize("cause", [None, Cause.SERVER_RESTART, Cause.CONTAINER_LOST])
def test_a_worker_that_was_back_or_had_lost_its_container_only_is_charged_when_it_is_lost(cause):
    known = ledger(msgspec.structs.replace(attempt(cause), claimed_ns=7))
    assert len(attempts.charged(attempts.lost(known, loss(7)))) == 1


def test_what_a_container_ended_of_is_still_told_by_its_claim():
    """1. A start is stored, and the container runs out of memory, which the cluster tells before the worker does. 2. The worker is lost."""
    begun = msgspec.structs.replace(attempt(None), claimed_ns=7)
    explained = attempts.explained(attempts.started(ledger(), begun), attempt(Cause.OOM))
    assert attempts.lost(explained, loss(7)) == explained


def test_who_went_with_its_node_is_excused_and_only_that_attempt():
    lost = ledger(attempt(Cause.WORKER_LOST, by="w1"), attempt(Cause.WORKER_LOST, by="w2"))
    excused = attempts.excused(lost, attempt(Cause.NODE_LOST, by="w2"))
    assert [each.cause for each in excused.attempts] == [Cause.WORKER_LOST, Cause.NODE_LOST]
    assert attempts.excused(excused, attempt(Cause.EVICTED, by="w2")) == excused


def test_a_datum_that_was_executing_at_two_ends_runs_alone():
    one = ledger(attempt(Cause.WORKER_LOST, by="w1"), attempt(Cause.DRAINED, by="w2"))
    assert attempts.verdict(one, 3, NOW * 9) == attempts.Run()
    two = ledger(*one.attempts, attempt(Cause.CONTAINER_LOST, by="w3"))
    assert attempts.verdict(two, 3, NOW * 9) == attempts.Run(alone=True)


def test_free_attempts_are_told_by_their_causes():
    many = [attempt(Cause.EVICTED), *(attempt(Cause.STORE_ERROR) for _ in range(19))]
    verdict = attempts.verdict(ledger(*many), tries=3, now_ns=NOW)
    assert isinstance(verdict, attempts.GiveUp)
    assert verdict.reason.endswith("no fault of the datum's: 19 x store-error, 1 x evicted")


def test_drains_and_restarts_charge_nobody_but_are_bounded():
    free = [attempt(Cause.DRAINED), attempt(Cause.SERVER_RESTART)]
    assert attempts.verdict(ledger(*free), tries=1, now_ns=NOW) == attempts.Run()
    many = ledger(*(attempt(Cause.EVICTED) for _ in range(attempts.FREE_BOUND)))
    assert isinstance(attempts.verdict(many, tries=1, now_ns=NOW), attempts.GiveUp)


def test_a_worker_that_comes_back_is_charged_nothing():
    lost = attempts.ended(ledger(attempt(None)), attempt(Cause.WORKER_LOST, ended_ns=NOW))
    assert len(attempts.charged(lost)) == 1
    assert attempts.charged(attempts.withdrawn(lost, "w1")) == []


def test_starting_twice_by_one_incarnation_is_one_attempt():
    once = attempts.started(ledger(), attempt(None))
    assert attempts.started(once, attempt(None)) == once


def test_an_end_without_a_recorded_start_is_recorded_too():
    closed = attempts.ended(ledger(), attempt(Cause.USER_EXIT, code=1))
    assert [each.cause for each in closed.attempts] == [Cause.USER_EXIT]


def test_a_try_that_failed_here_is_passed_on_and_one_that_failed_elsewhere_is_run():
    failed = ledger(attempt(Cause.USER_EXIT, by="w1"))
    passed = attempts.PassOn(attempts.PASS_DELAY_S)
    assert attempts.verdict(failed, 3, NOW, "w1") == passed
    assert attempts.verdict(failed, 3, NOW, "w2") == attempts.Run()
    drained = ledger(attempt(Cause.USER_EXIT), attempt(Cause.DRAINED))
    assert attempts.verdict(drained, 3, NOW, "w1") == attempts.Run()


@given(st.lists(st.sampled_from(["w1", "w2", "w3"]), max_size=60), st.integers(1, 6))
def test_passes_are_bounded_free_of_charge_and_change_no_number_of_tries(takers, tries):
    """Whoever gets it each time, and if it is one worker only: it ends after exactly its tries."""
    found, passes, runs = ledger(), 0, 0
    for taker in [*takers, *["w1"] * (tries * (attempts.PASSES_MAX + 1))]:
        match attempts.verdict(found, tries, NOW, taker):
            case attempts.PassOn():
                found = attempts.passed(found)
                passes += 1
            case attempts.Run():
                found = attempts.started(found, attempt(by=taker))
                found = attempts.ended(found, attempt(Cause.USER_EXIT, by=taker))
                runs += 1
            case _:
                break
    assert isinstance(attempts.verdict(found, tries, NOW, "w1"), attempts.GiveUp)
    assert runs == len(found.attempts) == tries
    assert passes <= attempts.PASSES_MAX * (tries - 1)


@given(
    st.lists(st.sampled_from([None, *Cause]), max_size=40),
    st.integers(min_value=1, max_value=10),
)
def test_no_ledger_lets_a_datum_run_for_ever(causes, tries):
    """Each entry charges or counts as free, so some 20 + tries entries always end in a verdict."""
    entries = attempts.waited(ledger(*(attempt(cause) for cause in causes)))
    verdict = attempts.verdict(entries, tries, NOW * 1000)
    charged = len(attempts.charged(entries))
    if charged >= tries or len(causes) - charged >= attempts.FREE_BOUND:
        assert isinstance(verdict, attempts.GiveUp)
    else:
        assert verdict == attempts.Run(alone=attempts.suspected(entries))


def test_a_ledger_survives_the_wire():
    entries = ledger(attempt(Cause.OOM, code=137))
    assert msgspec.json.decode(msgspec.json.encode(entries), type=attempts.Ledger) == entries


COPIES = st.lists(
    st.tuples(st.sampled_from([None, *Cause]), st.booleans()).map(
        lambda of: msgspec.structs.replace(attempt(of[0]), copy=of[1])
    ),
    max_size=8,
)


@given(COPIES, st.integers(1, 4))
def test_what_copies_come_to_changes_no_verdict(entries: list[attempts.Attempt], tries: int):
    own = [each for each in entries if not each.copy]
    later = NOW + int(60e9)
    assert attempts.verdict(ledger(*entries), tries, later, "w1") == attempts.verdict(
        ledger(*own), tries, later, "w1"
    )


def test_a_copy_runs_only_beside_an_attempt_of_which_nothing_is_known():
    assert attempts.verdict_of_copy(ledger()) == attempts.Run()
    for cause in (None, *Cause):
        assert attempts.verdict_of_copy(ledger(attempt(cause))) == attempts.Leave()


def test_a_copy_whose_worker_is_lost_stays_a_copy():
    copy = msgspec.structs.replace(attempt(by="w2"), copy=True)
    lost = attempts.ended(ledger(copy), attempt(Cause.WORKER_LOST, by="w2"))
    assert [(each.cause, each.copy) for each in lost.attempts] == [(Cause.WORKER_LOST, True)]
    assert attempts.charged(lost) == []


def test_an_outcome_shows_open_copies_of_others_as_superseded_and_no_other_attempt():
    open_, own, lost = attempt(by="w1"), attempt(by="w2"), attempt(Cause.USER_EXIT, by="w3")
    copy = msgspec.structs.replace(attempt(by="w4"), copy=True)
    own_copy = msgspec.structs.replace(own, copy=True)
    told = attempts.superseded(ledger(open_, own_copy, lost, copy), "w2", NOW)
    causes = [each.cause for each in told.attempts]
    assert causes == [None, None, Cause.USER_EXIT, Cause.SUPERSEDED]


@pytest.mark.parametrize("withdrawn", [True, False])
def test_the_loss_of_a_copy_is_charged_to_nobody_though_its_entry_was_closed_before(
    withdrawn: bool,
) -> None:
    """1. A copy's worker is charged as lost, and comes back; or its command fails. 2. A late reaper charges the loss."""
    begun = attempts.Attempt(worker="w1", incarnation="w1", started_ns=1, copy=True)
    ledger = attempts.started(attempts.Ledger(), begun)
    if withdrawn:
        ledger = attempts.withdrawn(attempts.lost(ledger, loss(7)), "w1")
    else:
        ledger = attempts.ended(ledger, attempt(Cause.USER_EXIT, ended_ns=NOW))
    assert attempts.charged(attempts.lost(ledger, loss(7))) == []
