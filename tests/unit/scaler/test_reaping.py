"""What is done about lost workers, and what is not done to the living."""

import dataclasses
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trunkline.contracts.attempts import CHARGE_AFTER_S
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

KEY = ("p", "w-0")
JOB = "0" * 32


def held(number: int, *, executing: bool = False) -> Held:
    return Held(job=JOB, sequence=number, index=number, generation=1, executing=executing)


def claim(*items: Held, incarnation: str = "one", **fields: Any) -> Claim:
    return Claim(
        worker=KEY[1], incarnation=incarnation, code_hash="c", slots=1, held=items, **fields
    )


FULL = claim(held(1, executing=True), held(2), held(3))


def heard(state: Reaping, its: Claim, now_s: float = 0.0) -> list[Effect]:
    return state.handle(ClaimHeard(KEY, its, now_s))


def lost(state: Reaping, now_s: float = 1.0, reason: str = "Client Closed") -> list[Effect]:
    return state.handle(Disconnected(KEY, "s/1", reason, now_s))


def living(its: Claim = FULL) -> Reaping:
    state = Reaping()
    state.handle(Connected(KEY, "s/1", 0.0))
    assert heard(state, its) == []
    return state


def kinds(effects: list[Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects]


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


class Histories(RuleBasedStateMachine):
    """Whatever happens, each lease of an incarnation is given back once, and the living keep theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.state = Reaping()
        self.now_s = 0.0
        self.incarnation = 0
        self.connection = 0
        self.alive = False
        self.connected = False
        self.next = 0
        self.held: tuple[Held, ...] = ()
        self.given_back: Counter[int] = Counter()
        self.charged: Counter[int] = Counter()
        self.deaths: dict[int, tuple[Held, ...]] = {}
        self.former: list[tuple[int, tuple[Held, ...]]] = []
        """Those that were given up and live on, by number, with what they hold."""
        self.cut_s = 0.0

    def name(self) -> str:
        return f"i{self.incarnation}"

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Nak():
                    self.given_back[effect.held.sequence] += 1
                case Charge():
                    self.given_back[effect.held.sequence] += 1
                    self.charged[effect.held.sequence] += 1
                case Withdraw():
                    self.charged[effect.held.sequence] -= 1
                case Reaped():
                    pass
                case _:
                    continue

    def say(self, **fields: bool) -> None:
        its = claim(*self.held, incarnation=self.name(), order=self.incarnation, **fields)
        self.take(self.state.handle(ClaimHeard(KEY, its, self.now_s)))

    @precondition(lambda self: not self.alive)
    @rule()
    def start(self) -> None:
        self.incarnation += 1
        self.connection += 1
        self.alive = self.connected = True
        self.held = ()
        self.take(self.state.handle(Connected(KEY, f"s/{self.connection}", self.now_s)))
        self.say()

    @precondition(lambda self: self.alive and self.connected)
    @rule(count=st.integers(1, 4))
    def receive(self, count: int) -> None:
        new = tuple(held(self.next + n) for n in range(count))
        self.next += count
        self.held += new
        self.say()

    @precondition(lambda self: self.alive and self.connected and self.held)
    @rule()
    def begin(self) -> None:
        first, *rest = self.held
        self.held = (msgspec.structs.replace(first, executing=True), *rest)
        self.say()

    @precondition(lambda self: self.alive and self.connected and self.held)
    @rule()
    def finish(self) -> None:
        self.held = self.held[1:]
        self.say()

    @precondition(lambda self: self.alive and self.connected)
    @rule()
    def cut(self) -> None:
        self.connected = False
        self.cut_s = self.now_s
        event = Disconnected(KEY, f"s/{self.connection}", "Client Closed", self.now_s)
        self.take(self.state.handle(event))

    @precondition(lambda self: self.alive and not self.connected)
    @rule(wait_s=st.floats(0, 2 * CHARGE_AFTER_S))
    def come_back(self, wait_s: float) -> None:
        self.now_s += wait_s
        self.connection += 1
        self.connected = True
        self.take(self.state.handle(Connected(KEY, f"s/{self.connection}", self.now_s)))
        self.held = tuple(each for each in self.held if each.executing)
        self.say()
        for each in self.held:  # it runs on, and counts anew
            self.given_back[each.sequence] = 0
            if self.now_s - self.cut_s > CHARGE_AFTER_S:
                self.charged[each.sequence] = 0  # too late: that charge stands

    @precondition(lambda self: self.alive)
    @rule(clean=st.booleans(), event_first=st.booleans())
    def end(self, clean: bool, event_first: bool) -> None:
        if clean and self.connected:
            self.held = ()
            self.say(closing=True)
        events: list[Disconnected | ProcessGone] = [
            Disconnected(KEY, f"s/{self.connection}", "Client Closed", self.now_s),
            ProcessGone(KEY, "killed", self.now_s),
        ]
        for event in events if event_first else reversed(events):
            self.take(self.state.handle(event))
        self.alive = self.connected = False
        self.deaths[self.incarnation] = self.held
        self.held = ()

    @precondition(lambda self: self.alive and self.connected)
    @rule()
    def be_given_up(self) -> None:
        """Its node is cut off; the next one to start gets its name, and it speaks again."""
        self.cut()
        self.former.append((self.incarnation, self.held))
        self.take(self.state.handle(ProcessGone(KEY, "its node is cut off", self.now_s)))
        self.deaths[self.incarnation] = self.held
        self.alive, self.held = False, ()

    @precondition(lambda self: self.former)
    @rule(which=st.integers(0, 7), more=st.booleans())
    def a_former_one_speaks(self, which: int, more: bool) -> None:
        if self.alive and self.connected:
            self.say()  # as it does every few seconds: who is silent may be followed
        number, its = self.former[which % len(self.former)]
        late = claim(*its, *self.more(more), incarnation=f"i{number}", order=number)
        forgotten = (KEY, late.incarnation) not in self.state._gone
        if forgotten and not self.alive:
            return  # then it is the one that lives
        if forgotten:  # what it held is given back anew, which does nothing
            self.deaths.pop(number, None)
        elif number in self.deaths:
            self.deaths[number] = late.held
        self.former[which % len(self.former)] = number, late.held
        self.take(self.state.handle(ClaimHeard(KEY, late, self.now_s)))

    def more(self, wanted: bool) -> tuple[Held, ...]:
        self.next += wanted
        return (held(self.next - 1),) if wanted else ()

    @precondition(lambda self: self.alive and self.connected)
    @rule()
    def another_reaper_comes(self) -> None:
        self.state = Reaping()
        self.take(self.state.handle(Connected(KEY, f"s/{self.connection}", self.now_s, new=False)))
        self.say()

    @rule(wait_s=st.floats(0, 5))
    def tick(self, wait_s: float) -> None:
        self.now_s += wait_s
        self.take(self.state.handle(Tick(self.now_s, [KEY] if self.alive else [])))

    @invariant()
    def the_dead_have_given_back_all_once(self) -> None:
        for leases in self.deaths.values():
            for each in leases:
                assert self.given_back[each.sequence] == 1
                assert self.charged[each.sequence] == int(each.executing)

    @invariant()
    def the_living_who_are_connected_are_charged_nothing(self) -> None:
        if self.alive and self.connected:
            assert not any(self.charged[each.sequence] for each in self.held)
            known = self.state.claim(KEY)
            assert known is not None
            assert known.incarnation == self.name()


TestHistories = Histories.TestCase


def test_events_are_values() -> None:
    assert dataclasses.replace(Tick(1.0, []), now_s=2.0) == Tick(2.0, [])
