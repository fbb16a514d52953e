"""The scaler's cluster on a real API server, on which all kinds of things go wrong.

Pods need no agent here: what is asked is which of them are there, and what is said of nodes.
"""

import asyncio
import collections
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kubernetes_asyncio import client
from tests.cluster import faults, scaling
from tests.cluster.faults import FaultProxy
from tests.cluster.kubelet.kubelet import Kubelet
from tests.cluster.plane.control_plane import ControlPlane
from tests.support import worker_pods
from tests.support.wards import WARDS

from trunkline.contracts import errors
from trunkline.runtime.clock import SystemClock
from trunkline.scaler.core.eligibility import judge
from trunkline.scaler.kubernetes import cluster as kubernetes
from trunkline.scaler.kubernetes import pods
from trunkline.scaler.kubernetes.api import Api
from trunkline.scaler.kubernetes.cluster import KubernetesCluster
from trunkline.scaler.kubernetes.object_names import credentials_name
from trunkline.scaler.kubernetes.owners import Owners
from trunkline.scaler.kubernetes.shelf import SecretShelf
from trunkline.scaler.ports import (
    ANYWHERE,
    ClusterUnavailableError,
    Credentials,
    Held,
    WorkerRefusedError,
)

PODS = "/pods$"


@pytest.fixture
async def cluster(
    through_proxy: client.ApiClient, namespace: str
) -> AsyncIterator[KubernetesCluster]:
    """The cluster, by way of the proxy; all there is has been listed."""
    async with kubernetes.connect(through_proxy, scaling.settings(namespace)) as made:
        await listed(made)
        yield made


async def listed(cluster: KubernetesCluster) -> None:
    async with asyncio.timeout(20):
        while any(each.problem for each in cluster._informers):
            await asyncio.sleep(0.01)


async def until_met(rule: faults.Rule, proxy: FaultProxy) -> None:
    """Cut watches until a request has met the rule: one that is only being opened is not cut yet."""
    async with asyncio.timeout(20):
        while not rule.met.is_set():
            proxy.cut_watches()
            await asyncio.sleep(0.02)


async def test_a_worker_that_was_created_counts_though_the_watch_is_late(
    cluster: KubernetesCluster, proxy: FaultProxy, connection: client.ApiClient, namespace: str
) -> None:
    proxy.flowing.clear()
    await cluster.create(scaling.worker())
    assert [each.name for each in (await cluster.look()).workers] == ["edges-12345678-0"]
    with pytest.raises(errors.AlreadyExistsError):
        await cluster.create(scaling.worker())
    (pod,) = await scaling.pods_of(connection, namespace)
    assert pod.metadata.owner_references[0].name == "trunkline-edges"
    proxy.flowing.set()


async def test_one_that_starts_again_between_creation_and_record_makes_no_pod_twice(
    cluster: KubernetesCluster,
    through_proxy: client.ApiClient,
    connection: client.ApiClient,
    namespace: str,
) -> None:
    """1. A scaler dies after its request was done. 2. Its successor plans the same name, and is refused."""
    await cluster.create(scaling.worker())
    async with kubernetes.connect(through_proxy, scaling.settings(namespace)) as successor:
        with pytest.raises(errors.AlreadyExistsError):
            await successor.create(scaling.worker())
        await listed(successor)
        assert len((await successor.look()).workers) == 1
    assert len(await scaling.pods_of(connection, namespace)) == 1


async def test_what_is_missed_in_a_cut_watch_or_an_expired_one_is_listed(
    cluster: KubernetesCluster, proxy: FaultProxy, connection: client.ApiClient, namespace: str
) -> None:
    for number, rule in enumerate((faults.cut(PODS), faults.expire(PODS))):
        proxy.add(rule)
        proxy.add(faults.refuse(500, PODS))
        proxy.cut_watches()
        await cluster.create(scaling.worker(number))
        await until_met(rule, proxy)
    core: Any = client.CoreV1Api(connection)
    await core.delete_namespaced_pod("edges-12345678-0", namespace)
    await listed(cluster)
    view = await scaling.until(cluster, lambda v: len(v.workers) == 1)
    assert view.workers[0].name == "edges-12345678-1"


async def test_a_list_that_was_begun_before_a_creation_does_not_hide_it(
    cluster: KubernetesCluster, proxy: FaultProxy
) -> None:
    slow = proxy.add(faults.hold(PODS))
    assert slow.held is not None
    await until_met(slow, proxy)
    await cluster.create(scaling.worker())
    slow.held.set()
    await listed(cluster)
    await asyncio.sleep(0)
    assert len((await cluster.look()).workers) == 1


