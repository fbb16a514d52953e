"""One job, with all that can happen to its messages and its processes at every step.

The cores of coordinator, worker and reaper are the real ones; see `tests.support.faulty`. Hypothesis
chooses what happens. In the end nothing fails any more (but for what datums do), and the job must come to
its end with each datum counted once. A failure prints the shortest story that it could find, and the
seed, by which `--hypothesis-seed` plays it again.
"""

import itertools
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.faulty import TRIES, Record, World, is_bad, is_poison
from tests.support.faulty_services import Coordinator, Reaper
from tests.support.faulty_workers import At, Work, Worker

from trunkline.contracts import attempts
from trunkline.contracts.states import Cause, DatumState

NAMES = ("w0", "w1", "w2")
ROUNDS_MOST = 4000
"""Far more than a job of this size takes once nothing fails."""

STEPS_OF_A_DATUM = 8
NEWEST = -1
"""Picks what was put into the queue last."""

picks = st.integers(0, 1 << 16)
dies = st.booleans()


class Job(RuleBasedStateMachine):
    """Whatever happens, no datum is lost, none has two outcomes, and no message two holders."""

    @initialize(total=st.integers(0, 70))
    def begin(self, total):
        self.world = World(Record(total))
        self.coordinator = Coordinator(self.world)
        self.reaper = Reaper(self.world)
        self.workers: dict[str, Worker] = {}
        self.numbers = 0
        for name in NAMES[:2]:
            self.start(name)

    def start(self, name):
        self.numbers += 1
        self.workers[name] = Worker(self.world, name, self.numbers)

    def alive(self):
        return [each for each in self.workers.values() if each.alive]

    # --- what is meant to happen ------------------------------------------------------------------

    @precondition(lambda self: not self.world.record.ended)
    @rule(dies=dies)
    def list_window(self, dies):
        self.coordinator.list_window(dies=dies)
        if dies:
            self.coordinator = Coordinator(self.world)

    @rule(most=st.integers(1, 20))
    def read_outcomes(self, most):
        self.coordinator.tail(most)

    @rule(most=st.integers(1, 20))
    def outcomes_are_told_again(self, most):
        self.coordinator.tailed = max(0, self.coordinator.tailed - most)

    @rule()
    def look_at_the_queue(self):
        self.coordinator.look()

    @precondition(lambda self: self.world.record.listed_to and not self.coordinator.fold.complete)
    @rule(pick=picks, dies=dies)
    def restart_a_datum(self, pick, dies):
        self.coordinator.restart(pick % self.world.record.listed_to, dies=dies)
        if dies:
            self.coordinator = Coordinator(self.world)

    @rule(pick=picks)
    def hear_of_the_job(self, pick):
        for worker in self.one(pick, [each for each in self.alive() if each.awake]):
            worker.assigned()

    @rule(pick=picks, number=st.integers(1, 2), count=st.integers(0, 20))
    def a_copy_is_made(self, pick, number, count):
        """Of what somebody runs, for somebody else; twice, where a coordinator has forgotten the first."""
        if not self.world.record.ended:
            self.coordinator.list_window()
        awake = [each for each in self.alive() if each.awake and each.connected]
        for worker in self.one(pick, awake):
            self.run_something(worker, pick)
            for work in self.one(pick, worker.slow()):
                self.coordinator.copy(work.task.index, number)
            for other in self.one(pick, [each for each in awake if each is not worker]):
                other.assigned()
                other.deliver(NEWEST)
                for _ in range(count):
                    self.step(other, 0)

    def there_is_a_copy(self, pick, count):
        """Or else chance alone brings few together with what else happens to them."""
        if not any(each.copies() for each in self.alive()):
            self.a_copy_is_made(pick=pick, number=1, count=count)

    def run_something(self, worker, pick):
        worker.assigned()
        worker.deliver(pick)
        for _ in range(STEPS_OF_A_DATUM):
            if not worker.slow():
                self.step(worker, 0)

    @rule(pick=picks, which=picks)
    def deliver(self, pick, which):
        for worker in self.one(pick, self.alive()):
            worker.deliver(which)

    @rule(pick=picks, count=st.integers(1, 8))
    def work(self, pick, count):
        for worker in self.one(pick, [each for each in self.alive() if each.awake]):
            for number in range(count):
                self.step(worker, pick + number)

    def step(self, worker, pick):
        works = worker.busy() if worker.awake else []
        for work in self.one(pick, works):
            if work.at is At.RUNNING and is_poison(work.task.index) and not work.cut:
                worker.die()
            else:
                worker.step(work)

    @rule(count=st.integers(1, 8))
    def hear(self, count):
        for _ in range(count):
            self.reaper.hear()

    @rule(seconds=st.sampled_from([0.01, 0.5, 1.0, 3.0, 5.0]))
    def pass_time(self, seconds):
        self.move(seconds)

    # --- what is not ------------------------------------------------------------------------------

    @rule()
    def the_coordinator_dies(self):
        self.coordinator = Coordinator(self.world)

    @rule(done=st.integers(0, 4))
    def the_reaper_dies(self, done):
        self.world.excuses += 1
        self.reaper.hear(done)
        self.reaper = Reaper(self.world)

    @rule(name=st.sampled_from(NAMES))
    def a_worker_starts(self, name):
        if name not in self.workers or not self.workers[name].alive:
            self.start(name)

    @rule(pick=picks, told=st.booleans())
    def a_worker_dies(self, pick, told):
        for worker in self.one(pick, self.alive()):
            self.world.excuses += not told
            worker.die(told=told)

    @rule(pick=picks, told=st.booleans())
    def a_copy_is_killed(self, pick, told):
        """With the worker that runs it."""
        for worker in self.one(pick, [each for each in self.alive() if each.copies()]):
            self.world.excuses += not told
            worker.die(told=told)

    @rule(pick=picks, count=st.integers(0, 20))
    def a_copy_is_let_go_and_comes_to_a_third(self, pick, count):
        """Whose worker is not to be reached any more, while the first one runs on."""
        self.there_is_a_copy(pick, count)
        for worker in self.one(pick, [each for each in self.alive() if each.copies()]):
            copied = {each.task.index for each in worker.copies()}
            worker.cut()
            while self.world.mail:
                self.reaper.hear()
            self.move(0.01)
            for third in [each for each in self.alive() if each.awake and each.connected]:
                if copied.isdisjoint(each.task.index for each in third.works.values()):
                    third.assigned()
                    third.deliver(NEWEST)
                    for _ in range(count):
                        self.step(third, 0)

    @rule(pick=picks, first=st.booleans())
    def one_of_two_is_done(self, pick, first):
        """Of a datum that two workers run: the copy, or the one before it."""
        self.there_is_a_copy(pick, 3)
        pairs = [
            pair
            for pair in itertools.permutations(filter(lambda each: each.awake, self.alive()), 2)
            if self.runs_a_copy_of(*pair)
        ]
        for ahead, behind in self.one(pick, pairs):
            for _ in range(5):
                self.step(behind if first else ahead, pick)

    def runs_a_copy_of(self, ahead, behind):
        copied = {each.datum for each in ahead.copies()}
        return any(each.datum in copied for each in behind.busy() if not each.task.copy)

    @rule(pick=picks)
    def a_connection_is_lost(self, pick):
        for worker in self.one(pick, [each for each in self.alive() if each.connected]):
            worker.cut()

    @rule(pick=picks)
    def a_worker_reconnects(self, pick):
        for worker in self.one(
            pick, [each for each in self.alive() if each.awake and not each.connected]
        ):
            worker.reconnect()

    @rule(pick=picks)
    def a_worker_is_stopped_or_goes_on(self, pick):
        for worker in self.one(pick, self.alive()):
            if worker.awake:
                worker.freeze()
            else:
                worker.thaw()

    @rule(taken_back=st.integers(0, 5))
    def the_server_crashes(self, taken_back):
        self.world.excuses += 1
        for worker in self.alive():
            if worker.connected:
                worker.cut()
        self.world.queue.crash(taken_back, self.world.now_s)

    @rule(pick=picks)
    def a_message_is_lost(self, pick):
        self.world.queue.lose(pick)

    @rule(count=st.integers(1, 4))
    def news_is_lost(self, count):
        """What a reaper was told while it could not hear it; it loads the claims then."""
        self.world.excuses += 1
        del self.world.mail[:count]
        self.reaper = Reaper(self.world)

    def one(self, pick, of):
        return [of[pick % len(of)]] if of else []

    # --- what must hold ---------------------------------------------------------------------------

    @invariant()
    def no_message_has_two_holders(self):
        if not hasattr(self, "world"):
            return
        holders: dict[int, list[tuple[str, Work]]] = {}
        for worker in self.alive():
            for work in worker.works.values():
                if worker.holds(work):
                    holders.setdefault(work.key.sequence, []).append((worker.name, work))
        assert not [each for each in holders.values() if len(each) > 1]

    @invariant()
    def a_copy_runs_once_and_charges_nobody(self):
        if not hasattr(self, "world"):
            return
        world = self.world
        again = [each for each, runs in world.copies_run.items() if runs > 1]
        assert not again, f"copies were run again: {again}"
        for index, newest in world.ledgers.items():
            ledger = world.judged.get((index, newest.generation), newest)
            charged = len(self.charged(ledger))
            at_fault = world.failures[index, ledger.generation]
            at_fault += world.incidents[index, ledger.generation]
            begun = world.runs[index, ledger.generation]
            told = f"datum {index}: {charged} charges for {at_fault} faults in {begun} runs"
            assert charged <= min(at_fault, begun), told

    def charged(self, ledger):
        """Return what is charged for good: the loss of one that lives will be withdrawn."""
        living = {each.incarnation for each in self.alive()}
        charged = attempts.charged(ledger)
        lost = [e for e in charged if e.cause is Cause.WORKER_LOST and e.incarnation in living]
        return [each for each in charged if each not in lost]

    @invariant()
    def the_first_outcome_counts_once_and_no_other_does(self):
        if not hasattr(self, "world"):
            return
        world, fold = self.world, self.coordinator.fold
        stored = Counter((index, generation) for index, generation, _ in world.stream)
        twice = [each for each, count in stored.items() if count > 1]
        assert not twice, f"they have two outcomes: {twice}"
        ended = [each for each in range(fold.opened) if fold.state_of(each) is not None]
        counts = fold.counts
        told = counts.processed + counts.failed + counts.quarantined
        assert fold.done == told == len(ended), f"{told} are counted, {len(ended)} have ended"
        for index in ended:
            assert fold.state_of(index) is world.outcomes[index, fold.generation_of(index)]

    @invariant()
    def who_was_first_says_that_the_copy_is_superseded(self):
        if not hasattr(self, "world"):
            return
        for datum, history in self.world.histories.items():
            copies = [each for each in history if each.copy]
            assert len(copies) <= 1, f"{datum} was copied twice: {copies}"
            left = [each for each in copies if each.cause is None]
            assert not left, f"{datum} is done, and a copy of it not said to be over: {left}"

    def nobody_who_hears_runs_what_has_an_outcome(self):
        """Once leases are renewed."""
        for worker in self.alive():
            if worker.awake and worker.connected:
                late = [
                    work
                    for work in worker.works.values()
                    if work.at is At.RUNNING and not work.cut and work.datum in self.world.outcomes
                ]
                assert not late, f"{worker.name} runs on, and was beaten: {late}"

    def teardown(self):
        if not hasattr(self, "world"):
            return
        self.heal()
        for number in range(ROUNDS_MOST):
            if self.coordinator.fold.complete:
                break
            self.go_on(number)
        self.let_go()
        fold, record = self.coordinator.fold, self.world.record
        assert fold.complete, "the job does not end"
        assert fold.done == record.total
        for index in range(record.total):
            self.judge(index, record.generation(index))

    def let_go(self):
        """Take what was beaten, or comes once more, until nothing is left of it."""
        for number in range(ROUNDS_MOST):
            if not self.world.queue.messages and not any(each.works for each in self.alive()):
                return
            self.go_on(number)
        pytest.fail(f"never let go: {self.world.queue.messages}")

    def heal(self):
        for worker in self.alive():
            if not worker.awake:
                worker.thaw()
            if not worker.connected:
                worker.reconnect()

    def go_on(self, number):
        if not self.alive():
            self.start(NAMES[number % len(NAMES)])
        if not self.world.record.ended:
            self.coordinator.list_window()
        for worker in self.alive():
            worker.assigned()
            worker.deliver(number)
            for _ in range(6):
                self.step(worker, number)
        while self.world.mail:
            self.reaper.hear()
        self.coordinator.tail(100)
        self.move(0.5)
        if number % 4 == 0:
            self.coordinator.look()

    def move(self, seconds):
        self.world.now_s += seconds
        for worker in self.alive():
            worker.pass_time()
        self.nobody_who_hears_runs_what_has_an_outcome()
        self.world.queue.expire(self.world.now_s)
        self.reaper.tick([each.key for each in self.alive()])

    def judge(self, index, generation):
        state = self.world.outcomes[index, generation]
        runs = self.world.runs[index, generation]
        incidents = self.world.incidents[index, generation]
        assert self.coordinator.fold.state_of(index) is state
        if is_poison(index):
            assert state is DatumState.QUARANTINED, state
            assert incidents >= TRIES, f"it was given up after {incidents} incidents"
            assert runs <= TRIES + 1 + self.world.excuses
        elif is_bad(index):
            assert state is DatumState.FAILED or incidents
        elif state is not DatumState.PROCESSED:
            assert incidents >= TRIES, "it was charged for what was no fault of its"


TestJob = Job.TestCase
TestJob.settings = settings(max_examples=60, stateful_step_count=60)


class ThoroughJob(Job):
    """The same, with many more stories."""


TestThoroughJob = pytest.mark.slow(pytest.mark.timeout(3600)(ThoroughJob.TestCase))
TestThoroughJob.settings = settings(max_examples=1_000, stateful_step_count=100)
