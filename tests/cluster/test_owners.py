"""What owns a pipeline's objects on a real API server: deleted late, by hand, or never given what belongs to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from kubernetes_asyncio import client
from tests.cluster import faults, scaling
from tests.cluster.faults import FaultProxy
from tests.support.wards import WARDS

from trunkline.runtime.clock import SystemClock
from trunkline.scaler.credentials import Keeper
from trunkline.scaler.kubernetes import cluster as kubernetes
from trunkline.scaler.kubernetes import object_names, owners, pods
from trunkline.scaler.kubernetes.api import Api, ApiError
from trunkline.scaler.kubernetes.cluster import KubernetesCluster
from trunkline.scaler.kubernetes.owners import Owners
from trunkline.scaler.kubernetes.shelf import SecretShelf
from trunkline.scaler.ports import ClusterUnavailableError, Credentials, Held

NAME = object_names.owner_name("edges")


class Issuer:
    """Whose word nobody asks for."""

    name = "k"

    def __init__(self) -> None:
        self.issued = 0

    async def issue(self, pipeline: str) -> Credentials:
        self.issued += 1
        held = Held(issued_at=1e9, expires_at=9e9, issuer=self.name)
        return Credentials(text=f"{pipeline} {self.issued}", held=held)

    async def revoke(self, pipeline: str, issued_at: float) -> None:
        del pipeline, issued_at


@pytest.fixture
async def cluster(connection: client.ApiClient, namespace: str) -> AsyncIterator[KubernetesCluster]:
    async with kubernetes.connect(connection, scaling.settings(namespace)) as made:
        async with asyncio.timeout(20):
            await made.listed()
        yield made


@asynccontextmanager
async def kept(
    cluster: KubernetesCluster, connection: client.ApiClient, namespace: str, wanted: set[str]
) -> AsyncIterator[Keeper]:
    """Keep credentials as an installed scaler does."""
    shelf = SecretShelf(Api(connection, namespace, pods.SELECTOR), cluster.owners, WARDS)
    keeper = Keeper(Issuer(), shelf, wanted=lambda: wanted, clock=SystemClock())
    cluster.before_pods(keeper.ensure)
    cluster.owners.when_new(keeper.forget)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(keeper.run(), name="keep")
        yield keeper
        running.cancel()


async def until(holds: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(25):
        while not await holds():
            await asyncio.sleep(0.05)


async def test_a_deletion_that_comes_late_takes_nothing_of_the_successors(
    through_proxy: client.ApiClient,
    proxy: FaultProxy,
    connection: client.ApiClient,
    namespace: str,
) -> None:
    """1. A leader is stopped right before it deletes. 2. The next one deletes it. 3. The pipeline is there
    again. 4. The first one goes on, and its deletion arrives.
    """
    core: Any = client.CoreV1Api(connection)
    late, next_one = (
        Owners(Api(way, namespace, pods.SELECTOR), SystemClock())
        for way in (through_proxy, connection)
    )
    first = await late.of("edges")
    rule = proxy.add(faults.hold("/configmaps/"))
    assert rule.held is not None
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(late.remove("edges"), name="late")
        await rule.met.wait()
        await next_one.remove("edges")
        second = await next_one.of("edges")
        assert second != first
        rule.held.set()
    found = await core.read_namespaced_config_map(NAME, namespace)
    assert (found.metadata.uid, found.metadata.deletion_timestamp) == (second.uid, None)


async def test_a_config_map_deleted_by_hand_comes_back_with_its_secret(
    cluster: KubernetesCluster,
    connection: client.ApiClient,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(owners, "_TRUSTED_S", 0.0)
    core: Any = client.CoreV1Api(connection)
    async with kept(cluster, connection, namespace, {"edges"}):
        await cluster.create(scaling.worker(0))
        first = (await core.read_namespaced_config_map(NAME, namespace)).metadata.uid
        await core.delete_namespaced_config_map(NAME, namespace)

        async def created() -> bool:
            try:
                await cluster.create(scaling.worker(1))
            except ClusterUnavailableError:  # the old Secret is not gone yet
                return False
            return True

        await until(created)
        owner = (await core.read_namespaced_config_map(NAME, namespace)).metadata.uid
        secret = await core.read_namespaced_secret(
            object_names.credentials_name("edges"), namespace
        )
        assert owner != first
        assert [each.uid for each in secret.metadata.owner_references] == [owner]


async def test_a_quota_of_secrets_is_told_and_leaves_nothing_behind(
    cluster: KubernetesCluster, connection: client.ApiClient, namespace: str
) -> None:
    """The ConfigMap is made, its Secret refused; then the pipeline goes."""
    core: Any = client.CoreV1Api(connection)
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"count/secrets": "0"}}}
    await core.create_namespaced_resource_quota(namespace, quota)

    async def known() -> bool:
        found = await core.read_namespaced_resource_quota("few", namespace)
        return bool(found.status and found.status.hard)

    async def there() -> bool:
        listed = await core.list_namespaced_config_map(namespace, label_selector=pods.OURS)
        return bool(listed.items)

    async def gone() -> bool:
        return not await there()

    async def told() -> bool:
        events = (await core.list_namespaced_event(namespace)).items
        return any(
            each.reason == "FailedCreate" and "exceeded quota" in each.message for each in events
        )

    await until(known)
    wanted = {"edges"}
    async with kept(cluster, connection, namespace, wanted) as keeper:
        with pytest.raises(ClusterUnavailableError, match="exceeded quota"):
            await cluster.create(scaling.worker(0))
        await until(told)
        assert await there()
        assert "exceeded quota" in keeper.trouble("edges")
        assert not keeper.problems
        wanted.clear()
        keeper.wake()
        await until(gone)
        assert (keeper.trouble("edges"), keeper.problems) == ("", ())


async def test_what_pods_are_made_by_is_written_down_though_the_first_try_is_refused(
    through_proxy: client.ApiClient,
    proxy: FaultProxy,
    connection: client.ApiClient,
    namespace: str,
) -> None:
    core: Any = client.CoreV1Api(connection)
    kept_by = Owners(Api(through_proxy, namespace, pods.SELECTOR), SystemClock())
    await kept_by.of("edges")
    proxy.add(faults.refuse(500, "/configmaps/", method="PATCH", times=1))
    with pytest.raises(ApiError):
        await kept_by.note("edges", "abc")
    await kept_by.note("edges", "abc")
    found = await core.read_namespaced_config_map(NAME, namespace)
    assert found.data["spec-hash"] == "abc"