async def test_a_server_that_wants_less_is_obeyed_and_nothing_is_made_twice(
    cluster: KubernetesCluster, proxy: FaultProxy, connection: client.ApiClient, namespace: str
) -> None:
    proxy.add(faults.refuse(429, PODS, method="POST", retry_after_s=1))
    with pytest.raises(ClusterUnavailableError):
        await cluster.create(scaling.worker())
    await cluster.create(scaling.worker())
    assert len(await scaling.pods_of(connection, namespace)) == 1


async def test_a_quota_is_named(
    cluster: KubernetesCluster, connection: client.ApiClient, namespace: str
) -> None:
    core: Any = client.CoreV1Api(connection)
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "0"}}}
    await core.create_namespaced_resource_quota(namespace, quota)
    async with asyncio.timeout(20):
        while not (await core.read_namespaced_resource_quota("few", namespace)).status.hard:
            await asyncio.sleep(0.02)
    with pytest.raises(WorkerRefusedError, match="exceeded quota: few"):
        await cluster.create(scaling.worker())


async def test_nodes_count_while_they_are_ready_open_and_tolerable(
    cluster: KubernetesCluster, kubelet: Kubelet
) -> None:
    one = await kubelet.add_node("one")
    two = await kubelet.add_node("two", labels={"disk": "ssd"})
    await scaling.until(cluster, lambda v: sum(each.eligible for each in v.nodes) == 2)
    await one.cordon()
    view = await scaling.until(cluster, lambda v: v.nodes[0].cordoned)
    assert view.nodes[0].why_not == "cordoned"
    await one.uncordon()
    await two.taint({"key": "gpu", "value": "yes", "effect": "NoSchedule"})
    view = await scaling.until(cluster, lambda v: v.nodes[1].taints and v.nodes[0].eligible)
    assert judge(view.nodes[1], ANYWHERE).why_not == "taint gpu=yes:NoSchedule"
    tolerating = worker_pods.worker(
        tolerations=[{"key": "gpu", "operator": "Exists"}],
        scheduling_spec={"node_selector": {"disk": "ssd"}},
    )
    where = cluster.placement(tolerating.spec)
    assert [judge(each, where).eligible for each in view.nodes] == [False, True]
    await two.not_ready()
    await scaling.until(cluster, lambda v: v.nodes[1].why_not == "not ready")
    await kubelet.remove_node("two")
    await scaling.until(cluster, lambda v: [each.name for each in v.nodes] == ["one"])


async def test_workers_of_a_node_that_goes_away_are_lost_at_once_and_deleted_without_grace(
    cluster: KubernetesCluster, kubelet: Kubelet, connection: client.ApiClient, namespace: str
) -> None:
    nodes = {node.name: node for node in await kubelet.add_nodes(["one", "two"])}
    await cluster.create(scaling.worker())
    view = await scaling.until(cluster, lambda v: v.workers and v.workers[0].node)
    await nodes[view.workers[0].node].not_ready()
    view = await scaling.until(cluster, lambda v: v.workers[0].lost)
    assert view.workers[0].lost.endswith("is not ready")
    await cluster.delete("edges-12345678-0")
    assert (await cluster.look()).workers == ()
    assert await scaling.pods_of(connection, namespace) == []


class Ahead(SystemClock):
    """A clock that a test may put forward."""

    by_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.by_s


async def test_nodes_of_which_a_server_has_not_heard_while_it_was_away_are_not_lost_at_once(
    through_proxy: client.ApiClient, proxy: FaultProxy, kubelet: Kubelet, namespace: str
) -> None:
    """1. The server is away. 2. It is back, and calls the first of two nodes lost. 3. It does so for long."""
    clock = Ahead()
    nodes = {node.name: node for node in await kubelet.add_nodes(["one", "two"])}
    async with kubernetes.connect(through_proxy, scaling.settings(namespace), clock) as cluster:
        await listed(cluster)
        await cluster.create(scaling.worker())
        view = await scaling.until(cluster, lambda v: v.workers[0].node)
        away = proxy.add(faults.refuse(500, "/nodes$", times=4))
        proxy.cut_watches()
        async with asyncio.timeout(20):
            while away.times:
                await asyncio.sleep(0.02)
        silent = view.workers[0].node
        await nodes[silent].unheard()
        async with asyncio.timeout(20):
            while not any(each.unheard for each in cluster._nodes):
                await asyncio.sleep(0.02)
        await listed(cluster)
        view = await cluster.look()
        assert [each.eligible for each in view.nodes] == [True, True]
        assert view.workers[0].lost == ""
        clock.by_s = kubernetes._HEARD_AGAIN_S
        view = await cluster.look()
        assert [each.name for each in view.nodes if each.eligible] == list(
            {"one", "two"} - {silent}
        )
        assert view.workers[0].lost == f"its node {silent} is not ready"


