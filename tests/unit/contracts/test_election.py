"""The rules by which one process of a service leads: what each may believe, whatever is lost or stopped."""

import dataclasses
import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from typing import assert_never

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.contracts import election
from trunkline.contracts.election import Election, Lead, Look, Observed, StandDown, Tick, Write
from trunkline.contracts.records import Candidate

LIFE_S = 2.0


def candidate(name: str, incarnation: str = "", **more: object) -> Candidate:
    return Candidate(name=name, incarnation=incarnation or name, life_s=LIFE_S, **more)  # type: ignore[arg-type]


def elected(name: str = "a", now_s: float = 0.0) -> tuple[Election, Write]:
    """Return one that leads since now, and what it wrote for that."""
    made = Election(candidate(name), named=False)
    assert made.handle(Observed(None, 0, now_s, asked_s=now_s)) == []
    (write,) = made.handle(Tick(now_s))
    assert isinstance(write, Write)
    assert made.handle(election.Stored(1, now_s)) == [Lead()]
    return made, write


def test_what_nobody_holds_is_claimed_at_once() -> None:
    made, write = elected()
    assert (write.expected, write.candidate.term) == (0, 1)
    assert made.holds(0.0)


def test_it_holds_for_one_life_from_before_the_claim_was_sent() -> None:
    made, _ = elected()
    (write,) = made.handle(Tick(1.0))
    assert made.handle(election.Stored(2, 1.9)) == []
    assert made.holds(2.99)
    assert not made.holds(3.0)
    assert write == Write(made.me, 1, 1.0)


def test_who_stands_by_waits_for_one_life_from_when_it_saw_the_last_change() -> None:
    made = Election(candidate("b"), named=False)
    made.handle(Observed(candidate("a", term=3), 7, 10.0, asked_s=10.0))
    made.handle(Observed(candidate("a", term=3), 7, 11.0))  # nothing new: no change
    assert made.handle(Tick(12.05)) == []
    (write,) = made.handle(Tick(12.1 + 1e-9))
    assert isinstance(write, Write)
    assert (write.expected, write.candidate.term) == (7, 4)


def test_a_renewal_that_is_seen_begins_the_wait_anew() -> None:
    made = Election(candidate("b"), named=False)
    made.handle(Observed(candidate("a", term=1), 7, 10.0, asked_s=10.0))
    made.handle(Observed(candidate("a", term=1), 8, 11.5))
    assert made.handle(Tick(13.0)) == []
    assert made.next_s() == pytest.approx(13.6)


def test_what_is_released_is_claimed_at_once() -> None:
    made = Election(candidate("b"), named=False)
    made.handle(Observed(candidate("a", term=1), 7, 10.0, asked_s=10.0))
    made.handle(Observed(candidate("a", term=1, released=True), 8, 10.5))
    (write,) = made.handle(Tick(10.5))
    assert isinstance(write, Write)
    assert write.expected == 8


@pytest.mark.parametrize(("named", "at_once"), [(True, True), (False, False)])
def test_a_given_name_inherits_at_its_start_what_it_held(named: bool, at_once: bool) -> None:
    made = Election(candidate("a", "second"), named=named)
    made.handle(Observed(candidate("a", "first", term=1), 7, 10.0, asked_s=10.0))
    assert bool(made.handle(Tick(10.0))) is at_once


def test_a_name_that_two_have_by_mistake_goes_back_and_forth_no_more_than_once() -> None:
    made = Election(candidate("a", "second"), named=True)
    made.handle(Observed(candidate("a", "first", term=1), 7, 10.0, asked_s=10.0))
    made.handle(Tick(10.0))
    made.handle(election.Refused(10.01))  # the first one lives: it has just renewed
    made.handle(Observed(candidate("a", "first", term=1), 8, 10.02, asked_s=10.02))
    assert made.next_s() == pytest.approx(10.02 + LIFE_S * election.APART)


