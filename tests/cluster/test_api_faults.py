"""The way full of faults, and a crash of the API server: what a client of theirs sees."""

import asyncio
import os
import signal
from typing import Any

import aiohttp
import pytest
from kubernetes_asyncio import client
from kubernetes_asyncio.watch import Watch
from tests.cluster import faults, pods
from tests.cluster.faults import FaultProxy
from tests.cluster.kubelet import kubelet as kubelets
from tests.cluster.kubelet.kubelet import Kubelet
from tests.cluster.plane.control_plane import ControlPlane
from tests.cluster.pods import Pods

NODES = r"^/api/v1/nodes$"


@pytest.fixture
def core(through_proxy: client.ApiClient) -> Any:
    """A client whose requests go through the proxy; it takes dictionaries, too."""
    return client.CoreV1Api(through_proxy)


async def test_the_proxy_hands_over_what_no_rule_is_for(
    core: Any, proxy: FaultProxy, namespace: str
) -> None:
    await core.create_namespaced_config_map(namespace, {"metadata": {"name": "m"}})
    patched = await core.patch_namespaced_config_map("m", namespace, {"data": {"a": "1"}})
    assert patched.data == {"a": "1"}
    found = await core.list_namespaced_config_map(namespace, label_selector="none=such")
    assert found.items == []
    await core.delete_namespaced_config_map("m", namespace)
    assert {method for method, _ in proxy.requests} == {"POST", "PATCH", "GET", "DELETE"}


@pytest.mark.parametrize("status", [410, 429, 500, 503])
async def test_a_refusal_comes_as_often_as_it_was_asked_for(
    core: Any, proxy: FaultProxy, status: int
) -> None:
    proxy.add(faults.refuse(status, NODES, times=2, retry_after_s=7 if status == 429 else None))
    for _ in range(2):
        with pytest.raises(client.ApiException) as refused:
            await core.list_node()
        assert refused.value.status == status
        assert refused.value.headers is not None
        assert refused.value.headers.get("Retry-After") == ("7" if status == 429 else None)
    await core.list_node()


async def test_a_rule_for_writes_leaves_reads_alone(
    core: Any, proxy: FaultProxy, namespace: str
) -> None:
    proxy.add(faults.refuse(429, "/configmaps$", method="POST"))
    assert (await core.list_namespaced_config_map(namespace)).items is not None
    with pytest.raises(client.ApiException):
        await core.create_namespaced_config_map(namespace, {"metadata": {"name": "m"}})


async def test_a_slow_list_answers_when_it_is_let_go(core: Any, proxy: FaultProxy) -> None:
    rule = proxy.add(faults.hold(NODES))
    assert rule.held is not None
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        slow = tasks.create_task(core.list_node(), name="slow")
        await rule.met.wait()
        await core.list_node()  # another one is not held
        assert not slow.done()
        rule.held.set()


async def test_a_watch_is_cut_after_so_many_events(
    core: Any, proxy: FaultProxy, kubelet: Kubelet
) -> None:
    await kubelet.add_nodes(["a", "b", "c"])
    proxy.add(faults.cut(NODES, events=2))
    seen: list[str] = []
    async with asyncio.timeout(10):
        with pytest.raises(aiohttp.ClientPayloadError):
            await watch_nodes(core, "0", seen)
    assert seen == ["ADDED", "ADDED"]


async def test_a_watch_is_told_that_its_version_is_too_old(core: Any, proxy: FaultProxy) -> None:
    version = (await core.list_node()).metadata.resource_version
    proxy.add(faults.expire(NODES, times=2))  # the client asks again once by itself
    async with asyncio.timeout(10):
        with pytest.raises(client.ApiException) as expired:
            await watch_nodes(core, version, [])
    assert expired.value.status == 410


async def test_all_watches_that_are_open_can_be_cut(
    core: Any, proxy: FaultProxy, kubelet: Kubelet
) -> None:
    await kubelet.add_node("a")
    seen: list[str] = []
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(cut_off(core, seen), name="watch")
        while not seen:
            await asyncio.sleep(0.01)
        assert not watching.done()
        assert proxy.cut_watches() == 1


async def cut_off(core: Any, seen: list[str]) -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        await watch_nodes(core, "0", seen)


async def watch_nodes(core: Any, version: str, seen: list[str]) -> None:
    """Watch until there is an error, and note what was seen."""
    async with Watch().stream(core.list_node, resource_version=version) as stream:
        async for event in stream:
            seen.append(event["type"])  # noqa: PERF401 - what was seen before the error counts


async def test_a_kubelet_behind_cut_watches_and_refusals_still_runs_its_pods(
    through_proxy: client.ApiClient, proxy: FaultProxy, made: Pods
) -> None:
    """Its own watch is cut, lists and status writes are refused; the pod runs, and goes."""
    async with kubelets.running(through_proxy, pace=0.02) as kubelet:
        await kubelet.add_node("n1")
        proxy.add(faults.cut("/pods$", times=3))
        proxy.add(faults.refuse(500, "/pods$", times=2))
        refused = proxy.add(
            faults.refuse(429, "/status$", method="PATCH", times=2, retry_after_s=1)
        )
        await made.create(pods.pod("p", pods.container("c", "sleep 1000"), grace_s=1))
        proxy.cut_watches()
        await made.until("p", pods.running)
        assert refused.met.is_set()
        await made.delete("p")
        await made.until_gone("p")


async def test_pods_outlive_a_crash_of_the_api_server(
    own_plane: ControlPlane, made: Pods, kubelet: Kubelet
) -> None:
    """1. A pod runs. 2. The API server is killed; the pod's container ends, and is started again.
    3. The server comes back on the same data, and hears of it. 4. Pods come and go as before.
    """
    await kubelet.add_node("n1")
    await made.create(pods.pod("p", pods.container("c", "sleep 1000"), grace_s=1))
    await made.until("p", pods.running)
    pid = kubelet.pid(made.namespace, "p", "c")
    own_plane.kill_api_server()
    with pytest.raises(aiohttp.ClientError):
        await made.read("p")
    assert kubelet.pid(made.namespace, "p", "c") == pid
    os.kill(pid, signal.SIGKILL)
    await own_plane.restart_api_server()
    await made.until("p", lambda p: pods.running(p) and pods.status(p, "c").restart_count == 1)
    await made.create(pods.pod("q", pods.container("c", "sleep 1000"), grace_s=1))
    await made.until("q", pods.running)
    await made.delete("p")
    await made.until_gone("p")
