"""Pods on the process kubelet: how they end; by deletion, from outside, for want of memory."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from kubernetes_asyncio import client
from tests.cluster import pods
from tests.cluster.kubelet.kubelet import Kubelet
from tests.cluster.kubelet.node import Node
from tests.cluster.pods import Pods


@pytest.fixture(autouse=True)
async def node(kubelet: Kubelet) -> Node:
    """The one node that there is."""
    return await kubelet.add_node("n1")


async def test_a_deleted_pod_hears_sigterm_and_has_its_grace(made: Pods, tmp_path: Path) -> None:
    """It is there, and running, until it has ended by itself."""
    tmp_path.chmod(0o777)
    script = """
    trap 'echo told > /out/told; until test -e /out/go; do sleep 0.01; done; echo bye > /out/bye; exit 0' TERM
    touch /out/ready
    while :; do sleep 0.01; done
    """
    mounts = [{"name": "out", "mountPath": "/out"}]
    volume = {"name": "out", "hostPath": {"path": str(tmp_path)}}
    await made.create(
        pods.pod(
            "polite", pods.container("c", script, volumeMounts=mounts), volumes=[volume], grace_s=20
        )
    )
    async with asyncio.timeout(20):
        while not (tmp_path / "ready").exists():
            await asyncio.sleep(0.02)
        await made.delete("polite")
        while not (tmp_path / "told").exists():
            await asyncio.sleep(0.02)
    leaving = await made.read("polite")
    assert leaving is not None
    assert leaving.metadata.deletion_timestamp is not None
    assert pods.running(leaving)
    (tmp_path / "go").touch()
    await made.until_gone("polite")
    assert (tmp_path / "bye").exists()


async def test_a_pod_that_does_not_listen_is_killed_after_its_grace(made: Pods) -> None:
    await made.create(
        pods.pod(
            "deaf", pods.container("c", "trap '' TERM; while :; do sleep 0.1; done"), grace_s=1
        )
    )
    await made.until("deaf", pods.running)
    await made.delete("deaf")
    await made.until_gone("deaf")


async def test_a_second_deletion_may_shorten_the_grace(made: Pods) -> None:
    deaf = pods.container("c", "trap '' TERM; while :; do sleep 0.1; done")
    await made.create(pods.pod("hurried", deaf, grace_s=600))
    await made.until("hurried", pods.running)
    await made.delete("hurried")
    await made.until("hurried", lambda p: p.metadata.deletion_timestamp)
    await made.delete("hurried", grace_s=1)
    await made.until_gone("hurried")


async def test_an_evicted_pod_stays_as_failed_until_it_is_deleted(
    made: Pods, kubelet: Kubelet
) -> None:
    await made.create(pods.pod("evicted", pods.container("c", "sleep 1000"), grace_s=1))
    await made.until("evicted", pods.running)
    pid = kubelet.pid(made.namespace, "evicted", "c")
    kubelet.evict(made.namespace, "evicted")
    found = await made.until("evicted", lambda p: p.status.phase == "Failed")
    assert found.status.reason == "Evicted"
    assert not _lives(pid)
    await made.delete("evicted")
    await made.until_gone("evicted")


async def test_a_forced_deletion_kills_at_once(made: Pods, kubelet: Kubelet) -> None:
    await made.create(
        pods.pod("forced", pods.container("c", "trap '' TERM; sleep 1000"), grace_s=60)
    )
    await made.until("forced", pods.running)
    pid = kubelet.pid(made.namespace, "forced", "c")
    await made.delete("forced", grace_s=0)
    async with asyncio.timeout(10):
        while _lives(pid):
            await asyncio.sleep(0.02)


async def test_the_death_of_process_1_is_the_death_of_all_and_of_nobody_else(
    made: Pods, kubelet: Kubelet
) -> None:
    """The user's container is killed from outside; the agent's never notices."""
    script = "setsid sleep 4711 & sleep 1000"
    await made.create(
        pods.pod("pair", pods.container("agent", "sleep 1000"), pods.container("user", script))
    )
    await made.until("pair", pods.running)
    agent = kubelet.pid(made.namespace, "pair", "agent")
    os.kill(kubelet.pid(made.namespace, "pair", "user"), signal.SIGKILL)
    found = await made.until("pair", lambda p: pods.status(p, "user").restart_count == 1)
    last = pods.status(found, "user").last_state.terminated
    assert (last.exit_code, last.reason) == (137, "Error")
    assert pods.status(found, "agent").restart_count == 0
    assert kubelet.pid(made.namespace, "pair", "agent") == agent


COUNTER = "/sys/fs/cgroup/memory/memory.oom_control"
HUNGRY = f"tail /dev/zero; echo code $?; grep 'oom_kill ' {COUNTER}; sleep 1000"
LIMITED: Any = {"resources": {"limits": {"memory": "64Mi"}}}


@pytest.fixture(params=[False, True], ids=["kernel", "looking"])
def by_looking(request: pytest.FixtureRequest, kubelet: Kubelet) -> bool:
    """Who limits memory; the kernel, where it does, and then we, as where it does not."""
    kubelet.terms.by_looking = bool(request.param)
    return kubelet.terms.by_looking


@pytest.mark.usefixtures("by_looking")
async def test_a_child_that_takes_too_much_dies_alone(made: Pods, kubelet: Kubelet) -> None:
    """Nothing in the pod's status says so, as on nodes that kill single processes; its group does."""
    await made.create(pods.pod("child", pods.container("user", HUNGRY, **LIMITED)))
    found = await made.until("child", pods.running)
    await pods.said(kubelet, (made.namespace, "child", "user"), "code 137\noom_kill 1\n")
    found = await made.until("child", pods.running)
    assert pods.status(found, "user").restart_count == 0
    assert pods.status(found, "user").last_state.terminated is None


@pytest.mark.usefixtures("by_looking")
async def test_a_container_that_takes_too_much_goes_as_a_whole_where_the_node_wants_it(
    made: Pods, kubelet: Kubelet
) -> None:
    kubelet.terms.whole_ooms = True
    await made.create(
        pods.pod(
            "whole",
            pods.container("agent", "sleep 1000"),
            pods.container("user", HUNGRY, **LIMITED),
        )
    )
    found = await made.until("whole", waits_after_oom)
    last = pods.status(found, "user").last_state.terminated
    assert (last.exit_code, last.reason) == (137, "OOMKilled")
    assert pods.status(found, "agent").restart_count == 0


def waits_after_oom(one: client.V1Pod) -> bool:
    return pods.waits_for(one, "user") == "CrashLoopBackOff"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
