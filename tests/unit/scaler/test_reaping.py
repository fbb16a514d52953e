"""What is done about lost workers, and what is not done to the living."""

import dataclasses

import msgspec
import pytest
from tests.support.reaped import FULL, KEY, claim, heard, held, kinds, living, lost

from trunkline.contracts.attempts import CHARGE_AFTER_S
from trunkline.contracts.states import Cause
from trunkline.scaler.core.losses import (
    Charge,
    ClaimHeard,
    Close,
    Connected,
    Disconnected,
    Excuse,
    LookUp,
    Nak,
    ProcessGone,
    Reaped,
    Reconnected,
    Tick,
    Withdraw,
)
from trunkline.scaler.core.reaping import (
    DEAF_S,
    FORGET_S,
    SILENT_S,
    Reaping,
    is_mark,
    mark,
)


def test_what_was_not_begun_goes_back_first_and_what_ran_is_charged() -> None:
    state = living()
    effects = lost(state)
    assert kinds(effects) == ["Nak", "Nak", "Charge", "Close", "Reaped"]
    assert [e.held.sequence for e in effects if isinstance(e, Nak)] == [2, 3]
    (charge,) = [e for e in effects if isinstance(e, Charge)]
    assert (charge.pipeline, charge.worker, charge.incarnation) == ("p", "w-0", "one")
    assert charge.held.sequence == 1
    assert state.claim(KEY) is None


def test_what_was_still_being_prepared_goes_back_and_is_charged_nothing() -> None:
    """1. A datum has its slot, and its ledger cannot be read, since the server is away. 2. Its worker is killed."""
    waits = msgspec.structs.replace(held(1, executing=True), preparing=True)
    effects = lost(living(claim(waits, held(2))))
    assert kinds(effects) == ["Nak", "Nak", "Close", "Reaped"]
    assert heard(living(claim(waits)), claim(held(1, executing=True))) == []


def test_nobody_is_reaped_twice() -> None:
    state = living()
    assert lost(state)
    assert lost(state) == []
    assert state.handle(ProcessGone(KEY, "killed", 1.5)) == []
    assert state.handle(Tick(100.0, [])) == []


def test_who_went_with_its_node_is_charged_nothing_and_its_datums_go_back() -> None:
    state = living()
    effects = state.handle(ProcessGone(KEY, "its node is gone", 1.0, Cause.NODE_LOST))
    assert kinds(effects) == ["Nak", "Nak", "Charge", "Close", "Reaped"]
    (charge,) = [e for e in effects if isinstance(e, Charge)]
    assert charge.cause is Cause.NODE_LOST
    (told,) = [e for e in effects if isinstance(e, Reaped)]
    assert (told.given_back, told.charged) == (3, 0)


@pytest.mark.parametrize("cause", [Cause.NODE_LOST, Cause.EVICTED, Cause.DRAINED])
def test_a_charge_is_excused_once_the_cluster_says_how_the_worker_went(cause: Cause) -> None:
    state = living()
    lost(state, 1.0)
    state.handle(Tick(30.0, []))
    (excuse,) = state.handle(ProcessGone(KEY, "so it was", 31.0, cause))
    assert isinstance(excuse, Excuse)
    assert (excuse.held.sequence, excuse.incarnation, excuse.cause) == (1, "one", cause)
    assert state.handle(ProcessGone(KEY, "so it was", 32.0, cause)) == []


def test_who_was_killed_or_closed_well_has_nothing_to_be_excused() -> None:
    state = living()
    lost(state, 1.0)
    assert state.handle(ProcessGone(KEY, "killed", 2.0)) == []
    state = living()
    heard(state, claim(held(1, executing=True), closing=True), 1.0)
    assert state.handle(ProcessGone(KEY, "evicted", 2.0, Cause.EVICTED)) == []


def test_who_said_good_bye_is_charged_nothing() -> None:
    state = living()
    effects = heard(state, claim(held(1, executing=True), held(2), closing=True, draining=True))
    assert kinds(effects) == ["Nak", "Nak"]
    assert lost(state) == []
    assert state.handle(ProcessGone(KEY, "exit code 0", 2.0)) == []


def test_who_comes_back_in_time_is_charged_nothing() -> None:
    state = living()
    lost(state, 1.0)
    effects = heard(state, claim(held(1, executing=True)), 1.0 + CHARGE_AFTER_S)
    (withdraw,) = effects
    assert isinstance(withdraw, Withdraw)
    assert (withdraw.held.sequence, withdraw.incarnation) == (1, "one")
    assert state.claim(KEY) is not None
    # and if it is lost again, it is charged again
    assert "Charge" in kinds(lost(state, 20.0))


def test_who_comes_back_too_late_stays_charged() -> None:
    state = living()
    lost(state, 1.0)
    assert heard(state, FULL, 1.5 + CHARGE_AFTER_S) == []
    assert state.claim(KEY) == FULL


def test_the_reapers_own_mark_says_nothing() -> None:
    state = living()
    (close,) = [e for e in lost(state) if isinstance(e, Close)]
    its = mark(close.claim, 5)
    assert is_mark(its)
    assert its.closing
    assert not its.held
    assert heard(state, its, 2.0) == []
    assert kinds(heard(state, FULL, 3.0)) == ["Withdraw"]
    assert heard(state, its, 3.1) == []  # the mark comes late, the worker lives
    assert state.claim(KEY) == FULL


