"""The scaler's cluster on Kubernetes: bare pods that belong to a ConfigMap for each pipeline.

`look` answers from two caches and asks for nothing. What is done is done by name, and its answer is taken
into the cache at once. What a death leaves between any two requests:

- after the ConfigMap, before a pod: it is found again by its name;
- after a pod, before it is known here: the next one lists it; made again, it is refused (409), and
  read into the cache;
- a request that was not answered is one of these two.

*A node that is away.* Kubernetes waits five minutes before it gives up its pods. Here they are lost as soon as
the node says that it is not ready, or is gone: what they held is given back, others take their places under other
names, and they are deleted without grace, since nobody is there to grant any. While no node at all is ready,
it is rather the cluster that is in trouble: then nothing is moved. Nor is it when the API server was away: it has
not heard of nodes meanwhile, and calls them lost one after the other until each is heard of again.
"""

import asyncio
import collections
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple, TypedDict

from kubernetes_asyncio import client

from trunkline.contracts import errors
from trunkline.contracts.spec import PipelineSpec, code_hash
from trunkline.contracts.states import Cause
from trunkline.runtime.clock import Clock, SystemClock
from trunkline.runtime.leading import Fence
from trunkline.runtime.metrics import Meter
from trunkline.scaler.kubernetes import object_names, pods, reading
from trunkline.scaler.kubernetes.api import Api, ApiError
from trunkline.scaler.kubernetes.cache import Cache
from trunkline.scaler.kubernetes.informer import Informer
from trunkline.scaler.kubernetes.owners import Owners
from trunkline.scaler.kubernetes.pace import Pace
from trunkline.scaler.kubernetes.pod_settings import PodSettings
from trunkline.scaler.kubernetes.reading import NodeView, Object, PodView
from trunkline.scaler.kubernetes.telling import NORMAL, WARNING, Teller
from trunkline.scaler.ports import (
    ANYWHERE,
    Changed,
    ClusterEvent,
    ClusterUnavailableError,
    ClusterView,
    Gone,
    Placement,
    WorkerRefusedError,
    WorkerSpec,
)

_API = "the Kubernetes API"
WRITES_PER_S, WRITES_AT_ONCE = 50.0, 200
"""Of pods; a server's own limits are of this order."""
_HEARD_AGAIN_S = 20.0
"""Within which a server that is back hears of all nodes that live: twice a kubelet's period."""
_SPECS_KEPT = 4096
_NOBODY = "nobody-in-particular"
"""The name of a worker of which only that is wanted which does not depend on its name."""


class _Made(NamedTuple):
    """What follows from a spec for all its pods."""

    placement: Placement
    spec_hash: str


class _Common(TypedDict):
    clock: Clock
    tick: Callable[[], int]
    woken: Callable[[], None]


