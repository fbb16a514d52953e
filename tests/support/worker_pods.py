"""Workers that are to be pods, and what their installation says."""

import json
from typing import Any

from trunkline.contracts import spec, spec_parsing
from trunkline.scaler.kubernetes.pod_settings import PodSettings
from trunkline.scaler.kubernetes.pods import Manifest, Owner, worker_pod
from trunkline.scaler.ports import WorkerSpec

OWNER = Owner(name="trunkline-edges", uid="11111111-2222-3333-4444-555555555555")
WARD = "abcdefghijklmnop"


def settings(**other: Any) -> PodSettings:
    given = {
        "agent_image": "trunkline/worker-agent:1",
        "worker_nats_url": "nats://nats:4222",
        "store": "s3://bucket/prefix",
        "store_secret": "bucket-access",
        **other,
    }
    return PodSettings(**given)


def worker(*, name: str = "edges-12345678-0", pipeline: str = "edges", **fields: Any) -> WorkerSpec:
    """Return a worker of a pipeline; `transform` is merged into one that says what is needed."""
    transform = {"cmd": ["true"], "image": "debian", **fields.pop("transform", {})}
    document = {
        "pipeline": {"name": pipeline},
        "transform": transform,
        "input": {"pfs": {"repo": "images", "glob": "/*"}},
        **fields,
    }
    parsed = spec_parsing.parse(json.dumps(document).encode())
    code = spec.code_hash(parsed.transform)
    return WorkerSpec(name=name, pipeline=pipeline, ward=WARD, code_hash=code, spec=parsed)


def made(*, of: dict[str, Any] | None = None, **fields: Any) -> Manifest:
    """Return the pod of such a worker, by settings that differ in what `of` says."""
    return worker_pod(worker(**fields), settings(**(of or {})), OWNER)


def container(pod: Manifest, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        each
        for each in (*pod["spec"]["containers"], *pod["spec"]["initContainers"])
        if each["name"] == name
    )
    return found
