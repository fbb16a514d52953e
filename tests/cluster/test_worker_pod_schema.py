"""Worker pods of all kinds of specs, as a real API server takes them."""

import json
from typing import Any

import pytest
from tests.cluster.pods import Pods
from tests.support import worker_pods
from tests.support.worker_pods import made as pod_of

from trunkline.scaler.kubernetes import object_names

EVERYTHING: dict[str, Any] = {
    "transform": {
        "user": "1234:99",
        "working_dir": "/app",
        "memory_volume": True,
        "image_pull_secrets": ["registry"],
        "secrets": [
            {"name": "token", "key": "k", "env_var": "TOKEN"},
            {"name": "keys", "mount_path": "/keys"},
        ],
    },
    "resource_requests": {"cpu": 0.5, "memory": "1Gi", "disk": "10Gi"},
    "resource_limits": {"memory": "2Gi", "gpu": {"type": "nvidia.com/gpu", "number": 2}},
    "scheduling_spec": {"node_selector": {"disk": "ssd"}},
    "tolerations": [{"key": "k", "operator": "EXISTS", "effect": "NO_EXECUTE", "toleration_seconds": 5}],
    "metadata": {"labels": {"team": "a"}, "annotations": {"note": "any text"}},
    "standby": True,
    "pod_spec": json.dumps({"runtimeClassName": None, "affinity": {"nodeAffinity": {}}}),
    "pod_patch": json.dumps([{"op": "add", "path": "/containers/0/env/-", "value": {"name": "A"}}]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("pipeline", "fields", "of"),
    [
        ("edges", {}, {}),
        ("Word_Count", {}, {"store_secret": "", "spread_over": "", "agent_probe_port": 0}),
        ("edges", EVERYTHING, {"allow_root": True, "image_pull_secrets": "mirror"}),
        ("a" * 51, {}, {"store_volume": '{"persistentVolumeClaim": {"claimName": "c"}}', "store": "file:///s"}),
    ],
    ids=["plain", "bare", "everything", "long"],
)  # fmt: skip
async def test_a_real_server_takes_it_and_drops_nothing(
    made: Pods, pipeline: str, fields: dict[str, Any], of: dict[str, Any]
) -> None:
    """What it does not know it would drop in silence: an old server shows that nothing is too new."""
    name = object_names.object_name(f"{pipeline}-12345678-0")
    pod = pod_of(pipeline=pipeline, name=f"{pipeline}-12345678-0", of=of, **fields)
    pod["metadata"]["namespace"] = made.namespace
    taken = await made.core.create_namespaced_pod(
        made.namespace, pod, dry_run="All", _preload_content=False
    )
    answer = json.loads(await taken.read())
    assert answer["metadata"]["name"] == name
    assert missing(pod, answer) == []
    assert worker_pods.OWNER.uid == answer["metadata"]["ownerReferences"][0]["uid"]


def missing(wanted: Any, found: Any, path: str = "") -> list[str]:
    """Return where an answer lacks what was asked for; what a server adds is its own business."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [
            each
            for key, value in wanted.items()
            if value not in ({}, False)
            for each in missing(value, found.get(key), f"{path}.{key}")
        ]
    if isinstance(wanted, list) and isinstance(found, list) and len(found) >= len(wanted):
        pairs = enumerate(zip(wanted, found, strict=False))
        return [each for n, (a, b) in pairs for each in missing(a, b, f"{path}[{n}]")]
    return [] if wanted == found else [f"{path}: {found!r}"]