def test_a_holder_in_doubt_goes_on_when_its_renewal_is_stored_after_all() -> None:
    made, _ = elected()
    made.handle(Tick(1.0))
    made.handle(election.Unanswered(2.5))
    assert not made.holds(2.5)
    (write,) = made.handle(Tick(2.6))
    assert isinstance(write, Write)
    assert write.expected == 1
    assert made.handle(election.Stored(2, 2.7)) == []  # nobody has led in between
    assert made.holds(2.7)


def test_a_renewal_whose_answer_was_lost_is_known_again_as_its_own() -> None:
    made, _ = elected()
    made.handle(Tick(1.0))
    made.handle(election.Unanswered(2.5))
    made.handle(Tick(2.6))
    assert made.handle(election.Refused(2.7)) == [Look()]
    assert made.handle(Observed(made.me, 2, 2.8, asked_s=2.8)) == []
    (write,) = made.handle(Tick(2.81))
    assert isinstance(write, Write)
    assert (write.expected, made.leading) == (2, True)


def test_a_holder_that_sees_another_ones_claim_stands_down_and_claims_no_more_until_it_has() -> (
    None
):
    made, _ = elected()
    assert made.handle(Observed(candidate("b", term=2), 5, 9.0)) == [StandDown()]
    assert not made.holds(1.0)
    assert made.next_s() is None
    made.handle(election.WoundUp(9.5))
    assert made.next_s() == pytest.approx(9.0 + LIFE_S * election.APART)
    assert made.me.term == 0


def test_where_the_record_is_lost_two_hold_until_the_former_ones_next_renewal_and_no_longer() -> (
    None
):
    """1. One holds. 2. Its record is lost. 3. Another finds none, and claims. 4. The former's renewal names a revision
    that is not there: it is refused, and who looks then stands down. Without any answer its claim ends by itself.
    """
    former, _ = elected("a")
    other, claim = elected("b", now_s=0.1)
    assert former.holds(0.2)
    assert other.holds(0.2)
    due_s = former.next_s()
    assert due_s is not None
    assert due_s == pytest.approx(LIFE_S / election.RENEWALS)
    (renewal,) = former.handle(Tick(due_s))
    assert isinstance(renewal, Write)
    assert renewal.expected != 0, "it claims no record that is not there"
    assert former.handle(election.Refused(due_s)) == [Look()]
    assert not former.holds(LIFE_S)
    assert former.handle(Observed(claim.candidate, 3, 0.8, asked_s=0.8)) == [StandDown()]
    assert not former.holds(0.8)
    assert other.holds(0.8)


def test_a_holder_that_was_stopped_for_long_looks_before_it_renews_since_its_revision_may_have_come_round() -> (
    None
):
    """1. One holds, and is stopped. 2. The bucket is lost, and counts from 1. 3. Another leads, and its renewals
    come to the revision that the former knows. 4. The former wakes: its renewal would be stored, over the other's.
    """
    former, _ = elected("a")
    _, claim = elected("b", now_s=3.0)
    assert former.handle(Tick(9.0)) == [Look()]
    assert former.next_s() is None, "nothing is written before that is answered"
    assert former.handle(Observed(claim.candidate, 1, 9.1, 9.0)) == [StandDown()]


def test_a_holder_that_was_cut_off_goes_on_once_it_has_seen_that_the_record_is_still_its_own() -> (
    None
):
    made, _ = elected()
    assert made.handle(Tick(9.0)) == [Look()]
    assert made.handle(Observed(made.me, 1, 9.1, 9.0)) == []
    (write,) = made.handle(Tick(9.1))
    assert isinstance(write, Write)
    assert made.handle(election.Stored(2, 9.2)) == []
    assert made.holds(9.2)


def test_who_stands_by_looks_before_it_claims_and_looks_again_if_the_answer_has_waited_to_be_read() -> (
    None
):
    held = candidate("a", term=1)
    made = Election(candidate("b"), named=False)
    made.handle(Observed(held, 6, 0.0, 0.0))
    made.handle(Observed(held, 7, 10.0))  # told, and who knows when that was so
    assert made.handle(Tick(12.2)) == [Look()]
    made.handle(Observed(held, 7, 100.0, 12.2))
    assert made.handle(Tick(100.0)) == [Look()]
    made.handle(Observed(held, 7, 100.1, 100.0))
    (write,) = made.handle(Tick(100.1))
    assert isinstance(write, Write)
    assert (write.expected, write.candidate.term) == (7, 2)


