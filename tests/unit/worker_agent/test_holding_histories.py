"""Any order of what happens to a worker that holds datums."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.held import Worker

from trunkline.worker_agent.core import holding
from trunkline.worker_agent.core.lease import (
    Advanced,
    Assigned,
    Begin,
    Cancel,
    Forget,
    GiveBack,
    Isolated,
    Key,
    Phase,
    Ran,
    Received,
    Reconnected,
    Settled,
    Stage,
    Started,
    Stopped,
    Stored,
    Superseded,
    Tell,
    Ticked,
    Want,
)

JOBS = ("a", "b", "c")


class Leases(RuleBasedStateMachine):
    """Any order of events: the invariants of Holding hold, and wants are never overdrawn."""

    def __init__(self):
        super().__init__()
        self.worker = Worker(slots=1, prefetch=20, jobs=())
        self.assigned: tuple[str, ...] = ()
        self.wanted = dict.fromkeys(JOBS, 0)
        self.sequence = 0
        self.came: dict[Key, str] = {}
        self.begun: set[Key] = set()
        self.ran: set[Key] = set()
        self.stopped = False

    @property
    def alone(self):
        return self.worker.holding._alone is not None

    def tell(self, event):
        for effect in self.worker.tell(event):
            match effect:
                case Want(job, count):
                    assert not (self.stopped and count)
                    assert count == 0 or job in self.assigned
                    self.wanted[job] = count
                case Begin(key):
                    assert not self.stopped
                    assert self.came[key] == "waiting"
                    self.came[key] = "begun"
                    self.begun.add(key)
                case Stage(key):
                    assert not self.stopped
                    assert self.came[key] == "waiting"
                case GiveBack(key) | Forget(key):
                    assert self.came[key] == "waiting"
                    self.came[key] = "gone"
                case Cancel(key, begun):
                    assert self.came[key] == ("begun" if begun else "waiting")
                    if not begun:
                        self.came[key] = "gone"
                case Tell():
                    pass
                case _:
                    raise AssertionError(effect)

    @rule(
        jobs=st.permutations(JOBS).flatmap(lambda all_: st.integers(0, 3).map(lambda n: all_[:n]))
    )
    def assign(self, jobs):
        self.assigned = tuple(jobs)
        self.tell(Assigned(self.assigned))

    @rule(job=st.sampled_from(JOBS), fresh=st.booleans(), pending=st.integers(0, 50))
    def receive(self, job, fresh, pending):
        late = self.wanted[job] == 0
        if late and not (self.stopped or self.alone) and job in self.assigned:
            return  # the server sends no more than was asked for
        self.wanted[job] = max(0, self.wanted[job] - 1)
        self.sequence += 1
        key = Key(job, self.sequence)
        self.came[key] = "waiting"
        self.tell(Received(key, self.sequence, 1, fresh, pending))

    @precondition(lambda self: self.came)
    @rule(chance=st.randoms(use_true_random=False))
    def supersede(self, chance):
        self.tell(Superseded(chance.choice(sorted(self.came))))

    @precondition(lambda self: self.begun - self.ran)
    @rule(stored=st.booleans())
    def ran_(self, stored):
        key = min(self.begun - self.ran)
        self.ran.add(key)
        self.tell(Ran(key, stored))

    @precondition(lambda self: self.begun - self.ran)
    @rule()
    def advance(self):
        self.sequence += 1
        self.tell(Advanced(min(self.begun - self.ran), self.sequence, 1))

    @precondition(lambda self: self.begun - self.ran)
    @rule()
    def start(self):
        self.tell(Started(min(self.begun - self.ran)))

    @precondition(lambda self: self.begun - self.ran)
    @rule()
    def isolate(self):
        self.tell(Isolated(min(self.begun - self.ran)))

    @precondition(lambda self: self.ran)
    @rule(data=st.data())
    def stored(self, data):
        self.tell(Stored(data.draw(st.sampled_from(sorted(self.ran)))))

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def settle(self, data):
        key = data.draw(st.sampled_from(sorted(self.begun)))
        self.begun.discard(key)
        self.ran.discard(key)
        self.came[key] = "gone"
        self.tell(Settled(key))

    @rule()
    def reconnect(self):
        self.tell(Reconnected())

    @rule(seconds=st.floats(0, 5))
    def tick(self, seconds):
        self.worker.now_s += seconds
        self.tell(Ticked())

    @rule()
    def stop(self):
        self.stopped = True
        self.tell(Stopped())

    @invariant()
    def never_more_than_slots(self):
        phases = [each.phase for each in self.worker.holding.leases.values()]
        assert phases.count(Phase.BEGUN) <= 1
        assert sum(each.executing for each in self.worker.holding.held()) <= 1

    @invariant()
    def what_is_held_is_what_came_and_is_not_gone(self):
        held = {each for each, state in self.came.items() if state != "gone"}
        assert set(self.worker.holding.leases) == held

    @invariant()
    def who_is_alone_has_nothing_behind_it(self):
        phases = [each.phase for each in self.worker.holding.leases.values()]
        assert not (self.alone and (Phase.WAITING in phases or any(self.wanted.values())))

    @invariant()
    def an_idle_worker_waits_for_nothing(self):
        phases = [each.phase for each in self.worker.holding.leases.values()]
        if self.stopped or self.alone or phases.count(Phase.STORING) >= holding.STORING_MAX:
            return
        assert not (Phase.WAITING in phases and Phase.BEGUN not in phases)
        if Phase.BEGUN not in phases:
            assert all(self.wanted[job] >= 1 for job in self.assigned)


Leases.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


TestLeases = Leases.TestCase
