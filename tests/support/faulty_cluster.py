"""A cluster, its workers and a scaler that all fail, in one process and simulated time.

What outlives processes is here: nodes and pods as the API server has them, what its watch has still to tell, the
claims, and the work. The scaler is made of the real cores and the real cache; around them is what its edges do, a
step at a time, so that a crash can come between any two. Requests may be done and said to have failed.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from trunkline.contracts import records, spec
from trunkline.contracts.messages import Claim, Held
from trunkline.contracts.states import JobState, PipelineState
from trunkline.scaler.core import plan, sight
from trunkline.scaler.core.decision import Decision, Gauge, decide
from trunkline.scaler.core.plan import Change, Create, Delete, Drain, Phase, Seen
from trunkline.scaler.core.sight import Signs
from trunkline.scaler.core.standby import Standby
from trunkline.scaler.core.starts import Starts
from trunkline.scaler.kubernetes.cache import Cache
from trunkline.scaler.ports import Node, Worker

PIPELINE, JOB = "p", "a" * 32
ANSWER_S, SILENT_S, COOL_DOWN_S, AGAIN_S = 5.0, 60.0, 10.0, 1.0
CORDONED = "cordoned"


@dataclass
class Pod:
    """One that the API server has, and the worker in it."""

    name: str
    uid: str
    code_hash: str
    node: str = ""
    deleting: bool = False
    draining: bool = False
    held: int = 0
    claims: int = 0

    @property
    def running(self) -> bool:
        return bool(self.node)


@dataclass
class World:
    """All that outlives the scaler."""

    pipeline: records.Pipeline
    now_s: float = 1000.0
    nodes: dict[str, Node] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    versions: Any = field(default_factory=lambda: itertools.count(1))
    watch: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    """What is still to be told: what of which kind has become of what."""
    claims: dict[str, Claim] = field(default_factory=dict)
    mail: list[Claim] = field(default_factory=list)
    pending: int = 0
    drained_busy: list[str] = field(default_factory=list)
    deleted_busy: list[str] = field(default_factory=list)

    @property
    def code_hash(self) -> str:
        assert self.pipeline.spec is not None
        return spec.code_hash(self.pipeline.spec.transform)

    # --- nodes ------------------------------------------------------------------------------------

    def set_node(self, name: str, *, cordoned: bool = False, ready: bool = True) -> None:
        why = CORDONED if cordoned else "" if ready else "not ready"
        self.nodes[name] = Node(name=name, eligible=not why, cordoned=cordoned, why_not=why)
        self._tell("MODIFIED", "node", self.node_object(name))
        self.place()

    def remove_node(self, name: str) -> None:
        self._tell("DELETED", "node", self.node_object(name))
        del self.nodes[name]

    def node_object(self, name: str) -> dict[str, Any]:
        return self._object(f"uid-{name}", self.nodes[name])

    # --- pods -------------------------------------------------------------------------------------

    def create(self, name: str, code_hash: str) -> Pod | None:
        """Make a pod; None if its name is taken."""
        if name in self.pods:
            return None
        made = self.pods[name] = Pod(name, f"u{next(self.versions)}", code_hash)
        self._tell("ADDED", "pod", self.pod_object(made))
        self.place()
        return made

    def place(self) -> None:
        """Put pods that wait on nodes, as a scheduler would."""
        free = [each.name for each in self.nodes.values() if each.eligible]
        for number, pod in enumerate(self.pods.values()):
            if free and not pod.node and not pod.deleting:
                pod.node = free[number % len(free)]
                self._tell("MODIFIED", "pod", self.pod_object(pod))
                self.claim(pod)

    def delete(self, uid: str, *, at_once: bool, drained: bool) -> Pod | None:
        """Tell a pod to go, which should hold nothing if it has drained; None if it is not there."""
        pod = next((each for each in self.pods.values() if each.uid == uid), None)
        if pod is None:
            return None
        if pod.held and drained and not at_once:
            self.deleted_busy.append(pod.name)
        pod.deleting = True
        if at_once or not pod.running:
            self.end(pod)
        else:
            self._tell("MODIFIED", "pod", self.pod_object(pod))
        return pod

    def end(self, pod: Pod) -> None:
        """Let a pod be gone, with whatever it had."""
        self.pending += pod.held
        del self.pods[pod.name]
        self._tell("DELETED", "pod", self.pod_object(pod))

    def pod_object(self, pod: Pod) -> dict[str, Any]:
        worker = Worker(
            name=pod.name,
            pipeline=PIPELINE,
            code_hash=pod.code_hash,
            node=pod.node,
            instance=pod.uid,
            running=pod.running,
            stopping=pod.deleting,
        )
        return self._object(pod.uid, worker)

    def alive(self) -> list[Pod]:
        """Return pods whose workers can act."""
        return [
            each
            for each in self.pods.values()
            if each.node in self.nodes and self.nodes[each.node].why_not in ("", CORDONED)
        ]

    # --- workers ----------------------------------------------------------------------------------

    def take(self, pod: Pod) -> None:
        if self.pending and not pod.held and not pod.draining and not pod.deleting:
            self.pending, pod.held = self.pending - 1, 1
            self.claim(pod)

    def finish(self, pod: Pod) -> None:
        if pod.held:
            pod.held = 0
            self.claim(pod)

    def drain(self, name: str, incarnation: str) -> None:
        pod = self.pods.get(name)
        if pod is not None and pod in self.alive() and incarnation in ("", pod.uid):
            pod.draining = True
            self.claim(pod)

    def claim(self, pod: Pod) -> None:
        pod.claims += 1
        held = Held(job=JOB, sequence=1, index=0, generation=1, executing=True, since_ns=1)
        claim = Claim(
            worker=pod.name,
            incarnation=pod.uid,
            instance=pod.uid,
            code_hash=pod.code_hash,
            slots=1,
            held=(held,) * pod.held,
            draining=pod.draining,
            number=pod.claims,
        )
        self.claims[pod.name] = claim
        self.mail.append(claim)

    def gauge(self) -> Gauge:
        return Gauge(pending=self.pending, in_flight=sum(each.held for each in self.pods.values()))

    def _object(self, uid: str, value: Any) -> dict[str, Any]:
        return {
            "metadata": {"uid": uid, "resourceVersion": str(next(self.versions))},
            "value": value,
        }

    def _tell(self, what: str, kind: str, found: dict[str, Any]) -> None:
        self.watch.append((what, kind, found))


class Scaler:
    """One process."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._tick = itertools.count(1).__next__
        self.nodes: Cache[Node] = Cache(_value, lambda *_: None)
        self.pods: Cache[Worker] = Cache(_value, lambda *_: None)
        self.claims: dict[str, tuple[Claim, float]] = {}
        self.asked: dict[str, tuple[Drain, float, float]] = {}
        self.doing: dict[str, Change] = {}
        self.starts = Starts()
        self.standby: Standby | None = None
        self.decision: Decision | None = None
        self.changes: list[Change] = []
        for claim in world.claims.values():
            self.claims[claim.worker] = claim, world.now_s
        world.mail.clear()
        self.relist()

    # --- ears -------------------------------------------------------------------------------------

    def relist(self) -> None:
        """List all there is, and watch from there on."""
        world, begun_at = self.world, self._tick()
        world.watch.clear()
        nodes = [self.nodes.reduce(world.node_object(name)) for name in world.nodes]
        pods = [self.pods.reduce(world.pod_object(pod)) for pod in world.pods.values()]
        self.nodes.replace(nodes, begun_at=begun_at)
        self.pods.replace(pods, begun_at=begun_at)

    def see(self, what: str, kind: str, found: dict[str, Any]) -> None:
        cache: Cache[Any] = self.nodes if kind == "node" else self.pods
        if what == "DELETED" and kind == "pod":
            cache.ended(found["metadata"]["uid"])
        elif what == "DELETED":
            cache.drop(found["metadata"]["uid"])
        else:
            cache.put(found)

    def hear(self, claim: Claim) -> None:
        known = self.claims.get(claim.worker)
        same = known is not None and known[0].incarnation == claim.incarnation
        if known is None or not same or known[0].number <= claim.number:
            self.claims[claim.worker] = claim, self.world.now_s

    # --- a round ----------------------------------------------------------------------------------

    def round(self) -> list[Change]:
        """Look, decide, and begin what is to be done."""
        world, nodes = self.world, {each.name: each for each in self.nodes}
        listed = {(each.name, each.instance) for each in self.pods}
        self.asked = {
            name: each for name, each in self.asked.items() if (name, each[0].instance) in listed
        }
        for asked, since_s, told_s in list(self.asked.values()):
            if world.now_s - told_s >= AGAIN_S:
                self.asked[asked.name] = asked, since_s, world.now_s
                world.drain(asked.name, asked.incarnation)
        seen = [self._see(each, nodes) for each in self.pods]
        names = {each.name for each in seen}
        making = [
            Seen(name=each.name, code_hash=each.code_hash, phase=Phase.STARTING)
            for each in self.doing.values()
            if isinstance(each, Create) and each.name not in names
        ]
        if self.standby is None:
            have = sum(each.phase in plan.STAYING for each in seen)
            self.standby = Standby(have, world.now_s, cool_down_s=COOL_DOWN_S)
        self.decision = decide(
            world.pipeline,
            [_job(world.pipeline)],
            {JOB: world.gauge()},
            list(nodes.values()),
            standing_by=self.standby,
            now_s=world.now_s,
        )
        self.changes = plan.plan(PIPELINE, self.decision.wants, [*seen, *making])
        self._judge(seen, self.changes)
        waits = self.starts.wait_s(world.now_s) > 0
        for change in self.changes:
            if change.name not in self.doing and not (waits and isinstance(change, Create)):
                self.doing[change.name] = change
        if not self.changes:
            self.starts.steady(world.now_s)
        return self.changes

    def _see(self, worker: Worker, nodes: dict[str, Node]) -> Seen:
        claim, heard_s = self.claims.get(worker.name, (None, self.world.now_s))
        if claim is not None and claim.instance != worker.instance:
            claim = None
        node = nodes.get(worker.node)
        if worker.node and (node is None or node.why_not == "not ready"):
            worker = msgspec.structs.replace(worker, lost="its node is gone or not ready")
        asked = self.asked.get(worker.name)
        if asked is not None and asked[0].instance != worker.instance:
            asked = None
        signs = Signs(
            claim=claim,
            silent_s=self.world.now_s - heard_s,
            asked_s=None if asked is None else self.world.now_s - asked[1],
        )
        return sight.see(worker, signs, nodes, drain_answer_s=ANSWER_S, silent_s=SILENT_S)

    def _judge(self, seen: list[Seen], changes: list[Change]) -> None:
        drained = {each.name for each in changes if isinstance(each, Drain)}
        staying = [
            each.code_hash
            for each in seen
            if each.phase is Phase.IDLE and each.name not in drained and not each.must_go
        ]
        self.world.drained_busy += [
            each.name
            for each in seen
            if each.phase is Phase.BUSY
            and each.name in drained
            and not each.must_go
            and each.code_hash in staying
        ]

    # --- hands ------------------------------------------------------------------------------------

    def act(self, pick: int, *, done: bool = True, told: bool = True) -> None:
        """Carry out one thing of what was begun.

        Args:
            pick: Which.
            done: Whether the server does it.
            told: Whether it says what it has done; else that it failed.
        """
        if not self.doing:
            return
        name = sorted(self.doing)[pick % len(self.doing)]
        change = self.doing[name]
        if isinstance(change, Create):
            self._create(change, done, told)
        elif isinstance(change, Drain):
            known = self.asked.get(name)
            if known is None or known[0].instance != change.instance:
                self.asked[name] = change, self.world.now_s, self.world.now_s
            if done:
                self.world.drain(name, change.incarnation)
        else:
            self._delete(change, done, told)
        del self.doing[name]

    def _create(self, change: Create, done: bool, told: bool) -> None:
        made = self.world.create(change.name, change.code_hash) if done else None
        if not told:
            self.starts.failed("the server does not answer", self.world.now_s)
            return
        found = made or self.world.pods.get(change.name)
        if found is not None:
            self.pods.put(self.world.pod_object(found), assumed_at=self._tick())

    def _delete(self, change: Delete, done: bool, told: bool) -> None:
        known = [each for each in self.pods if each.name == change.name]
        for worker in known:
            node = self.world.nodes.get(worker.node)
            lost = bool(worker.node) and (node is None or node.why_not == "not ready")
            drained = change.reason == "it has drained"
            pod = done and self.world.delete(worker.instance, at_once=lost, drained=drained)
            if not told:
                self.starts.failed("the server does not answer", self.world.now_s)
            elif not pod or pod.name not in self.world.pods:
                self.pods.drop(worker.instance)
            else:
                self.pods.put(self.world.pod_object(pod), assumed_at=self._tick())


def pipeline(**fields: Any) -> records.Pipeline:
    """Return a pipeline's record."""
    values = {
        "name": PIPELINE,
        "transform": {"cmd": ["c"]},
        "input": {"pfs": {"repo": "r", "glob": "/*", "name": "r"}},
        **fields,
    }
    found = msgspec.convert(values, spec.PipelineSpec)
    return records.Pipeline(name=PIPELINE, state=PipelineState.RUNNING, spec=found, version=1)


def _job(of: records.Pipeline) -> records.Job:
    assert of.spec is not None
    return records.Job(
        pipeline=PIPELINE,
        id=JOB,
        version=1,
        code_hash=spec.code_hash(of.spec.transform),
        spec=of.spec,
        salt="",
        order=1,
        inputs=(),
        state=JobState.RUNNING,
        created_ns=0,
    )


def _value(found: Mapping[str, Any]) -> Any:
    return found["value"]
