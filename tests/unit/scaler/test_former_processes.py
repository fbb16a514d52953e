"""What the reaper makes of several processes that have had one name: which of them lives, and who is charged."""

import msgspec
import pytest
from tests.support.reaped import FULL, KEY, claim, heard, held, kinds, living, lost

from trunkline.contracts.messages import Claim, Held
from trunkline.contracts.states import Cause
from trunkline.scaler.core.losses import (
    Charge,
    ClaimHeard,
    Close,
    Connected,
    Disconnected,
    Dismiss,
    Effect,
    Excuse,
    LookUp,
    Nak,
    ProcessGone,
    Reaped,
)
from trunkline.scaler.core.reaping import (
    SILENT_S,
    Reaping,
)


def test_only_the_last_life_of_a_worker_is_excused() -> None:
    """The first one was killed where it stood; the next one went with the node."""
    state = living()
    lost(state, 1.0)
    heard(state, claim(held(5, executing=True), incarnation="two"), 2.0)
    effects = state.handle(ProcessGone(KEY, "its node is gone", 3.0, Cause.NODE_LOST))
    assert [e.incarnation for e in effects if isinstance(e, Charge)] == ["two"]
    assert not [e for e in effects if isinstance(e, Excuse)]


@pytest.mark.parametrize("cut", [False, True])
def test_how_a_process_went_is_not_held_against_the_next_one_of_its_name(cut: bool) -> None:
    """1. A worker is not listed any more. 2. Another process gets its name, and may be cut off for a moment.
    3. Only now the cluster says how the first one went. 4. The second one works on, and is charged nothing.
    """
    state = living()
    state.handle(ProcessGone(KEY, "its process is gone", 1.0))
    second = claim(held(5, executing=True), incarnation="two")
    state.handle(Connected(KEY, "s/2", 2.0))
    assert heard(state, second, 2.0) == []
    if cut:
        state.handle(Disconnected(KEY, "s/2", "Client Closed", 2.5))
    effects = state.handle(ProcessGone(KEY, "evicted", 3.0, Cause.EVICTED, again=True))
    assert [(type(each), each.incarnation) for each in effects if isinstance(each, Excuse)] == [
        (Excuse, "one")
    ]
    assert kinds(effects) == ["Excuse"]
    assert kinds(heard(state, second, 4.0)) == (["Withdraw"] if cut else [])
    assert state.claim(KEY) == second


def test_a_successor_of_the_same_name_shows_that_the_first_is_dead() -> None:
    state = living()
    effects = heard(state, claim(incarnation="two"), 1.0)
    assert kinds(effects) == ["Nak", "Nak", "Charge", "Close", "Reaped"]
    known = state.claim(KEY)
    assert known is not None
    assert known.incarnation == "two"


def numbered(*items: Held, order: int, number: int = 0) -> Claim:
    return claim(*items, incarnation=f"i{order}", order=order, number=number)


def test_a_late_claim_of_a_former_process_takes_nothing_from_the_living() -> None:
    """1. A worker's node is cut off; it is given up, and its name is given to another one. 2. The reaper is another
    one by now. 3. The node is back, and the first process claims. 4. It is told to end; the second one works on.
    """
    second = numbered(held(7, executing=True), held(8), order=20)
    state = living(second)
    effects = heard(state, numbered(held(1, executing=True), held(2), order=10), 1.0)
    assert kinds(effects) == ["Nak", "Charge", "Close", "Reaped", "Dismiss"]
    (dismissed,) = [each for each in effects if isinstance(each, Dismiss)]
    assert (dismissed.worker, dismissed.incarnation) == (KEY[1], "i10")
    assert {e.held.sequence for e in effects if isinstance(e, Nak | Charge)} == {1, 2}
    assert state.claim(KEY) == second
    assert kinds(heard(state, numbered(held(1, executing=True), order=10), 2.0)) == [
        "Close",
        "Dismiss",
    ]
    assert heard(state, second, 3.0) == []


