"""What nodes and pods say, as the API server has it: from dictionaries to what the scaler decides by.

Only that is kept, so 20,000 pods are small, and a node's heartbeat, which changes nothing of it, wakes
nobody.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from trunkline.contracts import errors, names
from trunkline.contracts.states import Cause
from trunkline.scaler.kubernetes import pods
from trunkline.scaler.kubernetes.pod_checks import USER
from trunkline.scaler.ports import Node, Placement, Requirement, Taint, Toleration, Worker

Object = Mapping[str, Any]

_NODE_STATES = ("node.kubernetes.io/unschedulable", "node.kubernetes.io/not-ready",
                "node.kubernetes.io/unreachable")  # fmt: skip
"""Taints by which Kubernetes repeats what the node says itself."""
_NOT_COMING = frozenset(
    {
        "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError",
        "CreateContainerError", "RunContainerError", "CrashLoopBackOff",
    }
)  # fmt: skip
_BACK_OFF = "CrashLoopBackOff"
_OOM = "OOMKilled"
_ENDED_BY = {
    "Evicted": Cause.EVICTED, "Preempting": Cause.EVICTED, "UnexpectedAdmissionError": Cause.EVICTED,
    "NodeLost": Cause.NODE_LOST, "NodeShutdown": Cause.NODE_LOST, "Shutdown": Cause.NODE_LOST,
    "Terminated": Cause.NODE_LOST,
}  # fmt: skip
"""Reasons of a pod's end that are no fault of what ran in it: pressure on its node, or that going down."""
_TEXT_MAX = 300


