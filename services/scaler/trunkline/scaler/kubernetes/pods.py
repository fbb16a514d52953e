"""The pod of a worker, from a pipeline's spec: a plain dictionary, decided without I/O.

    init step `shim`   our image   puts the static shim into `tools`, makes the directories in `home`
    `agent`            our image   NATS and the store: credentials, sockets, decisions
    `user`             the spec's  the shim, as its first process, and what that starts; nothing else

| volume | agent | user | holds |
|---|---|---|---|
| `tools` | - | /trunkline, read-only | the shim; written by the init step only |
| `run` | /run/trunkline | the same, read-only | the socket between the two |
| `home` | /home/trunkline | its `pfs` as /pfs | datums; all on one file system |
| `credentials` | read-only | - | what the agent logs in to NATS with; renewed in place |
| `store` | as the URL says | - | a `file://` store, where there is one |

Users of both containers share one group (`fsGroup`), so that each may read and delete what the other
has written. The user's side has no token, no service links, no secret but those that its spec names, and
another process namespace. The pod passes the restricted security standard, unless root is allowed.

Nothing is newer than Kubernetes 1.20: unknown fields are dropped in silence by servers that do not
know them, so a pod that rests on one would be another pod there. `user` is the first of the containers, as
patches that were written for Pachyderm have it. The last step, what a spec has patched
in, is checked by `pod_checks`.
"""

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from trunkline.bus import logins
from trunkline.contracts import json_bounds, pod_shapes
from trunkline.contracts.spec import PipelineSpec, Resources, Secret, Toleration
from trunkline.scaler.kubernetes import object_names, patches, pod_checks
from trunkline.scaler.kubernetes.pod_checks import AGENT, SHIM, USER
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

CREDS_KEY, WARD_KEY = "worker.creds", "ward"
"""Of the Secret with a pipeline's credentials."""

AGENT_UID = 10001
GROUP = 10001
DRAIN_MARGIN_S = 10
"""Between what a datum may still take and the end of the grace: giving back, a last claim, the shim's end."""

