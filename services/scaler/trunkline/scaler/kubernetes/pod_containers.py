"""The containers of a worker's pod, and what is mounted in them.

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
another process namespace.
"""

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from trunkline.bus import logins
from trunkline.contracts.spec import PipelineSpec, Secret
from trunkline.scaler.kubernetes import object_names, pod_resources
from trunkline.scaler.kubernetes.pod_checks import AGENT, SHIM, USER
from trunkline.scaler.kubernetes.pod_settings import PodSettings
from trunkline.scaler.ports import WorkerRefusedError, WorkerSpec

Manifest = dict[str, Any]

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
_SMALL = {"emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}}


def init_step(settings: PodSettings) -> Manifest:
    """Return the container that has ended before the others start."""
    return {
        "name": SHIM,
        "image": settings.agent_image,
        "command": ["python", "-m", "trunkline.worker_agent.init_step", _TOOLS, _HOME],
        "resources": pod_resources.sizes(
            settings.agent_cpu_request, settings.agent_memory_request_bytes
        ),
        "volumeMounts": [_mount("tools", _TOOLS), _mount("home", _HOME)],
        "securityContext": _locked() | _AGENT_USER,
    }


def agent(worker: WorkerSpec, settings: PodSettings) -> Manifest:
    """Return our own container: the only one that knows NATS and the store."""
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
            **pod_resources.sizes(settings.agent_cpu_request, settings.agent_memory_request_bytes),
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
            settings.worker_nats_url, Path(_CREDENTIALS, object_names.CREDS_KEY)
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
    ward = {"secretKeyRef": {"name": secret, "key": object_names.WARD_KEY}}
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


def user(worker: WorkerSpec, settings: PodSettings) -> Manifest:
    """Return the spec's container.

    Raises:
        WorkerRefusedError: neither the spec nor the installation names an image.
    """
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
        "resources": pod_resources.of(spec, settings),
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


def _probe(path: str, *, every_s: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "probes"},
        "periodSeconds": every_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def volumes(worker: WorkerSpec, settings: PodSettings) -> list[Manifest]:
    """Return what the containers mount, and what the spec's secrets need."""
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


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