class KubernetesCluster:
    """See `scaler.ports.Cluster`. Made by `connect`."""

    def __init__(self, api: Api, settings: PodSettings, clock: Clock) -> None:
        self._api, self._settings, self._clock = api, settings, clock
        self._pace = Pace(WRITES_PER_S, WRITES_AT_ONCE, clock)
        self._tick = itertools.count(1).__next__
        self._teller = Teller(api, clock)
        self.owners = Owners(api, clock)
        """Whoever removes one does it here, or pods would be made for one that is gone."""
        self._nodes: Cache[NodeView] = Cache(reading.node, self._node_told)
        self._pods: Cache[PodView] = Cache(reading.workers_pod, self._pod_told)
        self._gone_nodes: set[str] = set()
        self._uids: dict[str, str] = {}
        """Worker -> uid of its pod."""
        self._events: collections.deque[ClusterEvent] = collections.deque(maxlen=10_000)
        self._happened = asyncio.Event()
        self._when_gone: Callable[[str], None] = lambda _: None
        self._before_pods: Callable[[str], Awaitable[None]] = _at_once
        self._trouble: Callable[[str], str] = lambda _: ""
        self._known: dict[int, tuple[PipelineSpec, _Made]] = {}
        common = _Common(clock=clock, tick=self._tick, woken=lambda: self._tell(Changed()))
        self._informers = (
            Informer("nodes", self._nodes, api.list_nodes, api.watch_nodes, **common),
            Informer("pods", self._pods, api.list_pods, api.watch_pods, **common),
        )

    # --- what there is ----------------------------------------------------------------------------

    async def look(self) -> ClusterView:
        """Return what the caches hold."""
        for each in self._informers:
            if each.problem:
                raise ClusterUnavailableError(_API, each.problem)
        nodes = self._known_nodes()
        await self._find_nodes({each.node for each in self._pods} - nodes.keys() - {""})
        some_ready = any(each.ready for each in nodes.values())
        workers = tuple(
            reading.worker(
                each,
                self._lost(each, nodes, some_ready=some_ready),
                trouble=self._trouble(each.pipeline),
            )
            for each in self._pods
        )
        return ClusterView(
            nodes=tuple(nodes[name].node for name in sorted(nodes)),
            workers=tuple(sorted(workers, key=lambda worker: worker.name)),
        )

    async def watch(self) -> AsyncIterator[ClusterEvent]:
        """Tell what happens."""
        while True:
            while self._events:
                yield self._events.popleft()
            self._happened.clear()
            await self._happened.wait()

    def placement(self, pipeline: PipelineSpec) -> Placement:
        """Return where a pipeline's pods may be put, `pod_spec` and `pod_patch` included."""
        return self._made(pipeline).placement

    def makes(self, pipeline: PipelineSpec) -> str:
        """Return the spec hash of a pod that would be made now; empty if none would."""
        return self._made(pipeline).spec_hash

    def _made(self, pipeline: PipelineSpec) -> "_Made":
        kept = self._known.get(id(pipeline))
        if kept is not None and kept[0] is pipeline:
            return kept[1]
        if len(self._known) >= _SPECS_KEPT:
            self._known.clear()
        found = _made_by(pipeline, self._settings)
        self._known[id(pipeline)] = pipeline, found
        return found

    def pipelines(self) -> set[str]:
        """Return those that have pods."""
        return {each.pipeline for each in self._pods}

    def when_gone(self, call: Callable[[str], None]) -> None:
        """Call this with a pipeline's name whenever a pod of it is not there any more."""
        self._when_gone = call

    def troubled_by(self, call: Callable[[str], str]) -> None:
        """Ask this, of a pipeline, what else keeps its workers from their work; empty: nothing."""
        self._trouble = call

    def starting(self) -> bool:
        """Say whether a pod is on its node and does not run, or not again."""
        return any(
            each.node
            and not each.deleting
            and not each.ended
            and (each.problem or not each.running)
            for each in self._pods
        )

    def before_pods(self, call: Callable[[str], Awaitable[None]]) -> None:
        """Wait for this before a pod of a pipeline is made; it raises ClusterUnavailableError."""
        self._before_pods = call

    async def listed(self) -> None:
        """Return once nodes and pods have been listed."""
        for each in self._informers:
            await each.listed.wait()

    async def _find_nodes(self, unknown: set[str]) -> None:
        """Ask for nodes that pods name and no event has told of: new ones, or gone before we began."""
        self._gone_nodes &= unknown
        for name in unknown - self._gone_nodes:
            try:
                self._nodes.put(await self._api.read_node(name), assumed_at=self._tick())
            except ApiError as error:
                if error.status != 404:
                    raise ClusterUnavailableError(_API, str(error)) from error
                self._gone_nodes.add(name)

    def _known_nodes(self) -> dict[str, NodeView]:
        back_s = self._clock.monotonic_s() - self._informers[0].back_s
        return {
            each.node.name: each.as_heard if each.unheard and back_s < _HEARD_AGAIN_S else each
            for each in self._nodes
        }

    def _lost(self, pod: PodView, nodes: dict[str, NodeView], *, some_ready: bool) -> str:
        if not pod.node:
            return ""
        node = nodes.get(pod.node)
        if node is None:
            return f"its node {pod.node} is gone" if pod.node in self._gone_nodes else ""
        return f"its node {pod.node} is not ready" if some_ready and not node.ready else ""

    # --- what is done -----------------------------------------------------------------------------

    async def create(self, worker: WorkerSpec) -> None:
        """Create a worker's pod."""
        try:
            # the owner first: should it be another one, its Secret is to be made anew
            owner = await self.owners.of(worker.pipeline)
            await self._prepare(worker.pipeline)
            pod = pods.worker_pod(worker, self._settings, owner)
            await self.owners.note(worker.pipeline, pod["metadata"]["annotations"][pods.SPEC_HASH])
            await self._pace.turn()
            made = await self._api.create_pod(pod)
        except WorkerRefusedError as error:
            self._say(worker.pipeline, WARNING, "FailedCreate", error.reason)
            raise
        except ApiError as error:
            self._pace.hold(error.retry_after_s)
            if error.status == 409:
                await self._meet(worker.name, error)
            refused = _why_not_created(worker.name, error)
            if isinstance(refused, WorkerRefusedError):
                self._say(worker.pipeline, WARNING, "FailedCreate", refused.reason)
            raise refused from error
        self._pods.put(made, assumed_at=self._tick())
        self._say(worker.pipeline, NORMAL, "SuccessfulCreate", "workers are created as wanted")

    async def _prepare(self, pipeline: str) -> None:
        try:
            await self._before_pods(pipeline)
        except ClusterUnavailableError as error:
            self._say(pipeline, WARNING, "FailedCreate", str(error))
            raise

    async def _meet(self, name: str, refusal: ApiError) -> None:
        """Find out who has the name: raise AlreadyExistsError if it is the worker's own pod."""
        try:
            found = await self._api.read_pod(object_names.object_name(name))
        except ApiError as error:
            raise ClusterUnavailableError(_API, str(refusal)) from error
        if reading.pod(found).worker != name or not _ours(found):
            raise WorkerRefusedError(name, "another pod has its name")
        self._pods.put(found, assumed_at=self._tick())
        raise errors.AlreadyExistsError("worker", name)

    async def delete(self, name: str) -> None:
        """Delete a worker's pod: with its grace if somebody can grant it."""
        uid = self._uids.get(name)
        pod = self._pods.get(uid) if uid else None
        if pod is None:
            return
        nodes = self._known_nodes()
        ready = any(each.ready for each in nodes.values())
        why = pod.ended or self._lost(pod, nodes, some_ready=ready)
        if pod.deleting and not why:
            return
        await self._pace.turn()
        try:
            answer = await self._api.delete_pod(pod.name, pod.uid, 0 if why else None)
        except ApiError as error:
            if error.status not in (404, 409):  # gone, or another pod's name by now
                self._pace.hold(error.retry_after_s)
                raise ClusterUnavailableError(_API, str(error)) from error
            self._pods.drop(pod.uid)
            return
        # one that was placed nowhere is gone at once, and still says that it is being deleted
        if not why and answer.get("kind") == "Pod" and _is_going(answer):
            self._pods.put(answer, assumed_at=self._tick())
        else:
            self._pods.drop(pod.uid)
        reason, text = ("Replaced", why) if why else ("SuccessfulDelete", "workers are deleted")
        self._say(pod.pipeline, WARNING if why else NORMAL, reason, text)

    def _say(self, pipeline: str, kind: str, reason: str, text: str) -> None:
        self._teller.say(self.owners.reference(pipeline), kind, reason, text)

    # --- what happens -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow nodes and pods, and tell of what is done, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for each in self._informers:
                tasks.create_task(each.run(), name="informer")
            tasks.create_task(self._teller.run(), name="tell-events")

    def _node_told(self, before: NodeView | None, after: NodeView | None) -> None:
        if after is None and before is not None:
            self._gone_nodes.add(before.node.name)
        elif after is not None:
            self._gone_nodes.discard(after.node.name)
        self._tell(Changed())

    def _pod_told(self, before: PodView | None, after: PodView | None) -> None:
        if after is not None:
            self._uids[after.worker] = after.uid
        elif before is not None and self._uids.get(before.worker) == before.uid:
            del self._uids[before.worker]
        if before is not None and after is None:
            self._when_gone(before.pipeline)
        gone = before if after is None else after if after.ended else None
        if gone is None:
            self._tell(Changed())
            return
        lived_s = max(0.0, (self._clock.wall_ns() - gone.created_ns) / 1e9)
        self._tell(
            Gone(
                worker=reading.worker(gone, ""),
                reason=gone.ended or "its pod was deleted",
                clean=gone.clean or gone.deleting,
                lived_s=lived_s,
                cause=gone.ended_by if gone.ended else Cause.DRAINED,
            )
        )

    def _tell(self, event: ClusterEvent) -> None:
        self._events.append(event)
        self._happened.set()


