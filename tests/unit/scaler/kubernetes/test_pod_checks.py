"""What a spec may change of its pods, and what it may not: no way leads to the agent's credentials."""

import json
from typing import Any

import pytest
from tests.support.worker_pods import container, made

from trunkline.scaler.ports import WorkerRefusedError

CREDS = "trunkline-edges-worker-creds"


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    return made(pod_patch=json.dumps(operations))


def add(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


def test_the_users_container_is_the_first_as_patches_for_pachyderm_have_it() -> None:
    pod = patch(add("/containers/0/resources/limits", {"memory": "1Gi"}))
    assert container(pod, "user")["resources"]["limits"] == {"memory": "1Gi"}


def test_a_merge_comes_first_then_the_patch() -> None:
    pod = made(
        pod_spec=json.dumps({"priority": 1, "nodeSelector": {"a": "b"}}),
        pod_patch=json.dumps([add("/nodeSelector/c", "d"), {"op": "remove", "path": "/priority"}]),
    )
    assert pod["spec"]["nodeSelector"] == {"a": "b", "c": "d"}
    assert "priority" not in pod["spec"]


def test_what_user_code_runs_in_may_be_shaped() -> None:
    pod = patch(
        add("/volumes/-", {"name": "models", "persistentVolumeClaim": {"claimName": "models"}}),
        add("/containers/0/volumeMounts/-", {"name": "models", "mountPath": "/models"}),
        add("/containers/0/env", [{"name": "A", "value": "b"}]),
        add("/containers/-", {"name": "beside", "image": "debian", "command": ["sleep", "9"]}),
        add("/containers/1/resources/limits/memory", "2Gi"),
        add("/runtimeClassName", "gvisor"),
        {"op": "replace", "path": "/terminationGracePeriodSeconds", "value": 600},
    )
    assert container(pod, "agent")["resources"]["limits"]["memory"] == "2Gi"


def test_an_operation_that_does_not_fit_is_named() -> None:
    with pytest.raises(WorkerRefusedError, match=r"pod_patch\[0\].*there is no 'nodeSelector'"):
        patch(add("/nodeSelector/a", "b"))


SECRET_VOLUME = add("/volumes/-", {"name": "x", "secret": {"secretName": CREDS}})
ENV = "/containers/0/env"


@pytest.mark.parametrize(
    ("operations", "why"),
    [
        ([SECRET_VOLUME], "for agents only"),
        (
            [add("/volumes/-", {"name": "x", "secret": {"secretName": "bucket-access"}})],
            "for agents",
        ),
        (
            [
                add(
                    "/volumes/-",
                    {"name": "x", "projected": {"sources": [{"secret": {"name": CREDS}}]}},
                )
            ],
            "for agents only",
        ),
        (
            [add("/volumes/-", {"name": "x", "csi": {"nodePublishSecretRef": {"name": CREDS}}})],
            "for",
        ),
        (
            [add("/containers/0/envFrom", [{"secretRef": {"name": "bucket-access"}}])],
            "for agents only",
        ),
        (
            [
                add(
                    ENV,
                    [{"name": "A", "valueFrom": {"secretKeyRef": {"name": CREDS, "key": "ward"}}}],
                )
            ],
            "for agents only",
        ),
        (
            [add("/containers/0/volumeMounts/-", {"name": "credentials", "mountPath": "/x"})],
            "cannot be mounted elsewhere",
        ),
        (
            [add("/containers/0/volumeMounts/-", {"name": "home", "mountPath": "/x"})],
            "cannot be mounted elsewhere",
        ),
        (
            [
                add(
                    "/containers/-",
                    {"name": "x", "volumeMounts": [{"name": "run", "mountPath": "/x"}]},
                )
            ],
            "cannot be mounted elsewhere",
        ),
        (
            [
                add(
                    "/initContainers/-",
                    {"name": "x", "volumeMounts": [{"name": "credentials", "mountPath": "/x"}]},
                )
            ],
            "cannot be mounted elsewhere",
        ),
        ([{"op": "remove", "path": "/containers/0/volumeMounts/1/readOnly"}], "must stay"),
        ([add("/shareProcessNamespace", True)], "may not be set"),
        ([add("/hostPID", True)], "may not be set"),
        ([add("/hostNetwork", True)], "may not be set"),
        ([add("/volumes/-", {"name": "x", "hostPath": {"path": "/"}})], "may not be set"),
        ([add("/containers/0/securityContext/privileged", True)], "may not be set"),
        ([add("/containers/0/securityContext/capabilities/add", ["SYS_PTRACE"])], "may not add"),
        ([{"op": "remove", "path": "/containers/0/securityContext/runAsNonRoot"}], "must stay"),
        ([add("/hostAliases", [{"ip": "10.0.0.1", "hostnames": ["nats"]}])], "may not be set"),
        ([add("/dnsConfig", {"nameservers": ["10.0.0.1"]})], "may not be set"),
        ([add("/automountServiceAccountToken", True)], "must stay"),
        ([add("/serviceAccountName", "scaler")], "must stay"),
        (
            [
                add(
                    "/volumes/-",
                    {
                        "name": "x",
                        "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]},
                    },
                )
            ],
            "may not be set",
        ),
        ([add("/containers/1/image", "evil")], "only resources may change"),
        ([add("/containers/1/command", ["env"])], "only resources may change"),
        ([add("/initContainers/0/command", ["sh"])], "init step"),
        ([add("/containers/0/image", "other")], "see `transform`"),
        ([add("/containers/0/command", ["sh"])], "see `transform`"),
        ([{"op": "remove", "path": "/containers/1"}], "must stay"),
        ([add("/volumes/1", {"name": "run", "emptyDir": {}})], "one name"),
        ([add("/terminationGracePeriodSeconds", 5)], "at least 60"),
        ([add("/securityContext/fsGroup", 1)], "must stay"),
        ([add("/containers", {})], "containers"),
        ([add("/containers/0/volumeMounts", 5)], "volumeMounts"),
        ([add("", {})], "must stay"),
    ],
)
def test_no_patch_leads_past_the_agent(operations: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(WorkerRefusedError, match=why):
        patch(*operations)


def test_a_merge_that_replaces_the_containers_is_refused() -> None:
    with pytest.raises(WorkerRefusedError, match="must stay"):
        made(pod_spec=json.dumps({"containers": [{"name": "user", "image": "debian"}]}))


def test_a_secret_of_ours_is_none_that_a_spec_may_name() -> None:
    for name in (CREDS, "trunkline-other-worker-creds", "bucket-access"):
        with pytest.raises(WorkerRefusedError, match="for agents only"):
            made(transform={"secrets": [{"name": name, "mount_path": "/x"}]})
        with pytest.raises(WorkerRefusedError, match="for agents only"):
            made(transform={"secrets": [{"name": name, "key": "k", "env_var": "X"}]})


def test_a_secret_is_not_mounted_over_what_is_ours() -> None:
    with pytest.raises(WorkerRefusedError, match="mounted at"):
        patch(
            add("/volumes/-", {"name": "x", "emptyDir": {}}),
            add("/containers/0/volumeMounts/-", {"name": "x", "mountPath": "/run/trunkline/"}),
        )