def test_who_leaves_after_it_was_stopped_for_long_gives_back_nothing() -> None:
    made, _ = elected()
    assert made.handle(election.Leave(9.0)) == []
    assert made.left


def test_what_is_told_late_of_a_former_holder_ends_nothing() -> None:
    made = Election(candidate("b"), named=False)
    made.handle(Observed(candidate("a", term=1), 6, 0.0, asked_s=0.0))
    made.handle(Tick(2.2))
    assert made.handle(election.Stored(8, 2.3)) == [Lead()]
    assert made.handle(Observed(candidate("a", term=1), 7, 2.4)) == []
    assert made.holds(2.4)


def test_who_leaves_gives_back_what_it_holds_and_writes_nothing_after() -> None:
    made, _ = elected()
    (write,) = made.handle(election.Leave(1.0))
    assert isinstance(write, Write)
    assert write.candidate.released
    assert not made.left
    made.handle(election.Stored(2, 1.1))
    assert made.left
    assert made.next_s() is None


def test_who_leaves_in_the_middle_of_a_claim_gives_that_back_too() -> None:
    made = Election(candidate("b"), named=False)
    made.handle(Observed(None, 0, 0.0, asked_s=0.0))
    made.handle(Tick(0.0))
    assert made.handle(election.Leave(0.1)) == []
    assert not made.left
    (write,) = made.handle(election.Stored(1, 0.2))
    assert isinstance(write, Write)
    assert write.candidate.released


# --- many candidates, in simulated time -----------------------------------------------------------


@dataclasses.dataclass
class Fate:
    """What happens on the way, by a seed."""

    random: random.Random
    loss: float
    delay_s: float

    def lost(self) -> bool:
        return self.random.random() < self.loss

    def delay(self) -> float:
        """Mostly short, and now and then as long as anything here takes."""
        if self.random.random() < 0.05:
            return self.random.uniform(0, 5 * self.delay_s)
        return self.random.uniform(0, self.delay_s)


class World:
    """A server with one record, and processes whose clocks run at rates of their own."""

    def __init__(self, fate: Fate, rates: list[float]) -> None:
        self.fate = fate
        self.now_s = 0.0
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.numbers = itertools.count()
        self.record: Candidate | None = None
        self.revision = 0
        self.processes = [Process(self, f"p{n}", rate) for n, rate in enumerate(rates)]
        self.terms: list[str] = []

    def at(self, delay_s: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (self.now_s + delay_s, next(self.numbers), what))

    def run(self, until_s: float) -> None:
        while self.queue and self.queue[0][0] <= until_s:
            self.now_s, _, what = heapq.heappop(self.queue)
            what()
            holding = [each.name for each in self.processes if each.holds()]
            assert len(holding) <= 1, f"{holding} at {self.now_s}"

    def store(self, write: Write, answer: Callable[[int | None], None]) -> None:
        """Take a write as the server does, and answer it: with the revision, or a refusal."""
        if write.expected == self.revision:
            self.revision += 1
            self.record = write.candidate
            for each in self.processes:
                each.told(write.candidate, self.revision)
            answer(self.revision)
        else:
            answer(None)