@asynccontextmanager
async def connect(
    connection: client.ApiClient,
    settings: PodSettings,
    clock: Clock | None = None,
    *,
    holds: Fence = lambda: True,
    meter: Meter | None = None,
) -> AsyncIterator[KubernetesCluster]:
    """Yield the cluster, followed in the background."""
    api = Api(connection, settings.namespace, pods.SELECTOR, holds=holds, meter=meter)
    cluster = KubernetesCluster(api, settings, clock or SystemClock())
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(cluster.run(), name="follow-cluster")
        try:
            yield cluster
        finally:
            following.cancel()


async def _at_once(_: str) -> None:
    return


def _made_by(pipeline: PipelineSpec, settings: PodSettings) -> "_Made":
    worker = WorkerSpec(
        name=_NOBODY,
        pipeline=pipeline.name,
        ward="",
        code_hash=code_hash(pipeline.transform),
        spec=pipeline,
    )
    try:
        pod = pods.worker_pod(worker, settings, pods.Owner(name="owner", uid="0"))
    except WorkerRefusedError:
        return _Made(ANYWHERE, "")  # none of it will be made, and the refusal says why
    return _Made(reading.placement(pod["spec"]), pod["metadata"]["annotations"][pods.SPEC_HASH])


def _is_going(pod: Object) -> bool:
    meta = pod["metadata"]
    return bool(meta.get("deletionTimestamp") and meta.get("deletionGracePeriodSeconds"))


def _ours(found: Object) -> bool:
    labels = found["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in pods.MANAGED_BY.items())


def _why_not_created(name: str, error: ApiError) -> errors.TrunklineError:
    if error.status in (0, 408, 409, 429) or error.status >= 500:
        return ClusterUnavailableError(_API, str(error))
    remedy = ""
    if error.status in (401, 403) and "cannot" in error.text:
        remedy = " (the scaler's account needs a Role for it)"
    return WorkerRefusedError(name, f"{error.text}{remedy}")