def test_a_last_claim_that_comes_after_the_death_is_given_back_too() -> None:
    state = living()
    assert kinds(state.handle(ProcessGone(KEY, "killed", 1.0)))[:3] == ["Nak", "Nak", "Charge"]
    late = claim(held(1, executing=True), held(2), held(3), held(4))
    effects = heard(state, late, 1.1)
    assert [e.held.sequence for e in effects if isinstance(e, Nak)] == [4]
    assert not [e for e in effects if isinstance(e, Withdraw)]
    assert state.claim(KEY) is None


def test_a_death_that_the_cluster_confirms_is_never_withdrawn() -> None:
    state = living()
    lost(state, 1.0)
    assert state.handle(ProcessGone(KEY, "killed", 1.1)) == []
    assert not [e for e in heard(state, FULL, 1.2) if isinstance(e, Withdraw)]


def test_a_reconnect_gives_back_what_the_worker_drops() -> None:
    """The old connection was half open: the new one comes first, and the worker lives.

    1. The worker holds three, one of them begun.
    2. It reconnects, and so drops what it has not begun.
    3. The server notices the end of the old connection: nobody is lost.
    """
    state = living()
    effects = state.handle(Connected(KEY, "s/2", 1.0))
    assert [e.held.sequence for e in effects if isinstance(e, Nak)] == [2, 3]
    assert kinds(effects) == ["Nak", "Nak"]
    assert lost(state, 2.0) == []
    assert state.claim(KEY) is not None
    effects = state.handle(Disconnected(KEY, "s/2", "Client Closed", 3.0))
    assert kinds(effects) == ["Charge", "Close", "Reaped"]


def test_connections_that_are_told_again_mean_nothing() -> None:
    """A server that loads its configuration again tells of all its connections as if new."""
    state = living()
    assert state.handle(Connected(KEY, "s/1", 1.0)) == []
    adopted = Reaping()
    heard(adopted, FULL)
    assert adopted.handle(Connected(KEY, "s/1", 1.0, new=False)) == []
    assert "Charge" in kinds(lost(adopted))


@pytest.mark.parametrize("reason", ["Server Shutdown", "Kicked"])
def test_a_server_that_stops_says_nothing_about_workers(reason: str) -> None:
    state = living()
    assert lost(state, reason=reason) == []
    assert state.claim(KEY) == FULL


def test_a_restarted_server_makes_old_connections_void() -> None:
    state = living()
    state.handle(Reconnected(5.0))
    state.handle(Connected(KEY, "s/9", 5.1))
    effects = state.handle(Disconnected(KEY, "s/9", "Client Closed", 6.0))
    assert "Charge" in kinds(effects)


def test_a_worker_that_was_never_heard_of_is_looked_up_once() -> None:
    state = Reaping()
    (look,) = lost(state)
    assert isinstance(look, LookUp)
    assert state.handle(look.event) == []  # there is no claim
    heard(state, FULL, 1.0)
    assert "Charge" in kinds(state.handle(look.event))


def test_the_sweep_finds_who_is_neither_listed_nor_connected_nor_heard() -> None:
    state = Reaping()
    heard(state, FULL, 0.0)
    assert state.handle(Tick(SILENT_S, [])) == []
    assert state.handle(Tick(SILENT_S + 1, [KEY])) == []
    assert state.handle(Tick(SILENT_S + 1, None)) == []  # the cluster does not answer
    assert "Charge" in kinds(state.handle(Tick(SILENT_S + 1, [])))


def test_the_sweep_leaves_connected_workers_alone() -> None:
    assert living().handle(Tick(DEAF_S, [])) == []


def test_the_death_of_a_worker_and_of_its_server_at_once_is_swept() -> None:
    """A server that is killed tells of no connection that it had."""
    assert "Charge" in kinds(living().handle(Tick(DEAF_S + 1, [])))


def test_a_connection_to_a_server_that_was_killed_does_not_count_for_ever() -> None:
    """1. The worker is on server `s`, which is killed, and tells nobody. 2. The worker comes to server
    `t`, and drops what it has not begun. 3. It is killed there: the first connection hides nothing.
    """
    state = living()
    assert kinds(state.handle(Connected(KEY, "t/1", 1.0))) == ["Nak", "Nak"]
    effects = state.handle(Disconnected(KEY, "t/1", "Client Closed", 2.0))
    assert kinds(effects) == ["Charge", "Close", "Reaped"]


def test_a_worker_that_has_changed_servers_is_there_whichever_tells_first() -> None:
    """It logs in anew with renewed credentials, at another server, before it leaves the first one."""
    state = living(claim())
    assert state.handle(Connected(KEY, "t/1", 1.0)) == []
    assert lost(state, 1.1) == []
    assert state.claim(KEY) is not None


def test_memory_is_given_back() -> None:
    state = living()
    lost(state, 1.0)
    state.handle(Tick(2.0 + FORGET_S, []))
    assert state._known == {}
    assert state._gone == {}


def test_a_worker_of_another_pipeline_cannot_speak_for_this_one() -> None:
    state = living()
    lost(state, 1.0)
    other = ("q", "w-0")
    assert state.handle(ClaimHeard(other, FULL, 2.0)) == []  # same incarnation, claimed elsewhere
    assert kinds(heard(state, FULL, 3.0)) == ["Withdraw"]


def test_events_are_values() -> None:
    assert dataclasses.replace(Tick(1.0, []), now_s=2.0) == Tick(2.0, [])
