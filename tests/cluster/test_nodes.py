"""Nodes of the process kubelet: what can happen to one, and what becomes of its pods."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes_asyncio import client
from tests.cluster import pods
from tests.cluster.kubelet.kubelet import Kubelet
from tests.cluster.pods import Pods


async def until(made: Pods, name: str, holds: Callable[[client.V1Node], object]) -> client.V1Node:
    """Return a node once something holds of it."""
    async with asyncio.timeout(60):
        while True:
            node: client.V1Node = await made.core.read_node(name)
            if holds(node):
                return node
            await asyncio.sleep(0.05)


def condition(node: client.V1Node) -> str:
    """Return what its Ready condition says."""
    return next(str(one.status) for one in node.status.conditions if one.type == "Ready")


async def test_pods_are_spread_over_many_nodes(made: Pods, kubelet: Kubelet) -> None:
    nodes = await kubelet.add_nodes(f"spread{number}" for number in range(5))
    pause = pods.container("c", image="pause")
    await made.create(*(pods.pod(f"p{number}", pause) for number in range(10)))
    placed = {(await made.until(f"p{number}", pods.running)).spec.node_name for number in range(10)}
    assert placed == {node.name for node in nodes}


async def test_a_node_that_is_not_ready_keeps_its_processes_and_gets_no_more(
    made: Pods, kubelet: Kubelet
) -> None:
    node = await kubelet.add_node("n1")
    await made.create(pods.pod("first", pods.container("c", "sleep 1000")))
    await made.until("first", pods.running)
    pid = kubelet.pid(made.namespace, "first", "c")
    await node.not_ready()
    await until(made, "n1", lambda n: condition(n) == "False" and n.spec.taints)
    await made.create(pods.pod("second", pods.container("c", "sleep 1000")))
    await made.until("second", unschedulable)
    assert kubelet.pid(made.namespace, "first", "c") == pid
    await node.ready()
    await made.until("second", pods.running)


async def test_a_cordoned_node_gets_no_more_pods(made: Pods, kubelet: Kubelet) -> None:
    node = await kubelet.add_node("n1")
    await node.cordon()
    # The controllers have heard of it then, and the scheduler, by the same watch, as well.
    await until(made, "n1", lambda n: n.spec.taints)
    await made.create(pods.pod("p", pods.container("c", image="pause")))
    await made.until("p", unschedulable)
    await node.uncordon()
    await made.until("p", pods.running)


async def test_a_tainted_node_gets_pods_that_tolerate_it(made: Pods, kubelet: Kubelet) -> None:
    gpu = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
    node = await kubelet.add_node("n1", taints=[gpu])
    tolerating: Any = {"tolerations": [{"key": "gpu", "operator": "Exists"}]}
    pause = pods.container("c", image="pause")
    await made.create(pods.pod("plain", pause), pods.pod("tolerating", pause, **tolerating))
    await made.until("tolerating", pods.running)
    await made.until("plain", unschedulable)
    await node.taint()
    await made.until("plain", pods.running)


async def test_a_full_node_gets_no_more_pods(made: Pods, kubelet: Kubelet) -> None:
    await kubelet.add_node("n1", capacity={"cpu": "1", "memory": "1Gi", "pods": "110"})
    half: Any = {"resources": {"requests": {"cpu": "600m"}}}
    pause = pods.container("c", image="pause", **half)
    await made.create(pods.pod("first", pause))
    await made.until("first", pods.running)
    await made.create(pods.pod("second", pause))
    await made.until("second", unschedulable)
    await made.delete("first")
    await made.until("second", pods.running)


async def test_a_killed_node_says_nothing_more_and_is_declared_lost(
    made: Pods, kubelet: Kubelet
) -> None:
    """1. The node's power goes. 2. Its processes are dead, the API still shows them as running. 3. The
    controllers miss its heartbeat, and say of the node that it is unknown, of its pods that they are
    not ready. 4. Nobody finalises them: deleted, they stay.
    """
    await kubelet.add_node("n1")
    await made.create(pods.pod("p", pods.container("c", "sleep 1000"), grace_s=1))
    await made.until("p", pods.running)
    pid = kubelet.pid(made.namespace, "p", "c")
    await kubelet.kill_node("n1")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    before = await made.read("p")
    assert before is not None
    assert pods.running(before)
    await until(made, "n1", lambda n: condition(n) == "Unknown")
    await made.until("p", lambda p: _ready(p) == "False")
    await made.delete("p")
    lost = await made.until("p", lambda p: p.metadata.deletion_timestamp)
    assert lost.status.phase == "Running"
    await made.core.delete_node("n1")


async def test_a_removed_node_takes_its_processes_along(made: Pods, kubelet: Kubelet) -> None:
    await kubelet.add_node("n1")
    await made.create(pods.pod("p", pods.container("c", "sleep 1000")))
    await made.until("p", pods.running)
    pid = kubelet.pid(made.namespace, "p", "c")
    await kubelet.remove_node("n1")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert "n1" not in {node.metadata.name for node in (await made.core.list_node()).items}


def unschedulable(one: client.V1Pod) -> bool:
    """Say whether the scheduler has found no node for a pod."""
    return any(c.reason == "Unschedulable" for c in one.status.conditions or [])


def _ready(one: client.V1Pod) -> str:
    return next(str(c.status) for c in one.status.conditions if c.type == "Ready")