async def test_a_pod_that_cannot_be_placed_says_so(cluster: KubernetesCluster) -> None:
    await cluster.create(scaling.worker(scheduling_spec={"node_selector": {"no": "such"}}))
    view = await scaling.until(cluster, lambda v: v.workers[0].problem)
    assert view.workers[0].problem.startswith("Unschedulable: ")
    await cluster.delete("edges-12345678-0")
    assert (await cluster.look()).workers == ()


async def test_nothing_is_asked_for_while_nothing_happens(
    cluster: KubernetesCluster, proxy: FaultProxy
) -> None:
    await cluster.create(scaling.worker())
    await scaling.until(cluster, lambda v: v.workers[0].problem)
    async with asyncio.timeout(20):  # its Event is written last
        while not any(path.endswith("/events") for _, path in proxy.requests):
            await asyncio.sleep(0.02)
    before = collections.Counter(proxy.requests)
    for _ in range(100):
        await cluster.look()
        await asyncio.sleep(0)
    assert {method for method, _ in proxy.requests - before} <= {"WATCH"}


async def test_a_crash_of_the_api_server_loses_and_doubles_nothing(
    own_plane: ControlPlane,
    kubeconfig: object,
    connection: client.ApiClient,
    namespace: str,
) -> None:
    del kubeconfig
    async with kubernetes.connect(connection, scaling.settings(namespace)) as cluster:
        await listed(cluster)
        await cluster.create(scaling.worker(0))
        own_plane.kill_api_server()
        with pytest.raises(ClusterUnavailableError):
            await cluster.create(scaling.worker(1))
        await own_plane.restart_api_server()
        await cluster.create(scaling.worker(1))
        await listed(cluster)
        await scaling.until(cluster, lambda v: len(v.workers) == 2)
    assert len(await scaling.pods_of(connection, namespace)) == 2


async def test_credentials_are_kept_in_a_secret_that_says_when_they_are_due(
    connection: client.ApiClient, namespace: str
) -> None:
    api, clock = Api(connection, namespace, pods.SELECTOR), SystemClock()
    shelf = SecretShelf(api, Owners(api, clock), WARDS)
    assert await shelf.held() == {}
    for issued_at in (1.0, 2.0):
        held = Held(issued_at=issued_at, expires_at=30.0, issuer="me")
        await shelf.put("edges", Credentials(text="a secret", held=held))
        assert await shelf.held() == {"edges": held}
    core: Any = client.CoreV1Api(connection)
    (secret,) = (
        await core.list_namespaced_secret(
            namespace, label_selector="app.kubernetes.io/managed-by=trunkline-scaler"
        )
    ).items
    assert secret.metadata.owner_references[0].name == "trunkline-edges"
    await shelf.remove("edges")
    assert await shelf.held() == {}  # at once; its end takes the cluster's collector a while


async def test_what_secrets_say_of_themselves_is_not_believed(
    connection: client.ApiClient, namespace: str
) -> None:
    """No name that is none is taken for a pipeline's, and what has no sensible time is made anew."""
    api = Api(connection, namespace, pods.SELECTOR)
    says = {
        "odd": {pods.PIPELINE: "edges.>"},
        "empty": {},
        "strange": {pods.PIPELINE: "edges"},  # that pipeline's has another name
        credentials_name("never"): {pods.PIPELINE: "never", f"{pods.PREFIX}/issued-at": "nan"},
        credentials_name("late"): {pods.PIPELINE: "late", f"{pods.PREFIX}/expires-at": "tomorrow"},
    }
    for name, annotations in says.items():
        metadata = {"name": name, "labels": pods.MANAGED_BY, "annotations": annotations}
        await api.create_secret({"metadata": metadata})
    held = await SecretShelf(api, Owners(api, SystemClock()), WARDS).held()
    assert held == {name: Held(issued_at=0) for name in ("never", "late")}


async def test_a_pod_with_our_labels_that_names_no_worker_is_nobodys(
    connection: client.ApiClient, namespace: str
) -> None:
    """Whoever may create pods could end the scaler by one, if it took their names for subjects."""
    core: Any = client.CoreV1Api(connection)
    ours = dict(each.split("=") for each in pods.SELECTOR.split(","))
    for name, says in {
        "none": {},
        "odd": {pods.PIPELINE: "edges.>", pods.WORKER: "w"},
        "odder": {pods.PIPELINE: "edges", pods.WORKER: "w.*"},
        "fine": {pods.PIPELINE: "edges", pods.WORKER: "w"},
    }.items():
        metadata = {"name": name, "labels": ours, "annotations": says}
        body = {"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "pause"}]}}
        await core.create_namespaced_pod(namespace, body)
    async with kubernetes.connect(connection, scaling.settings(namespace)) as made:
        await made.listed()
        assert [each.name for each in (await made.look()).workers] == ["w"]
        assert made.pipelines() == {"edges"}
    assert len(await scaling.pods_of(connection, namespace)) == 4
