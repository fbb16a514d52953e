"""A real API server for each test process, a namespace for each test, a kubelet, and a way full of faults.

`KUBECONFIG=...` names another cluster, on which the same tests run; those that kill the API
server are skipped there.
"""

import asyncio
import os
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from kubernetes_asyncio import client, config
from tests.cluster import accounts, faults, whole
from tests.cluster.kubelet import kubelet as kubelets
from tests.cluster.kubelet.kubelet import Kubelet
from tests.cluster.plane import build
from tests.cluster.plane.control_plane import ControlPlane
from tests.cluster.pods import Pods
from tests.cluster.whole import Whole

_LEFT = (
    "ignore:Exception ignored in. <function _SelectorTransport"
    ":pytest.PytestUnraisableExceptionWarning"
)
"""What a client says of a connection that the proxy has cut, and that is left to the collector."""


def pytest_collection_modifyitems(items):
    """The first test of a process waits for its control plane."""
    for item in items:
        if "tests/cluster" in str(item.path):
            item.add_marker(pytest.mark.timeout(120))
            item.add_marker(pytest.mark.filterwarnings(_LEFT))


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane | None]:
    """The control plane of this process; None where KUBECONFIG names another cluster."""
    if os.environ.get("KUBECONFIG"):
        yield None
        return
    programs = build.find()
    if programs is None:
        pytest.fail("there is no control plane yet: `make test-cluster` builds one")
    with ControlPlane(programs) as started:
        yield started


@pytest.fixture
def own_plane(plane: ControlPlane | None) -> ControlPlane:
    """The control plane, for tests that hurt it."""
    if plane is None:
        pytest.skip("this would hurt the cluster that KUBECONFIG names")
    return plane


@pytest.fixture(scope="session")
def kubeconfig(plane: ControlPlane | None) -> Path:
    """The file by which an administrator reaches the cluster."""
    return Path(os.environ["KUBECONFIG"]) if plane is None else plane.kubeconfig


@pytest.fixture
async def connection(kubeconfig: Path) -> AsyncIterator[client.ApiClient]:
    """An administrator's connection."""
    async with await config.new_client_from_config(str(kubeconfig)) as connected:
        yield connected


@pytest.fixture
async def as_account(
    connection: client.ApiClient, namespace: str, tmp_path: Path
) -> Callable[[str], Awaitable[Path]]:
    """Gives a kubeconfig for a service account of the namespace: `await as_account("scaler")`."""

    async def write(account: str) -> Path:
        path = tmp_path / f"{account}.kubeconfig"
        return await accounts.kubeconfig(connection, namespace, account, path)

    return write


@pytest.fixture
async def namespace(connection: client.ApiClient) -> AsyncIterator[str]:
    """A namespace of the test's own, in which pods can be created; removed behind the test's back."""
    core: Any = client.CoreV1Api(connection)
    name = f"test-{uuid.uuid4().hex[:8]}"
    await core.create_namespace({"metadata": {"name": name}})
    async with asyncio.timeout(30):
        while not await accounts.can_have_pods(connection, name):
            await asyncio.sleep(0.02)
    yield name
    await core.delete_collection_namespaced_pod(name, body={"gracePeriodSeconds": 0})
    await core.delete_namespace(name)


@pytest.fixture
def made(connection: client.ApiClient, namespace: str) -> Pods:
    """The pods of the namespace: to be created, waited for, deleted."""
    return Pods(connection, namespace)


@pytest.fixture
async def kubelet(
    connection: client.ApiClient,
    namespace: str,  # noqa: ARG001 - so that the kubelet ends first: its pods are gone by then
) -> AsyncIterator[Kubelet]:
    """A kubelet in a hurry, without nodes yet; `debian`, `ours` and `pause` are its images."""
    async with kubelets.running(connection, pace=kubelets.IN_A_HURRY) as started:
        yield started


@pytest.fixture
async def proxy(connection: client.ApiClient) -> AsyncIterator[faults.FaultProxy]:
    """A proxy before the API server, on which nothing goes wrong yet."""
    configuration = connection.configuration
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    async with faults.before(str(configuration.host), context) as started:
        yield started


@pytest.fixture
async def through_proxy(
    proxy: faults.FaultProxy, connection: client.ApiClient, tmp_path: Path
) -> AsyncIterator[client.ApiClient]:
    """An administrator's connection that leads through the proxy."""
    token = connection.configuration.api_key.get("BearerToken", "").removeprefix("Bearer ")
    path = proxy.kubeconfig(token, tmp_path / "kubeconfig")
    async with await config.new_client_from_config(str(path)) as connected:
        yield connected


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_whole(
    kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Whole]:
    """A whole installation for all tests of a module, whose tests run in one loop:
    `pytestmark = pytest.mark.asyncio(loop_scope="module")`.
    """
    folder = tmp_path_factory.mktemp("whole")
    async with whole.running(kubeconfig, folder, pace=kubelets.IN_A_HURRY) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def installed(shared_whole: Whole) -> AsyncIterator[Whole]:
    """That installation, in order at first, with nodes and pipelines of the test's own, which go
    with it; what its processes have said is shown if the test fails.
    """
    shared_whole.begin()
    yield shared_whole
    await shared_whole.end()