_HOME, _RUN, _TOOLS, _CREDENTIALS = (
    "/home/trunkline",
    "/run/trunkline",
    "/trunkline",
    "/run/secrets/trunkline",
)
_SOCKET = f"{_RUN}/agent.sock"
_AGENT_WAIT_S = 3600
"""Seconds for which the shim waits for an agent: an exit costs a back-off, and mends nothing."""
_REASON_MAX = 500
_UNFIT = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What Python raises where a value is not what it was taken for."""
_SMALL = {"emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}}


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
    return {CREDS_KEY: creds, WARD_KEY: ward}


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
                "fsGroup": GROUP,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "initContainers": [_init_step(settings)],
            "containers": [_user(worker, settings), _agent(worker, settings)],
            "volumes": _volumes(worker, settings),
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


# --- containers -----------------------------------------------------------------------------------


def _init_step(settings: PodSettings) -> Manifest:
    return {
        "name": SHIM,
        "image": settings.agent_image,
        "command": ["python", "-m", "trunkline.worker_agent.init_step", _TOOLS, _HOME],
        "resources": _sizes(settings.agent_cpu_request, settings.agent_memory_request_bytes),
        "volumeMounts": [_mount("tools", _TOOLS), _mount("home", _HOME)],
        "securityContext": _locked() | _AGENT_USER,
    }


def _agent(worker: WorkerSpec, settings: PodSettings) -> Manifest:
    limit: int | None = settings.agent_memory_limit_bytes
    if worker.spec.transform.memory_volume:  # inputs that it writes there are its own memory
        limits = worker.spec.resource_limits
        more = None if limits is None else limits.memory_bytes
        limit = None if more is None else settings.agent_memory_limit_bytes + more
    store = [] if not settings.store_volume else [_mount("store", _store_path(settings))]
    envs = {} if not settings.store_secret else {"envFrom": [_from(settings.store_secret)]}
    return {
        "name": AGENT,
        "image": settings.agent_image,
        "command": ["python", "-m", "trunkline.worker_agent"],
        **envs,
        "env": _agent_env(worker, settings),
        "resources": {
            **_sizes(settings.agent_cpu_request, settings.agent_memory_request_bytes),
            **({} if limit is None else {"limits": {"memory": str(limit)}}),
        },
        "volumeMounts": [
            _mount("run", _RUN),
            _mount("home", _HOME),
            _mount("credentials", _CREDENTIALS, read_only=True),
            *store,
        ],
        **_probes(settings),
        "securityContext": _locked() | _AGENT_USER,
    }


def _agent_env(worker: WorkerSpec, settings: PodSettings) -> list[Manifest]:
    plain = {
        "HOME": _HOME,
        "TRUNKLINE_DATA_URL": logins.url_of(
            settings.worker_nats_url, Path(_CREDENTIALS, CREDS_KEY)
        ),
        "TRUNKLINE_STORE": settings.store,
        "TRUNKLINE_PIPELINE": worker.pipeline,
        "TRUNKLINE_WORKER": worker.name,
        "TRUNKLINE_CODE_HASH": worker.code_hash,
        "TRUNKLINE_HOME_DIR": _HOME,
        "TRUNKLINE_SHIM_SOCKET": _SOCKET,
        "TRUNKLINE_DRAIN_LIMIT_S": str(settings.grace_s - DRAIN_MARGIN_S),
    }
    if settings.agent_probe_port:
        plain["TRUNKLINE_PROBE_PORT"] = str(settings.agent_probe_port)
    more: dict[str, str] = json.loads(settings.worker_environ or "{}")
    secret = object_names.credentials_name(worker.pipeline)
    ward = {"secretKeyRef": {"name": secret, "key": WARD_KEY}}
    address = {"fieldRef": {"fieldPath": "status.podIP"}}
    instance = {"fieldRef": {"fieldPath": "metadata.uid"}}
    return [
        *({"name": name, "value": value} for name, value in {**more, **plain}.items()),
        {"name": "TRUNKLINE_WARD", "valueFrom": ward},
        {"name": "TRUNKLINE_WORKER_IP", "valueFrom": address},
        *(
            [{"name": "TRUNKLINE_PROBE_HOST", "valueFrom": address}]
            if settings.agent_probe_port
            else []
        ),
        {"name": "TRUNKLINE_INSTANCE", "valueFrom": instance},
    ]


def _user(worker: WorkerSpec, settings: PodSettings) -> Manifest:
    spec = worker.spec
    image = spec.transform.image or settings.default_image
    if not image:
        raise WorkerRefusedError(
            worker.name, "transform.image is not set, and this installation has no default image"
        )
    secrets = spec.transform.secrets
    env = [_secret_variable(each) for each in secrets if each.env_var]
    where = {"workingDir": spec.transform.working_dir}
    return {
        "name": USER,
        "image": image,
        "command": [f"{_TOOLS}/shim", _SOCKET, str(_AGENT_WAIT_S)],
        **(where if spec.transform.working_dir.startswith("/") else {}),
        **({"env": env} if env else {}),
        "resources": _resources(spec, settings),
        "volumeMounts": [
            _mount("tools", _TOOLS, read_only=True),
            _mount("run", _RUN, read_only=True),
            {**_mount("home", "/pfs"), "subPath": "pfs"},
            *(
                _mount(_secret_volume(each.name), each.mount_path, read_only=True)
                for each in secrets
                if each.mount_path
            ),
        ],
        "securityContext": _user_context(spec, settings),
    }


def _user_context(spec: PipelineSpec, settings: PodSettings) -> Manifest:
    context = _locked()
    del context["readOnlyRootFilesystem"]
    uid, _, gid = spec.transform.user.partition(":")
    if _is_number(uid):
        context["runAsUser"] = int(uid)
        if _is_number(gid):
            context["runAsGroup"] = int(gid)
    if not settings.allow_root:
        context["runAsNonRoot"] = True
    return context


def _locked() -> Manifest:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


_AGENT_USER = {"runAsNonRoot": True, "runAsUser": AGENT_UID, "runAsGroup": GROUP}


def _probes(settings: PodSettings) -> Manifest:
    if not settings.agent_probe_port:
        return {}
    return {
        "ports": [{"name": "probes", "containerPort": settings.agent_probe_port}],
        "livenessProbe": _probe("/livez", every_s=10, failures=6),
        "readinessProbe": _probe("/readyz", every_s=5, failures=2),
    }


def _scraped(settings: PodSettings) -> dict[str, str]:
    """Return the annotations by which a Prometheus finds what an agent says of itself."""
    if not settings.agent_probe_port:
        return {}
    port, prefix = str(settings.agent_probe_port), "prometheus.io/"
    return {f"{prefix}scrape": "true", f"{prefix}port": port, f"{prefix}path": "/metrics"}


def _probe(path: str, *, every_s: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "probes"},
        "periodSeconds": every_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


# --- resources ------------------------------------------------------------------------------------


def _resources(spec: PipelineSpec, settings: PodSettings) -> Manifest:
    requests, limits = spec.resource_requests or Resources(), spec.resource_limits or Resources()
    wanted = _quantities(requests)
    most = _quantities(limits)
    # a server fills in what is requested from the limits; a default of ours must not be above them
    if "cpu" not in wanted and "cpu" not in most:
        wanted["cpu"] = _cores(settings.cpu_request)
    if "memory" not in wanted and "memory" not in most:
        wanted["memory"] = str(settings.memory_request_bytes)
    gpu = limits.gpu or requests.gpu
    if gpu is not None:  # of these, both must be the same
        wanted[gpu.type] = most[gpu.type] = str(gpu.number)
    return {kind: amounts for kind, amounts in (("requests", wanted), ("limits", most)) if amounts}


def _quantities(resources: Resources) -> dict[str, str]:
    found: dict[str, str] = {}
    if resources.cpu is not None:
        found["cpu"] = _cores(resources.cpu)
    if resources.memory_bytes is not None:
        found["memory"] = str(resources.memory_bytes)
    if resources.disk_bytes is not None:
        found["ephemeral-storage"] = str(resources.disk_bytes)
    return found


def _sizes(cores: float, memory_bytes: int) -> Manifest:
    return {"requests": {"cpu": _cores(cores), "memory": str(memory_bytes)}}


def _cores(cores: float) -> str:
    return f"{max(1, round(cores * 1000))}m"


# --- volumes and secrets --------------------------------------------------------------------------


def _volumes(worker: WorkerSpec, settings: PodSettings) -> list[Manifest]:
    transform = worker.spec.transform
    home: Manifest = {"medium": "Memory"} if transform.memory_volume else {}
    mounted = dict.fromkeys(each.name for each in transform.secrets if each.mount_path)
    credentials = {
        "secretName": object_names.credentials_name(worker.pipeline),
        "defaultMode": 0o440,
    }
    store = (
        [{"name": "store", **json.loads(settings.store_volume)}] if settings.store_volume else []
    )
    return [
        {"name": "tools", **_SMALL},
        {"name": "run", **_SMALL},
        {"name": "home", "emptyDir": home},
        {"name": "credentials", "secret": credentials},
        *store,
        *({"name": _secret_volume(name), "secret": {"secretName": name}} for name in mounted),
    ]


def _secret_volume(name: str) -> str:
    """Return the name of the volume of a secret: a name of ours must not be met."""
    return f"secret-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _secret_variable(secret: Secret) -> Manifest:
    reference = {"secretKeyRef": {"name": secret.name, "key": secret.key}}
    return {"name": secret.env_var, "valueFrom": reference}


def _store_path(settings: PodSettings) -> str:
    return unquote(urlsplit(settings.store).path)


def _mount(name: str, path: str, *, read_only: bool = False) -> Manifest:
    mount: Manifest = {"name": name, "mountPath": path}
    return {**mount, "readOnly": True} if read_only else mount


def _from(secret: str) -> Manifest:
    return {"secretRef": {"name": secret}}


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


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
