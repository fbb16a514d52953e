"""What the kubelet decides without a cluster: statuses, back-offs, environments, volumes."""

from pathlib import Path
from typing import Any

import pytest
from tests.cluster.kubelet import configuration, statuses, volumes
from tests.cluster.kubelet.backoff import Restarts
from tests.cluster.kubelet.configuration import ConfigurationError
from tests.cluster.kubelet.images import DEBIAN, Image
from tests.cluster.kubelet.statuses import Container


def test_back_offs_double_to_five_minutes_and_begin_anew_after_a_long_run() -> None:
    restarts = Restarts()
    assert [restarts.ended(1) for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert restarts.ended(601) == 0
    assert restarts.ended(1) == 10


def one(name: str = "c", **more: Any) -> Container:
    return Container(name=name, image="debian", **more)


def test_a_container_remembers_its_last_end_through_its_next_start() -> None:
    ended = one().runs("a", again=False).ended(137, "OOMKilled")
    waiting = ended.backs_off(10)
    running = waiting.runs("b", again=True)
    assert ended.last is None
    assert waiting.last == running.last == ended.state
    assert running.restarts == 1
    status = statuses.pod_status(
        phase="Running", inits=[], containers=[waiting], pod_ip="", host_ip="", began=""
    )
    (written,) = status["containerStatuses"]
    assert written["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert written["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert written["lastState"]["terminated"]["containerID"] == "a"


RUNS, FRESH = one().runs("a", again=False), one()
GOOD, BAD = RUNS.ended(0, "Completed"), RUNS.ended(1, "Error")


@pytest.mark.parametrize(
    ("policy", "inits", "containers", "phase"),
    [
        ("Always", [FRESH], [FRESH], "Pending"),
        ("Always", [RUNS], [FRESH], "Pending"),
        ("Always", [BAD], [FRESH], "Pending"),
        ("Never", [BAD], [FRESH], "Failed"),
        ("Always", [GOOD], [RUNS, FRESH], "Pending"),
        ("Always", [GOOD], [RUNS, RUNS], "Running"),
        ("Always", [], [RUNS, BAD.backs_off(10)], "Running"),
        ("Always", [], [GOOD, GOOD], "Running"),
        ("OnFailure", [], [GOOD, BAD], "Running"),
        ("OnFailure", [], [GOOD, GOOD], "Succeeded"),
        ("Never", [], [GOOD, RUNS], "Running"),
        ("Never", [], [GOOD, BAD], "Failed"),
        ("Never", [], [GOOD, GOOD], "Succeeded"),
    ],
)
def test_the_phase_follows_from_the_containers_and_the_policy(
    policy: str, inits: list[Container], containers: list[Container], phase: str
) -> None:
    assert statuses.phase(policy, inits, containers) == phase


def test_a_pod_that_was_told_to_go_fails_if_one_of_its_containers_does() -> None:
    assert statuses.final_phase([GOOD], [GOOD, GOOD]) == "Succeeded"
    assert statuses.final_phase([], [GOOD, BAD]) == "Failed"


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)-$(A)", "1-1"),
        ("$(B)", "$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A $(id -u) ${A}", "$A $(id -u) ${A}"),
    ],
)
def test_references_to_variables_are_expanded_as_kubernetes_does(text: str, expanded: str) -> None:
    assert configuration.expand(text, {"A": "1"}) == expanded


def pod(container: dict[str, Any], **spec: Any) -> dict[str, Any]:
    meta = {"name": "p", "namespace": "ns", "labels": {"app": "tl"}, "uid": "u"}
    return {"metadata": meta, "spec": {"containers": [container], **spec}, "status": {}}


