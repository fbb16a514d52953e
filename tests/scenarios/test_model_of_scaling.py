"""One pipeline's workers, with all that can happen to nodes, pods, watches and the scaler at every step.

The decisions and the cache are the real ones; see `tests.support.faulty_cluster`. In the end nothing fails any more, and
there must be as many workers as are wanted, and nothing left to be done. A failure prints the shortest
story that it could find, and the seed, by which `--hypothesis-seed` plays it again.
"""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.faulty_cluster import Scaler, World, pipeline

ROUNDS = 200
"""Of half a second, once nothing fails: more than all waits together."""
STILL = 10
"""Rounds after which nothing may be left to be done."""

picks = st.integers(0, 1 << 16)
names = st.sampled_from(["n0", "n1", "n2", "n3"])
kinds = st.sampled_from(
    [
        {"parallelism_spec": {"constant": 3}},
        {"parallelism_spec": {"coefficient": 1.5}},
        {"parallelism_spec": {"coefficient": 0.5}},
        {"parallelism_spec": {"constant": 4}, "standby": True},
        {"standby": True},
        {},
    ]
)


class Scaling(RuleBasedStateMachine):
    """Whatever happens, no worker is too many or too few for ever, and none is ended in the middle of a datum."""

    @initialize(kind=kinds, nodes=st.integers(0, 4))
    def begin(self, kind, nodes):
        self.world = World(pipeline(**kind))
        for number in range(nodes):
            self.world.set_node(f"n{number}")
        self.scaler = Scaler(self.world)

    # --- what is meant to happen ------------------------------------------------------------------

    @rule()
    def plan(self):
        self.scaler.round()

    @rule(pick=picks)
    def act(self, pick):
        self.scaler.act(pick)

    @rule(count=st.integers(1, 6))
    def tell(self, count):
        for _ in range(min(count, len(self.world.watch))):
            self.scaler.see(*self.world.watch.pop(0))

    @rule(count=st.integers(1, 6))
    def hear(self, count):
        for _ in range(min(count, len(self.world.mail))):
            self.scaler.hear(self.world.mail.pop(0))

    @rule(count=st.integers(1, 5))
    def work_arrives(self, count):
        self.world.pending += count

    @rule(pick=picks)
    def a_worker_takes_a_datum(self, pick):
        for pod in self.one(pick, self.world.alive()):
            self.world.take(pod)

    @rule(pick=picks)
    def a_worker_finishes(self, pick):
        for pod in self.one(pick, self.world.alive()):
            self.world.finish(pod)

    @rule(pick=picks)
    def a_pod_that_was_told_to_go_is_gone(self, pick):
        for pod in self.one(pick, [each for each in self.world.pods.values() if each.deleting]):
            self.world.end(pod)

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0]))
    def pass_time(self, seconds):
        self.move(seconds)

    @rule(rounds=st.integers(3, 6), work=st.integers(0, 3), kind=kinds)
    def all_goes_well_until_the_spec_is_edited(self, rounds, work, kind):
        """By chance alone several workers are hardly ever ready and at work together."""
        self.scaler.relist()
        for _ in range(rounds):
            self.go_on(works=False)
        self.world.pending += work
        for pod in self.world.alive():
            self.world.take(pod)
        self.move(1.0)
        self.the_spec_is_edited(kind)
        self.scaler.round()

    @rule(kind=kinds)
    def the_spec_is_edited(self, kind):
        self.world.pipeline = pipeline(**kind)

    # --- what is not ------------------------------------------------------------------------------

    @rule(pick=picks, done=st.booleans())
    def a_request_is_said_to_fail(self, pick, done):
        self.scaler.act(pick, done=done, told=False)

    @rule(pick=picks, done=st.booleans(), acts=st.booleans())
    def the_scaler_dies(self, pick, done, acts):
        """In the middle of what it does: done, or not, and nobody is told."""
        if acts:
            self.scaler.act(pick, done=done, told=False)
        self.scaler = Scaler(self.world)

    @precondition(lambda self: self.world.watch)
    @rule(pick=picks)
    def an_event_is_lost_until_a_relist(self, pick):
        del self.world.watch[pick % len(self.world.watch)]

    @precondition(lambda self: self.world.watch)
    @rule(pick=picks, to=picks)
    def an_event_is_told_twice_or_out_of_turn(self, pick, to):
        watch = self.world.watch
        watch.insert(to % (len(watch) + 1), watch[pick % len(watch)])

    @rule()
    def the_watch_begins_anew(self):
        self.scaler.relist()

    @precondition(lambda self: self.world.mail)
    @rule(pick=picks)
    def a_claim_is_lost(self, pick):
        del self.world.mail[pick % len(self.world.mail)]

    @rule(name=names, cordoned=st.booleans(), ready=st.booleans())
    def a_node_comes_or_changes(self, name, cordoned, ready):
        self.world.set_node(name, cordoned=cordoned, ready=ready)

    @precondition(lambda self: self.world.nodes)
    @rule(pick=picks)
    def a_node_goes(self, pick):
        self.world.remove_node(sorted(self.world.nodes)[pick % len(self.world.nodes)])

    @rule(pick=picks)
    def a_pod_is_deleted_by_somebody(self, pick):
        for pod in self.one(pick, list(self.world.pods.values())):
            self.world.end(pod)

    def one(self, pick, of):
        return [of[pick % len(of)]] if of else []

    def move(self, seconds):
        """Let time pass, in which workers claim."""
        self.world.now_s += seconds
        for pod in self.world.alive():
            self.world.claim(pod)
        while seconds >= 1 and self.world.mail:
            self.scaler.hear(self.world.mail.pop(0))

    # --- what must hold ---------------------------------------------------------------------------

    @invariant()
    def nobody_busy_is_sent_away_without_need(self):
        if hasattr(self, "world"):
            assert not self.world.drained_busy, "a busy one was drained while an idle one stays"
            assert not self.world.deleted_busy, "a worker was ended in the middle of a datum"

    def teardown(self):
        if not hasattr(self, "world"):
            return
        self.scaler.relist()
        left = []
        for number in range(ROUNDS):
            left.append(self.go_on())
            if number >= STILL and not any(left[-STILL:]) and not self.world.pending:
                break
        decision = self.scaler.decision
        assert decision is not None
        pods = list(self.world.pods.values())
        assert not any(left[-STILL:]), f"it never comes to rest: {left[-1]}"
        assert len(pods) == decision.want, f"{len(pods)} workers, {decision.want} are wanted"
        assert not [each for each in pods if each.deleting or each.draining]
        if any(each.eligible for each in self.world.nodes.values()):
            assert all(each.running for each in pods)

    def go_on(self, *, works=True):
        world, scaler = self.world, self.scaler
        changes = scaler.round()
        for _ in range(len(scaler.doing)):
            scaler.act(0)
        for pod in world.alive() if works else ():
            world.finish(pod)
            world.take(pod)
        for pod in [each for each in world.pods.values() if each.deleting]:
            world.end(pod)
        while world.watch:
            scaler.see(*world.watch.pop(0))
        self.move(1.0)
        return changes


TestScaling = Scaling.TestCase
TestScaling.settings = settings(max_examples=25, stateful_step_count=40)


class ThoroughScaling(Scaling):
    """The same, with many more stories."""


TestThoroughScaling = pytest.mark.slow(pytest.mark.timeout(3600)(ThoroughScaling.TestCase))
TestThoroughScaling.settings = settings(max_examples=500, stateful_step_count=80)
