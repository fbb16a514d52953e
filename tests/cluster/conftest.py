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
from kubernetes_asyncio import client, config
from tests.cluster import faults
from tests.cluster.kubelet import kubelet as kubelets
from tests.cluster.kubelet.kubelet import Kubelet
from tests.cluster.plane import build, credentials
from tests.cluster.plane.control_plane import ControlPlane
from tests.cluster.pods import Pods

PACE = 0.02
"""Of the kubelet's back-offs and retries: 10 s are 0.2 s here."""

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
    core: Any = client.CoreV1Api(connection)

    async def write(account: str) -> Path:
        body = {"spec": {"expirationSeconds": 3600}}
        made = await core.create_namespaced_service_account_token(account, namespace, body)
        path, here = tmp_path / f"{account}.kubeconfig", connection.configuration
        authority = Path(str(here.ssl_ca_cert))
        path.write_text(credentials.kubeconfig(str(here.host), made.status.token, authority))
        return path

    return write


@pytest.fixture
async def namespace(connection: client.ApiClient) -> AsyncIterator[str]:
    """A namespace of the test's own, in which pods can be created; removed behind the test's back."""
    core: Any = client.CoreV1Api(connection)
    name = f"test-{uuid.uuid4().hex[:8]}"
    await core.create_namespace({"metadata": {"name": name}})
    async with asyncio.timeout(30):
        while not await _has_account(connection, name):
            await asyncio.sleep(0.02)
    yield name
    await core.delete_collection_namespaced_pod(name, body={"gracePeriodSeconds": 0})
    await core.delete_namespace(name)


@pytest.fixture
def made(connection: client.ApiClient, namespace: str) -> Pods:
    """The pods of the namespace: to be created, waited for, deleted."""
    return Pods(connection, namespace)


async def _has_account(connection: client.ApiClient, namespace: str) -> bool:
    """Say whether pods are admitted: old servers want the account's secret to be there, too."""
    accounts = (await client.CoreV1Api(connection).list_namespaced_service_account(namespace)).items
    version = await client.VersionApi(connection).get_code()
    with_secret = int(version.minor.rstrip("+")) < 24
    return any(account.secrets or not with_secret for account in accounts)


@pytest.fixture
async def kubelet(
    connection: client.ApiClient,
    namespace: str,  # noqa: ARG001 - so that the kubelet ends first: its pods are gone by then
) -> AsyncIterator[Kubelet]:
    """A kubelet in a hurry, without nodes yet; `debian`, `ours` and `pause` are its images."""
    async with kubelets.running(connection, pace=PACE) as started:
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