def test_fields_and_resources_reach_the_environment() -> None:
    container = {
        "name": "c",
        "resources": {"limits": {"memory": "64Mi", "cpu": "1500m"}},
        "env": [
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
            {
                "name": "MIB",
                "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}},
            },
            {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        ],
    }
    env = configuration.environment(container, pod(container), {"PATH": "/bin"}, {})
    assert env == {
        "PATH": "/bin", "APP": "tl", "MEMORY": str(64 << 20), "MIB": "64", "CPUS": "2",
    }  # fmt: skip


def test_an_optional_reference_may_be_missing_and_another_not() -> None:
    def container(**more: Any) -> dict[str, Any]:
        reference = {"name": "creds", "key": "token", **more}
        return {"name": "c", "env": [{"name": "T", "valueFrom": {"secretKeyRef": reference}}]}

    wanting, optional = container(), container(optional=True)
    assert configuration.references(pod(wanting)) == {("secret", "creds")}
    assert configuration.environment(optional, pod(optional), {}, {}) == {}
    with pytest.raises(ConfigurationError, match='secret "creds" not found'):
        configuration.environment(wanting, pod(wanting), {}, {})
    with pytest.raises(ConfigurationError, match="couldn't find key token"):
        configuration.environment(wanting, pod(wanting), {}, {("secret", "creds"): {}})


def test_a_command_replaces_the_entrypoint_and_arguments_follow_either() -> None:
    image = Image(entrypoint=("serve", "--fast"))
    assert configuration.command({"args": ["$(A)"]}, image, {"A": "x"}) == ["serve", "--fast", "x"]
    assert configuration.command({"command": ["sh"], "args": ["-c"]}, image, {}) == ["sh", "-c"]
    with pytest.raises(ConfigurationError, match="no command"):
        configuration.command({}, DEBIAN, {})


def test_a_new_content_replaces_all_files_of_a_secret_at_once(tmp_path: Path) -> None:
    volume = {"name": "v", "secret": {"secretName": "s", "defaultMode": 0o400}}
    asking = pod({"name": "c"}, volumes=[volume])
    old = {("secret", "s"): {"a": b"1", "b": b"1"}}
    laid = volumes.lay_out(asking, tmp_path, old)["v"]
    seen = (laid / "..data").resolve()
    assert (laid / "a").read_bytes() == b"1"
    assert (laid / "a").stat().st_mode & 0o777 == 0o400
    volumes.lay_out(asking, tmp_path, old)
    assert (laid / "..data").resolve() == seen  # nothing new: nothing written
    volumes.lay_out(asking, tmp_path, {("secret", "s"): {"a": b"2", "b": b"2"}})
    assert (laid / "a").read_bytes() + (laid / "b").read_bytes() == b"22"
    assert not seen.exists()


def test_a_projected_volume_has_all_its_sources(tmp_path: Path) -> None:
    sources = [
        {"serviceAccountToken": {"path": "token"}},
        {"configMap": {"name": "root", "items": [{"key": "ca", "path": "ca.crt"}]}},
        {
            "downwardAPI": {
                "items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]
            }
        },
    ]
    asking = pod({"name": "c"}, volumes=[{"name": "v", "projected": {"sources": sources}}])
    wanted = {("token", "default"), ("configmap", "root")}
    assert configuration.references(asking) == wanted
    known = {("token", "default"): {"token": b"t"}, ("configmap", "root"): {"ca": b"c"}}
    laid = volumes.lay_out(asking, tmp_path, known)["v"]
    held = {
        path.name: path.read_text() for path in laid.iterdir() if not path.name.startswith("..")
    }
    assert held == {"token": "t", "ca.crt": "c", "ns": "ns"}


def test_a_volume_of_another_kind_is_refused_by_its_name(tmp_path: Path) -> None:
    volume = {"name": "v", "nfs": {"server": "far", "path": "/"}}
    with pytest.raises(ConfigurationError, match="nfs"):
        volumes.lay_out(pod({"name": "c"}, volumes=[volume]), tmp_path, {})


def test_a_claimed_volume_lies_on_the_nodes_disk_and_is_its_groups(tmp_path: Path) -> None:
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "disk"}}
    asked = pod({"name": "c"}, volumes=[volume], securityContext={"fsGroup": 10002})
    (reference,) = configuration.references(asked)
    with pytest.raises(ConfigurationError, match="disk"):
        volumes.lay_out(asked, tmp_path / "volumes", {})
    disk = tmp_path / "disk"
    disk.mkdir()
    held = configuration.contents(reference[0], {"spec": {"local": {"path": str(disk)}}})
    assert volumes.lay_out(asked, tmp_path / "volumes", {reference: held}) == {"data": disk}
    assert (disk.stat().st_gid, disk.stat().st_mode & 0o7777) == (10002, 0o2770)
