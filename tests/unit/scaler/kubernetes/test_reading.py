"""What nodes and pods say."""

from typing import Any

import pytest

from trunkline.contracts.states import Cause
from trunkline.scaler.kubernetes import reading

STAMP = "2026-01-01T00:00:07Z"
OVER: dict[str, Any] = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": STAMP}
AT_NS = 1_767_225_607 * 10**9


def pod(*, name: str = "p", says: dict[str, str] | None = None, **status: Any) -> dict[str, Any]:
    meta = {"name": name, "uid": "u", "annotations": says or {}, "creationTimestamp": STAMP}
    return {"metadata": meta, "spec": {"nodeName": "n1"}, "status": {"phase": "Running", **status}}


def container(name: str = "user", **of: Any) -> dict[str, Any]:
    return {"name": name, "state": {"running": {}}, **of}


def waiting(reason: str, message: str = "", **of: Any) -> dict[str, Any]:
    return container(**{"state": {"waiting": {"reason": reason, "message": message}}, **of})


def node(*, ready: str = "True", **spec: Any) -> dict[str, Any]:
    conditions = [
        {"type": "MemoryPressure", "status": "False"},
        {"type": "Ready", "status": ready},
    ]
    return {
        "metadata": {"name": "n1", "labels": {"a": "b"}},
        "spec": spec,
        "status": {"conditions": conditions},
    }


@pytest.mark.parametrize(
    ("found", "why_not"),
    [
        (node(), ""),
        (node(ready="False"), "not ready"),
        (node(ready="Unknown"), "not ready"),
        (node(unschedulable=True), "cordoned"),
        (node(ready="Unknown", unschedulable=True), "not ready"),
        ({"metadata": {"name": "new"}}, "not ready"),
    ],
)
def test_nodes_count_while_they_are_ready_and_open(found: dict[str, Any], why_not: str) -> None:
    view = reading.node(found)
    assert (view.node.why_not, view.node.eligible) == (why_not, not why_not)


def test_a_heartbeat_changes_nothing_and_kubernetes_own_taints_say_nothing_new() -> None:
    before, after = node(), node()
    after["status"]["conditions"][1]["lastHeartbeatTime"] = STAMP
    after["metadata"]["resourceVersion"] = "9"
    after["spec"]["taints"] = [
        {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"},
    ]
    assert reading.node(before) == reading.node(after)
    after["spec"]["taints"].append({"key": "gpu", "effect": "NoSchedule"})
    assert [each.key for each in reading.node(after).node.taints] == ["gpu"]


@pytest.mark.parametrize("where", ["state", "lastState"])
def test_a_container_that_was_killed_for_memory_says_when(where: str) -> None:
    """As it has ended just now, or as it runs again, or waits to."""
    user = {**container(), where: {"terminated": OVER}}
    found = pod(containerStatuses=[container("agent"), user])
    assert reading.pod(found).oom_ns == AT_NS


def test_an_end_that_is_older_another_one_or_the_agents_says_nothing_of_memory() -> None:
    error = {"exitCode": 137, "reason": "Error", "finishedAt": STAMP}
    newer = container(state={"terminated": error}, lastState={"terminated": OVER})
    agent = container("agent", lastState={"terminated": OVER})
    for each in (newer, agent, container(lastState={"terminated": error})):
        assert reading.pod(pod(containerStatuses=[each])).oom_ns == 0


def test_a_user_container_in_back_off_is_to_be_replaced_and_an_agent_is_not() -> None:
    text = "back-off 10s restarting"
    user = waiting("CrashLoopBackOff", text, lastState={"terminated": OVER})
    view = reading.pod(pod(containerStatuses=[user]))
    assert view.back_off == "its user container ends again and again: oom: its memory was used up"
    agent = {**user, "name": "agent"}
    view = reading.pod(pod(containerStatuses=[agent]))
    assert (view.back_off, view.problem) == ("", f"CrashLoopBackOff: {text}")


@pytest.mark.parametrize(
    "reason", ["ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError"]
)
def test_what_keeps_a_container_from_coming_up_is_named(reason: str) -> None:
    said = f'Back-off pulling image "nope": {"x" * 900}'
    view = reading.pod(pod(phase="Pending", containerStatuses=[waiting(reason, said)]))
    assert view.problem.startswith(f'{reason}: Back-off pulling image "nope"')
    assert len(view.problem) <= 300
    assert reading.pod(pod(initContainerStatuses=[waiting(reason)])).problem == reason


def test_one_that_is_only_being_made_or_moved_has_no_problem() -> None:
    assert reading.pod(pod(containerStatuses=[waiting("ContainerCreating")])).problem == ""
    unplaced = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    view = reading.pod(pod(phase="Pending", conditions=[{**unplaced, "message": "0/3 nodes"}]))
    assert view.problem == "Unschedulable: 0/3 nodes"


@pytest.mark.parametrize(
    ("status", "ended", "cause"),
    [
        ({"reason": "Evicted", "message": "disk"}, "Evicted: disk", Cause.EVICTED),
        ({"reason": "NodeLost"}, "NodeLost", Cause.NODE_LOST),
        ({"reason": "Terminated", "message": "node"}, "Terminated: node", Cause.NODE_LOST),
        ({"reason": "DeadlineExceeded"}, "DeadlineExceeded", Cause.WORKER_LOST),
        (
            {"containerStatuses": [container(state={"terminated": {"exitCode": 3}})]},
            "its container user ended: exit code 3",
            Cause.WORKER_LOST,
        ),
        ({}, "its containers have ended", Cause.WORKER_LOST),
    ],
)
def test_how_a_pod_has_ended_and_whose_fault_that_is(
    status: dict[str, Any], ended: str, cause: Cause
) -> None:
    view = reading.pod(pod(phase="Failed", **status))
    assert view.ended == ended
    worker = reading.worker(view, "its node n1 is not ready")
    assert (worker.lost, worker.lost_by) == (ended, cause)


def test_a_worker_of_a_node_that_is_away_is_lost_with_it() -> None:
    worker = reading.worker(reading.pod(pod()), "its node n1 is not ready")
    assert (worker.lost, worker.lost_by) == ("its node n1 is not ready", Cause.NODE_LOST)


def test_who_a_pod_is_stands_in_its_annotations() -> None:
    says = {
        "trunkline.dev/worker": "edges-1",
        "trunkline.dev/pipeline": "edges",
        "trunkline.dev/spec-hash": "abc",
    }
    view = reading.pod(pod(name="edges-1-x", says=says))
    assert (view.name, view.worker, view.pipeline, view.spec_hash) == (
        "edges-1-x",
        "edges-1",
        "edges",
        "abc",
    )
    assert view.created_ns == AT_NS