class PodView(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's pod."""

    name: str
    uid: str
    worker: str
    pipeline: str
    code_hash: str
    spec_hash: str = ""
    node: str = ""
    created_ns: int = 0
    running: bool = False
    deleting: bool = False
    ended: str = ""
    """How it has ended; its object is still there."""
    clean: bool = False
    problem: str = ""
    back_off: str = ""
    """Why its user container is in back-off: it is to be replaced."""
    oom_ns: int = 0
    """When its user container ended for want of memory, if that was its last end."""
    ended_by: Cause = Cause.WORKER_LOST
    """What attempts are put down to that its end has cut short."""


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """One node, and whether it can be heard."""

    node: Node
    ready: bool
    unheard: bool = False
    """Whether it is not ready because Kubernetes has not heard of it, and not by its own word."""

    @property
    def as_heard(self) -> "NodeView":
        """The same, as if it had been heard to be ready."""
        why_not = "cordoned" if self.node.cordoned else ""
        node = msgspec.structs.replace(self.node, eligible=not why_not, why_not=why_not)
        return NodeView(node=node, ready=True)


def node(found: Object) -> NodeView:
    """Read a node."""
    meta, spec = found["metadata"], found.get("spec") or {}
    conditions = (found.get("status") or {}).get("conditions") or ()
    says = next((each["status"] for each in conditions if each["type"] == "Ready"), "")
    ready = says == "True"
    cordoned = bool(spec.get("unschedulable"))
    why_not = "not ready" if not ready else "cordoned" if cordoned else ""
    taints = tuple(
        Taint(key=each["key"], value=each.get("value") or "", effect=each["effect"])
        for each in spec.get("taints") or ()
        if each["key"] not in _NODE_STATES
    )
    # affinity may name a node by this field; no label has such a key
    labels = {**(meta.get("labels") or {}), "metadata.name": meta["name"]}
    return NodeView(
        node=Node(
            name=meta["name"],
            eligible=not why_not,
            why_not=why_not,
            cordoned=cordoned,
            labels=tuple(sorted(labels.items())),
            taints=taints,
        ),
        ready=ready,
        unheard=says == "Unknown",
    )


def pod(found: Object) -> PodView:
    """Read a worker's pod."""
    meta, status = found["metadata"], found.get("status") or {}
    says, labels = meta.get("annotations") or {}, meta.get("labels") or {}
    phase = status.get("phase", "")
    back_off = _back_off(status)
    return PodView(
        name=meta["name"],
        uid=meta["uid"],
        worker=says.get(pods.WORKER, meta["name"]),
        pipeline=says.get(pods.PIPELINE, labels.get(pods.PIPELINE, "")),
        code_hash=labels.get(pods.CODE_HASH, ""),
        spec_hash=says.get(pods.SPEC_HASH, ""),
        node=(found.get("spec") or {}).get("nodeName") or "",
        created_ns=_ns(meta.get("creationTimestamp")),
        running=phase == "Running",
        deleting=bool(meta.get("deletionTimestamp")),
        ended=_ended(status) if phase in ("Failed", "Succeeded") else "",
        clean=phase == "Succeeded",
        problem=back_off or _problem(status),
        back_off=back_off,
        oom_ns=_oom_ns(status),
        ended_by=_ENDED_BY.get(status.get("reason") or "", Cause.WORKER_LOST),
    )


def workers_pod(found: Object) -> PodView | None:
    """Read a pod that has our labels, whoever has made it; None if it says of no worker whose it is."""
    view = pod(found)
    try:
        names.pipeline(view.pipeline)
        names.worker(view.worker)
    except errors.InvalidNameError:
        return None
    return view


def worker(view: PodView, lost: str, trouble: str = "") -> Worker:
    """Return a pod as the scaler lists it.

    Args:
        view: The pod.
        lost: Why nothing of it can be counted on, its node being away; empty while it can.
        trouble: What keeps all workers of its pipeline from their work, if it says nothing else.
    """
    return Worker(
        name=view.worker,
        pipeline=view.pipeline,
        code_hash=view.code_hash,
        node=view.node,
        instance=view.uid,
        created_ns=view.created_ns,
        running=view.running,
        stopping=view.deleting,
        lost=view.ended or lost,
        lost_by=view.ended_by if view.ended else Cause.NODE_LOST,
        oom_ns=view.oom_ns,
        must_go=view.back_off,
        made_by=view.spec_hash,
        problem=view.problem or trouble,
    )


def placement(spec: Object) -> Placement:
    """Return where a pod with this spec may be put."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    terms = None if required is None else required.get("nodeSelectorTerms") or ()
    return Placement(
        selector=tuple(sorted((spec.get("nodeSelector") or {}).items())),
        affinity=None if terms is None else tuple(_term(each) for each in terms),
        tolerations=tuple(
            Toleration(
                key=each.get("key") or "",
                operator=each.get("operator") or "Equal",
                value=each.get("value") or "",
                effect=each.get("effect") or "",
            )
            for each in spec.get("tolerations") or ()
        ),
    )


def _term(term: Object) -> tuple[Requirement, ...]:
    every = [*(term.get("matchExpressions") or ()), *(term.get("matchFields") or ())]
    return tuple(
        Requirement(
            key=each["key"], operator=each["operator"], values=tuple(each.get("values") or ())
        )
        for each in every
    )


def _containers(status: Object) -> Iterable[Object]:
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _back_off(status: Object) -> str:
    for each in status.get("containerStatuses") or ():
        waiting = (each.get("state") or {}).get("waiting") or {}
        if each["name"] == USER and waiting.get("reason") == _BACK_OFF:
            last = (each.get("lastState") or {}).get("terminated") or {}
            return f"its user container ends again and again: {_end(last)}"
    return ""


def _oom_ns(status: Object) -> int:
    """Return when the user container was killed for want of memory; 0 if that is not how it ended last."""
    for each in status.get("containerStatuses") or ():
        ends = [each.get(which) or {} for which in ("state", "lastState")]
        over: Object = next((end["terminated"] for end in ends if end.get("terminated")), {})
        if each["name"] == USER and over.get("reason") == _OOM:
            return _ns(over.get("finishedAt"))
    return 0


def _problem(status: Object) -> str:
    """Return why a pod does not come up, as the cluster says."""
    for each in _containers(status):
        waiting = (each.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _NOT_COMING:
            said = waiting.get("message") or ""
            return f"{waiting['reason']}: {said}"[:_TEXT_MAX].removesuffix(": ")
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return f"Unschedulable: {condition.get('message') or ''}"[:_TEXT_MAX]
    return ""


def _ended(status: Object) -> str:
    """Return how a pod has ended: what is said of it, or of the first container that failed."""
    if status.get("reason"):
        return f"{status['reason']}: {status.get('message') or ''}"[:_TEXT_MAX].removesuffix(": ")
    for each in _containers(status):
        over = (each.get("state") or {}).get("terminated") or {}
        if over.get("exitCode"):
            return f"its container {each['name']} ended: {_end(over)}"
    return "its containers have ended"


def _end(over: Object) -> str:
    if over.get("reason") == _OOM:
        return "oom: its memory was used up"
    return f"exit code {over.get('exitCode')}" if over else "it does not start"


def _ns(stamp: str | None) -> int:
    return int(datetime.fromisoformat(stamp).timestamp()) * 10**9 if stamp else 0
