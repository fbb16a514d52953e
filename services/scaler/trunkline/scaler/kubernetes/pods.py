"""The pod of a worker, from a pipeline's spec: a plain dictionary, decided without I/O.

Its containers, and what is mounted in them, stand in `pod_containers`; what they request in `pod_resources`. Here
is what is around them: who the pod is, whose it is, and where it may run. It passes the restricted security
standard, unless root is allowed.

Nothing is newer than Kubernetes 1.20: unknown fields are dropped in silence by servers that do not
know them, so a pod that rests on one would be another pod there. `user` is the first of the containers, as
patches that were written for Pachyderm have it. The last step, what a spec has patched
in, is checked by `pod_checks`.
"""

import hashlib
import json
from typing import Any

import msgspec

from trunkline.contracts import json_bounds, pod_shapes
from trunkline.contracts.spec import Toleration
from trunkline.scaler.kubernetes import object_names, patches, pod_checks, pod_containers
from trunkline.scaler.kubernetes.pod_settings import PodSettings
from trunkline.scaler.ports import WorkerRefusedError, WorkerSpec

Manifest = dict[str, Any]

PREFIX = "trunkline.dev"
PIPELINE = f"{PREFIX}/pipeline"
"""Label and annotation; as a label it may be mapped, see `object_names.label_value`."""
WORKER = f"{PREFIX}/worker"
CODE_HASH = f"{PREFIX}/code-hash"
SPEC_HASH = f"{PREFIX}/spec-hash"
"""Annotation: differs where the pod would be another one, whatever it is called."""
SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"
MANAGED_BY = {"app.kubernetes.io/managed-by": "trunkline-scaler"}
COMPONENT = {"app.kubernetes.io/name": "trunkline", "app.kubernetes.io/component": "worker"}
OURS = ",".join(f"{key}={value}" for key, value in MANAGED_BY.items())
"""Finds all that a scaler makes for pipelines."""
SELECTOR = ",".join(f"{key}={value}" for key, value in (MANAGED_BY | COMPONENT).items())
"""Finds all worker pods of a namespace."""

_REASON_MAX = 500
_UNFIT = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What Python raises where a value is not what it was taken for."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The ConfigMap to which all objects of a pipeline belong."""

    name: str
    uid: str


def worker_pod(worker: WorkerSpec, settings: PodSettings, owner: Owner) -> Manifest:
    """Return the pod of a worker.

    Raises:
        WorkerRefusedError: the spec cannot have one; the reason says what to change.
    """
    try:
        made = _pod(worker, settings, owner)
        spec = patches.merged(made["spec"], worker.spec.pod_spec)
        spec = patches.patched(spec, worker.spec.pod_patch)
        with patches.fitting("the pod's spec"):
            json_bounds.check(spec)
            pod_shapes.check(spec)
        spec = pod_checks.confined(spec, settings)
        pod_checks.check(made["spec"], spec, settings)
        pod_checks.check_annotations(worker.spec.metadata.annotations)
        pod = {**made, "spec": spec}
        pod["metadata"]["annotations"][SPEC_HASH] = spec_hash(pod)
    except patches.PatchError as error:
        raise WorkerRefusedError(worker.name, _said(error)) from error
    except _UNFIT as error:
        # what no check has thought of is one pipeline's trouble, not everybody's
        reason = f"no pod can be made of its spec: {type(error).__name__}: {_said(error)}"
        raise WorkerRefusedError(worker.name, reason) from error
    return pod


def _said(error: Exception) -> str:
    """Return what an error says, fit to be stored and shown: it quotes what users wrote."""
    return str(error).encode(errors="backslashreplace").decode()[:_REASON_MAX]


def spec_hash(pod: Manifest) -> str:
    """Return 16 hex digits over all of a pod that is not its own name."""
    own = pod["metadata"]["annotations"].get(WORKER, "")
    text = json.dumps([pod["metadata"].get("labels"), pod["spec"]], sort_keys=True)
    for name in {own, pod["metadata"]["name"]} - {""}:
        text = text.replace(json.dumps(name), '""')
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def credentials_data(creds: str, ward: str) -> dict[str, str]:
    """Return the `stringData` of the Secret that `object_names.credentials_name` names."""
    return {object_names.CREDS_KEY: creds, object_names.WARD_KEY: ward}


def _pod(worker: WorkerSpec, settings: PodSettings, owner: Owner) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(worker, settings, owner),
        "spec": {
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": settings.grace_s,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "fsGroup": pod_containers.GROUP,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "initContainers": [pod_containers.init_step(settings)],
            "containers": [
                pod_containers.user(worker, settings),
                pod_containers.agent(worker, settings),
            ],
            "volumes": pod_containers.volumes(worker, settings),
            **_placement(worker, settings),
        },
    }


def _metadata(worker: WorkerSpec, settings: PodSettings, owner: Owner) -> Manifest:
    given = worker.spec.metadata
    ours = {
        **COMPONENT,
        **MANAGED_BY,
        PIPELINE: object_names.label_value(worker.pipeline),
        CODE_HASH: worker.code_hash,
    }
    return {
        "name": object_names.object_name(worker.name),
        "namespace": settings.namespace,
        "labels": {**given.labels, **ours},
        "annotations": {
            # a worker's datums are given back within a second, but only by draining is nobody held up
            SAFE_TO_EVICT: "true" if worker.spec.standby else "false",
            **given.annotations,
            **_scraped(settings),
            PIPELINE: worker.pipeline,
            WORKER: worker.name,
        },
        "ownerReferences": [owned_by(owner)],
    }


def owned_by(owner: Owner) -> Manifest:
    """Return the reference to the ConfigMap that an object belongs to."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _scraped(settings: PodSettings) -> dict[str, str]:
    """Return the annotations by which a Prometheus finds what an agent says of itself."""
    if not settings.agent_probe_port:
        return {}
    port, prefix = str(settings.agent_probe_port), "prometheus.io/"
    return {f"{prefix}scrape": "true", f"{prefix}port": port, f"{prefix}path": "/metrics"}


# --- where it runs --------------------------------------------------------------------------------


def _placement(worker: WorkerSpec, settings: PodSettings) -> Manifest:
    spec = worker.spec
    given = settings.image_pull_secrets.split(",")
    pulls = dict.fromkeys([*spec.transform.image_pull_secrets, *filter(None, given)])
    spread = {
        "maxSkew": 1,
        "topologyKey": settings.spread_over,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {
            "matchLabels": {**COMPONENT, PIPELINE: object_names.label_value(worker.pipeline)}
        },
    }
    found = {
        "nodeSelector": dict(spec.scheduling_spec.node_selector),
        "priorityClassName": spec.scheduling_spec.priority_class_name
        or settings.default_priority_class,
        "tolerations": [_toleration(each) for each in spec.tolerations],
        "imagePullSecrets": [{"name": name} for name in pulls],
        "topologySpreadConstraints": [spread] if settings.spread_over else [],
    }
    return {key: value for key, value in found.items() if value}


def _toleration(each: Toleration) -> Manifest:
    found = {
        "key": each.key,
        "operator": each.operator,
        "value": each.value,
        "effect": each.effect,
        "tolerationSeconds": each.toleration_s,
    }
    return {key: value for key, value in found.items() if value not in ("", None)}