class Process:
    """A candidate that may be stopped, or killed and started again under its name."""

    def __init__(self, world: World, name: str, rate: float) -> None:
        self.world, self.name, self.rate = world, name, rate
        self.incarnations = itertools.count()
        self.stopped_until_s = 0.0
        self.start()

    def start(self) -> None:
        incarnation = f"{self.name}.{next(self.incarnations)}"
        self.election = Election(candidate(self.name, incarnation), named=True)
        self.heard_s = 0.0
        self.look(self.election)
        self.tick(self.election)

    def clock_s(self) -> float:
        return 1000 + self.world.now_s * self.rate

    def holds(self) -> bool:
        return self.election.holds(self.clock_s())

    def do(self, of: Election, make: Callable[[float], election.Event]) -> None:
        """Have something happen to an incarnation, once it is not stopped, if it still lives."""
        rest_s = self.stopped_until_s - self.world.now_s
        if rest_s > 0:
            self.world.at(rest_s, lambda: self.do(of, make))
            return
        if of is not self.election:
            return
        for effect in of.handle(make(self.clock_s())):
            match effect:
                case Write():
                    self.send(of, effect)
                case Look():
                    self.look(of)
                case StandDown():
                    self.world.at(self.world.fate.delay(), lambda: self.do(of, election.WoundUp))
                case Lead():
                    self.world.terms.append(self.name)
                case _:
                    assert_never(effect)

    def tick(self, of: Election) -> None:
        if of is self.election:
            self.do(of, Tick)
            self.world.at(0.05, lambda: self.tick(of))

    def send(self, of: Election, write: Write) -> None:
        """Send a write; it may be lost, come late, and its answer, too."""
        fate, world = self.world.fate, self.world
        answered = False

        def settle(make: Callable[[float], election.Event]) -> None:
            nonlocal answered
            if not answered:
                answered = True
                self.do(of, make)

        def answer(revision: int | None) -> None:
            if fate.lost():
                return
            if revision is None:
                world.at(fate.delay(), lambda: settle(election.Refused))
            else:
                world.at(
                    fate.delay(), lambda: settle(lambda now_s: election.Stored(revision, now_s))
                )

        if not fate.lost():
            world.at(fate.delay(), lambda: world.store(write, answer))
        world.at(1.0, lambda: settle(election.Unanswered))

    def look(self, of: Election) -> None:
        fate, world = self.world.fate, self.world

        asked_s = self.clock_s()

        def read() -> None:
            record, revision = world.record, world.revision
            world.at(
                fate.delay(),
                lambda: self.do(of, lambda now_s: Observed(record, revision, now_s, asked_s)),
            )

        world.at(fate.delay(), read)

    def told(self, record: Candidate, revision: int) -> None:
        """Hear of a change, in order, some time later."""
        of, world = self.election, self.world
        self.heard_s = max(self.heard_s, world.now_s + world.fate.delay())
        world.at(
            self.heard_s - world.now_s,
            lambda: self.do(of, lambda now_s: Observed(record, revision, now_s)),
        )


def troubles(seed: random.Random, world: World, until_s: float) -> Iterator[tuple[float, str]]:
    """Stop and kill processes at random instants; yield what was done."""
    at_s = 0.0
    while (at_s := at_s + seed.expovariate(1 / 2.0)) < until_s:
        process = seed.choice(world.processes)
        if seed.random() < 0.5:
            long_s = seed.choice([0.3, 2.0, 2.5, 10.0])

            def stop(process: Process = process, long_s: float = long_s) -> None:
                process.stopped_until_s = world.now_s + long_s

            world.at(at_s, stop)
            yield at_s, f"stop {process.name} for {long_s}"
        else:
            world.at(at_s, process.start)
            yield at_s, f"kill {process.name}"


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    rates=st.lists(st.floats(0.98, 1.02), min_size=2, max_size=4),
    loss=st.sampled_from([0.0, 0.05, 0.3]),
    delay_s=st.sampled_from([0.001, 0.05, 0.5]),
)
def test_never_do_two_hold_whatever_is_lost_late_stopped_or_killed(
    seed: int, rates: list[float], loss: float, delay_s: float
) -> None:
    source = random.Random(seed)
    world = World(Fate(source, loss, delay_s), rates)
    assert list(troubles(source, world, 30.0)) is not None
    world.run(30.0)
    # in peace again, one of them leads, and goes on to
    world.fate.loss, world.fate.delay_s = 0.0, 0.01
    world.run(60.0)
    (leader,) = (each for each in world.processes if each.election.leading)
    assert leader.holds()
    terms = len(world.terms)
    world.run(70.0)
    assert len(world.terms) == terms
