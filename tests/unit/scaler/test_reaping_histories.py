"""Any history of one worker name: each lease goes back once, and the living keep theirs."""

from collections import Counter

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.reaped import KEY, claim, held

from trunkline.contracts.attempts import CHARGE_AFTER_S
from trunkline.contracts.messages import Held
from trunkline.scaler.core.losses import (
    Charge,
    ClaimHeard,
    Connected,
    Disconnected,
    Effect,
    Nak,
    ProcessGone,
    Reaped,
    Tick,
    Withdraw,
)
from trunkline.scaler.core.reaping import (
    Reaping,
)


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
