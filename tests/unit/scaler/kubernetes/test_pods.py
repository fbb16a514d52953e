"""What a spec, and an installation, make of a worker's pod."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.support import worker_pods
from tests.support.worker_pods import container, made, worker

from trunkline.scaler.kubernetes import object_names, pods
from trunkline.scaler.ports import WorkerRefusedError


def user(**fields: Any) -> dict[str, Any]:
    return container(made(**fields), "user")


def test_credentials_are_the_agents_alone() -> None:
    pod = made()
    holders = {
        each["name"]: json.dumps(each)
        for each in (*pod["spec"]["containers"], *pod["spec"]["initContainers"])
    }
    for word in ("creds", "credentials", "bucket", "nats", "trunkline-edges", "WARD"):
        assert word not in holders["user"] + holders["shim"]
    assert "bucket-access" in holders["agent"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["enableServiceLinks"] is False
    assert "shareProcessNamespace" not in pod["spec"]
    assert worker_pods.WARD not in json.dumps(pod)


def test_a_datum_may_take_less_than_the_grace() -> None:
    pod = made(of={"grace_s": 40})
    env = {each["name"]: each.get("value") for each in container(pod, "agent")["env"]}
    assert pod["spec"]["terminationGracePeriodSeconds"] == 40
    assert float(str(env["TRUNKLINE_DRAIN_LIMIT_S"])) < 40 - 5


def test_containers_are_what_the_restricted_standard_asks_for() -> None:
    pod = made()
    for name in ("shim", "agent", "user"):
        context = container(pod, name)["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
    assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_an_installation_may_let_images_run_as_root() -> None:
    pod = made(of={"allow_root": True})
    assert "runAsNonRoot" not in container(pod, "user")["securityContext"]
    assert container(pod, "agent")["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize(
    ("named", "ids"),
    [
        ("1234", {"runAsUser": 1234}),
        ("1234:99", {"runAsUser": 1234, "runAsGroup": 99}),
        ("1234:staff", {"runAsUser": 1234}),
        ("nobody", {}),
        ("", {}),
    ],
)
def test_a_user_by_number_is_the_containers(named: str, ids: dict[str, int]) -> None:
    context = user(transform={"user": named})["securityContext"]
    assert {k: v for k, v in context.items() if k in ("runAsUser", "runAsGroup")} == ids


def test_an_agent_is_probed_and_scraped_at_its_pods_own_address_of_whatever_kind() -> None:
    env = {each["name"]: each for each in container(made(), "agent")["env"]}
    assert env["TRUNKLINE_PROBE_HOST"]["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"
    unprobed = container(made(of={"agent_probe_port": 0}), "agent")
    assert not [each for each in unprobed["env"] if "PROBE" in each["name"]]


def test_commands_start_where_the_spec_says() -> None:
    assert user(transform={"working_dir": "/app"})["workingDir"] == "/app"
    assert "workingDir" not in user()


def test_what_is_requested_and_what_is_the_most() -> None:
    found = user(
        resource_requests={"cpu": 0.5, "memory": "1G", "disk": "10G"},
        resource_limits={"memory": "2G", "gpu": {"type": "nvidia.com/gpu", "number": 2}},
    )["resources"]
    assert found == {
        "requests": {
            "cpu": "500m",
            "memory": "1000000000",
            "ephemeral-storage": "10000000000",
            "nvidia.com/gpu": "2",
        },
        "limits": {"memory": "2000000000", "nvidia.com/gpu": "2"},
    }


def test_a_spec_that_asks_for_nothing_asks_for_a_little() -> None:
    assert user()["resources"] == {"requests": {"cpu": "100m", "memory": str(64 * 2**20)}}


def test_no_default_is_above_a_limit() -> None:
    found = user(resource_limits={"memory": "10M", "cpu": 0.01})["resources"]
    assert found == {"limits": {"memory": "10000000", "cpu": "10m"}}


def test_files_in_memory_are_the_agents_memory_too() -> None:
    pod = made(transform={"memory_volume": True}, resource_limits={"memory": "1G"})
    home = next(each for each in pod["spec"]["volumes"] if each["name"] == "home")
    assert home["emptyDir"] == {"medium": "Memory"}
    limits = container(pod, "agent")["resources"]["limits"]
    assert limits == {"memory": str(10**9 + 512 * 2**20)}
    unlimited = made(transform={"memory_volume": True})
    assert "limits" not in container(unlimited, "agent")["resources"]


def test_secrets_of_a_spec_are_the_users_alone() -> None:
    pod = made(
        transform={
            "secrets": [
                {"name": "token", "key": "k", "env_var": "TOKEN"},
                {"name": "keys", "mount_path": "/keys"},
                {"name": "keys", "mount_path": "/more"},
            ]
        }
    )
    found = container(pod, "user")
    reference = {"secretKeyRef": {"name": "token", "key": "k"}}
    assert found["env"] == [{"name": "TOKEN", "valueFrom": reference}]
    volume = next(each for each in pod["spec"]["volumes"] if each["name"].startswith("secret-"))
    assert volume["secret"] == {"secretName": "keys"}
    mounts = [each for each in found["volumeMounts"] if each["name"] == volume["name"]]
    assert [each["mountPath"] for each in mounts] == ["/keys", "/more"]
    assert all(each["readOnly"] for each in mounts)
    assert "keys" not in json.dumps(container(pod, "agent"))


def test_where_it_may_run() -> None:
    pod = made(
        scheduling_spec={"node_selector": {"disk": "ssd"}, "priority_class_name": "low"},
        tolerations=[
            {"key": "gpu", "operator": "EXISTS", "effect": "NO_SCHEDULE"},
            {
                "key": "k",
                "operator": "EQUAL",
                "value": "v",
                "effect": "NO_EXECUTE",
                "toleration_seconds": 5,
            },
        ],
        transform={"image_pull_secrets": ["registry"]},
        of={"image_pull_secrets": "mirror,registry"},
    )["spec"]
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert pod["priorityClassName"] == "low"
    assert pod["tolerations"] == [
        {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},
        {
            "key": "k",
            "operator": "Equal",
            "value": "v",
            "effect": "NoExecute",
            "tolerationSeconds": 5,
        },
    ]
    assert pod["imagePullSecrets"] == [{"name": "registry"}, {"name": "mirror"}]
    (spread,) = pod["topologySpreadConstraints"]
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    labels = made()["metadata"]["labels"]
    assert spread["labelSelector"]["matchLabels"].items() <= labels.items()


def test_labels_of_a_spec_do_not_stand_above_ours() -> None:
    pod = made(
        metadata={
            "labels": {"team": "a", pods.PIPELINE: "other", "app.kubernetes.io/component": "x"},
            "annotations": {pods.WORKER: "other", "note": "n", pods.SAFE_TO_EVICT: "true"},
        }
    )
    labels, annotations = pod["metadata"]["labels"], pod["metadata"]["annotations"]
    assert labels["team"] == "a"
    assert labels[pods.PIPELINE] == "edges"
    assert labels["app.kubernetes.io/component"] == "worker"
    assert annotations[pods.WORKER] == "edges-12345678-0"
    assert annotations[pods.SAFE_TO_EVICT] == "true"
    assert annotations["note"] == "n"
    (owner,) = pod["metadata"]["ownerReferences"]
    assert owner["controller"] is True
    assert owner["uid"] == worker_pods.OWNER.uid


def test_only_workers_that_stand_by_are_safe_to_evict() -> None:
    assert made()["metadata"]["annotations"][pods.SAFE_TO_EVICT] == "false"
    assert made(standby=True)["metadata"]["annotations"][pods.SAFE_TO_EVICT] == "true"


def test_the_hash_is_of_all_but_the_name() -> None:
    one, other = made(name="edges-12345678-0"), made(name="edges-12345678-1")
    assert one["metadata"]["name"] != other["metadata"]["name"]
    hashes = [each["metadata"]["annotations"][pods.SPEC_HASH] for each in (one, other)]
    assert hashes[0] == hashes[1]
    changed = made(resource_limits={"memory": "1G"})
    assert changed["metadata"]["annotations"][pods.SPEC_HASH] != hashes[0]


def test_a_spec_without_an_image_needs_a_default() -> None:
    with pytest.raises(WorkerRefusedError, match="no default image"):
        made(transform={"image": ""})
    pod = made(transform={"image": ""}, of={"default_image": "debian"})
    assert container(pod, "user")["image"] == "debian"


@pytest.mark.parametrize("pipeline", ["Word_Count", "a-", "A" * 51, "9"])
def test_any_pipeline_has_objects_of_its_own(pipeline: str) -> None:
    names = [
        object_names.owner_name(pipeline),
        object_names.credentials_name(pipeline),
        object_names.object_name(f"{pipeline}-12345678-12"),
    ]
    for name in names:
        assert all(char.islower() or char.isdigit() or char == "-" for char in name)
        assert name[0] != "-" != name[-1]
    assert len(object_names.object_name(f"{pipeline}-12345678-12")) <= 63
    assert object_names.owner_name(pipeline) != object_names.owner_name(pipeline + "x")


def test_names_that_differ_in_case_only_do_not_meet() -> None:
    assert object_names.object_name("Edges") != object_names.object_name("edges")


@pytest.mark.parametrize(
    "name_of",
    [object_names.owner_name, object_names.credentials_name, object_names.label_value],
)
def test_no_name_can_be_chosen_to_meet_another(name_of: Callable[[str], str]) -> None:
    """What a name is mapped to is known to everybody, and may be another pipeline's name."""
    for name in ("Foo", "a_", "A" * 51):
        meant = name_of(name).removeprefix("trunkline-").removesuffix("-worker-creds")
        assert meant == name or name_of(meant) != name_of(name)


def test_a_file_store_is_a_volume_of_the_agents() -> None:
    of = {"store": "file:///data/store", "store_volume": '{"nfs": {"server": "s", "path": "/p"}}'}
    pod = made(of=of)
    mount = {"name": "store", "mountPath": "/data/store"}
    assert mount in container(pod, "agent")["volumeMounts"]
    assert "store" not in json.dumps(container(pod, "user"))


def test_a_worker_is_told_what_an_installation_adds() -> None:
    pod = made(of={"worker_environ": '{"TRUNKLINE_PREFETCH": "8", "TRUNKLINE_WORKER": "x"}'})
    env = {each["name"]: each.get("value") for each in container(pod, "agent")["env"]}
    assert env["TRUNKLINE_PREFETCH"] == "8"
    assert env["TRUNKLINE_WORKER"] == worker().name