def test_without_numbers_one_that_was_lost_before_does_not_follow_who_lives() -> None:
    state = living()
    second = claim(held(7), incarnation="two")
    heard(state, second, 1.0)
    assert not [e for e in heard(state, FULL, 2.0) if not isinstance(e, Close | Dismiss)]
    assert state.claim(KEY) == second
    third = claim(incarnation="three")
    assert "Reaped" in kinds(heard(state, third, 3.0))
    assert state.claim(KEY) == third


def test_no_number_keeps_a_worker_unheard_while_the_other_one_is_silent() -> None:
    """The stream of claims was lost, so numbers begin anew, and nobody has said that the first process is gone."""
    state = living(numbered(held(1), order=500))
    second = numbered(held(2), order=3)
    assert "Dismiss" in kinds(heard(state, second, SILENT_S))
    assert state.claim(KEY) != second
    assert "Dismiss" not in kinds(heard(state, second, SILENT_S + 1))
    assert state.claim(KEY) == second


def test_who_was_followed_by_mistake_and_speaks_again_is_charged_nothing() -> None:
    """A living one was silent for long, and a former one spoke meanwhile."""
    second = numbered(held(7, executing=True), order=20)
    state = living(second)
    assert "Charge" in kinds(heard(state, numbered(order=10), SILENT_S + 1))
    assert kinds(heard(state, second, SILENT_S + 2)) == ["Close", "Reaped", "Withdraw"]
    assert state.claim(KEY) == second


def test_what_a_living_worker_claims_is_not_taken_from_it_for_a_former_ones_sake() -> None:
    """The lease of the first process was given back long ago, and another worker has it."""
    state = living(numbered(order=20))
    state.handle(ClaimHeard(("p", "w-1"), claim(held(1, executing=True)), 0.0))
    effects = heard(state, numbered(held(1, executing=True), order=10), 1.0)
    assert kinds(effects) == ["Close", "Dismiss"]


def test_a_former_process_that_closes_is_charged_nothing_and_not_told_again() -> None:
    second = numbered(held(7), order=20)
    state = living(second)
    first = numbered(held(1, executing=True), order=10)
    last = msgspec.structs.replace(first, closing=True, draining=True)
    effects = heard(state, last, 1.0)
    (charge,) = [e for e in effects if isinstance(e, Charge)]
    assert charge.cause is Cause.DRAINED
    assert "Dismiss" not in kinds(effects)
    assert state.claim(KEY) == second


def test_a_claim_that_comes_the_longer_way_says_nothing() -> None:
    """1. A worker claims, and its server is stopped. 2. It claims again, at another one. 3. The first one goes on."""
    newer = numbered(held(1, executing=True), order=1, number=4)
    state = living(newer)
    assert heard(state, numbered(held(1), held(2), order=1, number=3), 1.0) == []
    assert state.claim(KEY) == newer


def test_the_end_of_a_former_processes_connection_is_not_held_against_the_next_one_of_its_name() -> (
    None
):
    """A model of a job charged a datum for a worker that lived, and quarantined it.

    1. A worker is killed before it claims anything. 2. The next one of its name claims. 3. The reaper hears of the
    first one's end, and looks up who that was: it finds the second one's claim.
    """
    state = Reaping()
    (look,) = lost(state)
    assert isinstance(look, LookUp)
    second = claim(held(1, executing=True), incarnation="two", connection="s/2", instance="b")
    heard(state, second, 1.0)
    assert state.handle(look.event) == []
    assert state.handle(ProcessGone(KEY, "killed", 1.0, instance="a")) == []
    assert state.claim(KEY) == second
    assert "Charge" in kinds(state.handle(Disconnected(KEY, "s/2", "Client Closed", 2.0)))


def test_what_a_lost_worker_claims_late_is_told_as_no_second_loss() -> None:
    """1. A worker is lost. 2. A claim that it had sent before comes, with a lease that nobody knew of."""
    state = living()
    (first,) = reaped(state.handle(ProcessGone(KEY, "its process is gone", 1.0)))
    (second,) = reaped(heard(state, claim(held(9), number=9), 2.0))
    assert (first.again, second.again) == (False, True)
    assert (first.incarnation, second.given_back) == (second.incarnation, 1)


def reaped(effects: list[Effect]) -> list[Reaped]:
    return [each for each in effects if isinstance(each, Reaped)]
