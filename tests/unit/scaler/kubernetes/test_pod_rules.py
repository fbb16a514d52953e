"""What only a namespace's label would stop otherwise, and the store by another name."""

import json
from typing import Any

import pytest
from tests.support.worker_pods import container, made

from trunkline.contracts.errors import InvalidSpecError
from trunkline.scaler.ports import WorkerRefusedError

CLAIM = {"persistentVolumeClaim": {"claimName": "trunkline-store"}}
NFS = {"nfs": {"server": "files", "path": "/store"}}


def add(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


def mounted(volume: dict[str, Any], path: str = "/loot") -> str:
    return json.dumps(
        [
            add("/volumes/-", {"name": "loot", **volume}),
            add("/containers/0/volumeMounts/-", {"name": "loot", "mountPath": path}),
        ]
    )


def stored_on(volume: dict[str, Any]) -> dict[str, Any]:
    return {"store": "file:///data/store", "store_volume": json.dumps(volume), "store_secret": ""}


COPIED = {"ephemeral": {"volumeClaimTemplate": {"spec": {"dataSource": {"name": "trunkline-store"}}}}}  # fmt: skip


@pytest.mark.parametrize(
    ("store", "loot"),
    [
        (CLAIM, CLAIM),
        (CLAIM, {"persistentVolumeClaim": {"claimName": "trunkline-store", "readOnly": True}}),
        (CLAIM, NFS),
        (CLAIM, COPIED),
        (NFS, NFS),
        (NFS, {"nfs": {"server": "10.0.0.9", "path": "/"}}),
        (NFS, {"csi": {"driver": "nfs.csi.k8s.io"}}),
    ],
)
def test_a_store_that_is_a_volume_is_not_mounted_by_another_name(store: Any, loot: Any) -> None:
    with pytest.raises(WorkerRefusedError, match=r"for agents only|may not be set"):
        made(of=stored_on(store), pod_patch=mounted(loot))


def test_volumes_that_lead_elsewhere_may_be_added() -> None:
    made(of=stored_on(CLAIM), pod_patch=mounted({"persistentVolumeClaim": {"claimName": "models"}}))
    made(of=stored_on(NFS), pod_patch=mounted({"configMap": {"name": "words"}}))
    made(pod_patch=mounted(NFS))
    with pytest.raises(WorkerRefusedError, match="may not be set"):
        made(pod_patch=mounted({"gitRepo": {"repository": "x"}}))


@pytest.mark.parametrize(
    "path",
    ["/trunkline", "//trunkline", "/./trunkline", "/x/../trunkline", "trunkline", "/trunkline/shim",
     "//run/trunkline", "/run", "/", "/var/run/trunkline/x", "/pfs", "/pfs/out"],
)  # fmt: skip
def test_nothing_is_mounted_over_what_is_ours_however_it_is_spelt(path: str) -> None:
    with pytest.raises(WorkerRefusedError, match="mounted at"):
        made(pod_patch=mounted({"emptyDir": {}}, path))
    with pytest.raises((WorkerRefusedError, InvalidSpecError), match=r"mounted at|mount path"):
        made(transform={"secrets": [{"name": "a", "mount_path": f"/{path.lstrip('/')}"}]})


CONTEXT = "/containers/0/securityContext"


@pytest.mark.parametrize(
    "operation",
    [
        add(f"{CONTEXT}/seccompProfile", {"type": "Unconfined"}),
        add(f"{CONTEXT}/appArmorProfile", {"type": "Unconfined"}),
        add(f"{CONTEXT}/seLinuxOptions", {"type": "spc_t"}),
        add("/securityContext/seLinuxOptions", {"type": "spc_t"}),
        add("/securityContext/sysctls", [{"name": "kernel.msgmax", "value": "1"}]),
        add("/containers/-", {"name": "x", "securityContext": {"runAsUser": 0}}),
        add("/containers/-", {"name": "x", "securityContext": {"runAsNonRoot": False}}),
        add("/containers/-", {"name": "x", "securityContext": {"allowPrivilegeEscalation": True}}),
        add("/initContainers/-", {"name": "x", "securityContext": {"capabilities": {"drop": []}}}),
        add("/priorityClassName", "system-node-critical"),
        add("/nodeName", "n1"),
        add("/containers/0/startupProbe", {"exec": {"command": ["sh"]}}),
        add("/containers/0/livenessProbe", {"exec": {"command": ["sh"]}}),
        add("/containers/0/lifecycle", {"postStart": {"exec": {"command": ["sh"]}}}),
        add("/containers/0/terminationMessagePath", "/trunkline/shim"),
    ],
)
def test_the_pods_confinement_rests_on_no_label_of_its_namespace(operation: Any) -> None:
    with pytest.raises(WorkerRefusedError):
        made(pod_patch=json.dumps([operation]))


def test_an_annotation_does_not_unconfine_a_container() -> None:
    key = "container.apparmor.security.beta.kubernetes.io/user"
    with pytest.raises(WorkerRefusedError, match="annotation"):
        made(metadata={"annotations": {key: "unconfined"}})


@pytest.mark.parametrize("name", ["scrape", "port", "path", "scheme"])
def test_a_spec_does_not_say_where_prometheus_reads(name: str) -> None:
    with pytest.raises(WorkerRefusedError, match="where the agent's metrics are read"):
        made(metadata={"annotations": {f"prometheus.io/{name}": "9999"}})


def test_a_container_that_says_nothing_of_itself_is_confined_as_the_users_is() -> None:
    patch = json.dumps([add("/containers/-", {"name": "beside", "image": "debian"})])
    assert container(made(pod_patch=patch), "beside")["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }
    rooted = made(of={"allow_root": True}, pod_patch=patch)
    assert "runAsNonRoot" not in container(rooted, "beside")["securityContext"]
