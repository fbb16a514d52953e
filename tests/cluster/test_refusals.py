"""What a real API server refuses, and what becomes of pods that it takes: named with the remedy, and told by Events."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes_asyncio import client, config
from tests.cluster import scaling
from tests.cluster.kubelet import images
from tests.cluster.kubelet.kubelet import Kubelet

from trunkline.runtime.clock import SystemClock
from trunkline.scaler.kubernetes import cluster as kubernetes
from trunkline.scaler.kubernetes import informer, pods, reading
from trunkline.scaler.kubernetes.api import Api
from trunkline.scaler.kubernetes.cache import Cache
from trunkline.scaler.kubernetes.cluster import KubernetesCluster
from trunkline.scaler.kubernetes.informer import Informer
from trunkline.scaler.kubernetes.reading import Object
from trunkline.scaler.ports import ClusterUnavailableError, WorkerRefusedError


@pytest.fixture
async def cluster(connection: client.ApiClient, namespace: str) -> AsyncIterator[KubernetesCluster]:
    """The cluster; all there is has been listed."""
    async with kubernetes.connect(connection, scaling.settings(namespace)) as made:
        async with asyncio.timeout(20):
            await made.listed()
        yield made


async def refused(cluster: KubernetesCluster, **fields: Any) -> str:
    """Return why a worker cannot be created."""
    with pytest.raises(WorkerRefusedError) as error:
        await cluster.create(scaling.worker(**fields))
    return error.value.reason


async def events(core: Any, namespace: str, holds: Callable[[list[Any]], object]) -> list[Any]:
    """Return the Events that the scaler has written, once something holds of them."""
    async with asyncio.timeout(30):
        while True:
            found = (await core.list_namespaced_event(namespace)).items
            ours = [each for each in found if each.source.component == "trunkline-scaler"]
            if holds(ours):
                return ours
            await asyncio.sleep(0.05)


async def test_a_limit_range_is_named_by_what_it_allows(
    cluster: KubernetesCluster, connection: client.ApiClient, namespace: str
) -> None:
    core: Any = client.CoreV1Api(connection)
    most = {"limits": [{"type": "Container", "max": {"memory": "1Gi"}}]}
    await core.create_namespaced_limit_range(
        namespace, {"metadata": {"name": "small"}, "spec": most}
    )
    large = scaling.worker(resource_limits={"memory": "2Gi"})
    said = ""
    async with asyncio.timeout(20):
        while not said:  # the admission's own watch is a moment late
            try:
                await cluster.create(large)
            except WorkerRefusedError as error:
                said = error.reason
            else:
                await cluster.delete(large.name)
                await asyncio.sleep(0.1)
    assert "maximum memory usage per Container is 1Gi" in said


async def test_what_admission_refuses_is_told_in_its_own_words(cluster: KubernetesCluster) -> None:
    said = await refused(cluster, scheduling_spec={"priority_class_name": "nope"})
    assert "no PriorityClass with name nope was found" in said


async def test_a_refusal_is_an_event_on_the_pipelines_config_map_and_not_one_at_each_try(
    cluster: KubernetesCluster, connection: client.ApiClient, namespace: str
) -> None:
    core: Any = client.CoreV1Api(connection)
    said = ""
    for _ in range(3):
        said = await refused(cluster, scheduling_spec={"priority_class_name": "nope"})
    await events(core, namespace, lambda found: found)
    for _ in range(3):
        await refused(cluster, scheduling_spec={"priority_class_name": "nope"})
    await cluster.create(scaling.worker(1))
    both = await events(core, namespace, lambda found: len(found) > 1)
    by_reason = {each.reason: each for each in both}
    assert len(both) == 2
    failed, made = by_reason["FailedCreate"], by_reason["SuccessfulCreate"]
    assert (failed.type, failed.message, failed.count) == ("Warning", said, 3)
    assert (made.type, made.count) == ("Normal", 1)
    owner = await core.read_namespaced_config_map("trunkline-edges", namespace)
    for each in both:
        about = each.involved_object
        assert (about.kind, about.name, about.uid) == (
            "ConfigMap",
            "trunkline-edges",
            owner.metadata.uid,
        )


async def test_a_right_that_is_missing_is_named_with_what_gives_it(
    as_account: Callable[[str], Awaitable[Path]], namespace: str
) -> None:
    """An account without any: neither can nodes be seen, nor pods be made."""
    path = await as_account("default")
    async with (
        await config.new_client_from_config(str(path)) as nobody,
        kubernetes.connect(nobody, scaling.settings(namespace)) as cluster,
    ):
        async with asyncio.timeout(20):
            while True:
                with pytest.raises(ClusterUnavailableError) as away:
                    await cluster.look()
                if "needs a" in str(away.value):
                    break
                await asyncio.sleep(0.02)
        assert 'cannot list resource "nodes"' in str(away.value)
        assert "ClusterRole with get, list and watch on nodes" in str(away.value)
        said = await refused(cluster)
        assert 'cannot get resource "configmaps"' in said
        assert "needs a Role for it" in said


async def test_an_image_that_is_not_there_is_named_and_then_what_is_missing_next(
    cluster: KubernetesCluster, kubelet: Kubelet
) -> None:
    """Here nobody has made the Secret that workers log in with."""
    await kubelet.add_node("n1")
    await cluster.create(scaling.worker())
    view = await scaling.until(cluster, lambda v: "ImagePullBackOff" in v.workers[0].problem)
    (worker,) = view.workers
    assert "trunkline/worker-agent:1" in worker.problem
    assert (worker.running, worker.must_go) == (False, "")  # the kubelet tries on by itself
    kubelet.images["trunkline/worker-agent:1"] = images.PAUSE
    missing = 'CreateContainerConfigError: secret "trunkline-edges-worker-creds" not found'
    await scaling.until(cluster, lambda v: v.workers[0].problem == missing)


async def test_a_pod_says_by_what_it_was_made_and_a_spec_what_it_would_be_made_by(
    cluster: KubernetesCluster,
) -> None:
    """Resources and placement count, parallelism does not, nor which of its workers it is."""
    one = scaling.worker(0)
    await cluster.create(one)
    (made,) = (await cluster.look()).workers
    assert made.made_by == cluster.makes(one.spec)
    for same in (scaling.worker(7), scaling.worker(parallelism_spec={"constant": 9})):
        assert cluster.makes(same.spec) == made.made_by
    for other in (
        scaling.worker(resource_limits={"memory": "1Gi"}),
        scaling.worker(scheduling_spec={"node_selector": {"disk": "ssd"}}),
    ):
        assert cluster.makes(other.spec) != made.made_by


async def test_a_version_from_the_future_is_mended_by_the_next_list(
    connection: client.ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restored etcd: the server takes it, and would stay silent for ever."""
    monkeypatch.setattr(informer, "RELIST_S", 1.0)
    api = Api(connection, namespace, pods.SELECTOR)
    known: Cache[reading.PodView] = Cache(reading.pod, lambda *_: None)
    versions: list[str] = []

    async def future(after: str = "") -> Object:
        answer = await api.list_pods(after)
        version = str(int(answer["metadata"]["resourceVersion"]) + 1_000_000)
        return {**answer, "metadata": {"resourceVersion": version}}

    async def watch(version: str, limit_s: int, told: Callable[[Object], None]) -> None:
        versions.append(version)
        await api.watch_pods(version, limit_s, told)

    tick = itertools.count(1).__next__
    follower = Informer(
        "pods", known, future, watch, clock=SystemClock(), tick=tick, woken=lambda: None
    )
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        following = tasks.create_task(follower.run(), name="follow")
        await follower.listed.wait()
        async with kubernetes.connect(connection, scaling.settings(namespace)) as other:
            await other.create(scaling.worker())
        while not len(known):
            await asyncio.sleep(0.02)
        following.cancel()
    assert len(versions) >= 1
