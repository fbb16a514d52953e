"""The manifests on a real API server: as they are rendered, applied, and what their service accounts may do."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_asyncio import client, config
from tests.cluster.applied import MANIFESTS, SERVICES, WORKERS, Installer
from tests.cluster.plane import credentials
from tests.cluster.plane.control_plane import ControlPlane

from trunkline.local import server
from trunkline.scaler.kubernetes import bootstrap, secret_shelf
from trunkline.scaler.kubernetes.api import Api, ApiError

POD = {"metadata": {"name": "w"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
EVENT = {
    "metadata": {"name": "e"},
    "involvedObject": {"kind": "ConfigMap", "name": "o", "namespace": WORKERS},
}


@pytest.fixture(scope="module")
def installer(plane: ControlPlane | None) -> Iterator[Installer]:
    """One who has made the namespaces; they go afterwards."""
    if plane is None:
        pytest.skip("this would install into the cluster that KUBECONFIG names")
    made = Installer(plane)
    made.absent()
    made.kubectl("apply", "-f", str(MANIFESTS / "base" / "namespaces.yaml"))
    made.kubectl("apply", "-f", str(MANIFESTS / "base" / "rbac.yaml"))
    yield made
    made.kubectl("delete", "--wait=false", "-f", str(MANIFESTS / "base" / "rbac.yaml"))
    made.kubectl("delete", "--wait=false", "-f", str(MANIFESTS / "base" / "namespaces.yaml"))


As = Callable[[str], Any]


@pytest.fixture
def as_service(
    installer: Installer,  # noqa: ARG001 - who has made the accounts
    connection: client.ApiClient,
    tmp_path: Path,
) -> As:
    """Connects as a service account of the services' namespace."""

    @asynccontextmanager
    async def connect(account: str) -> AsyncIterator[client.ApiClient]:
        core: Any = client.CoreV1Api(connection)
        made = await core.create_namespaced_service_account_token(
            account, SERVICES, {"spec": {"expirationSeconds": 3600}}
        )
        here, path = connection.configuration, tmp_path / account
        authority = Path(str(here.ssl_ca_cert))
        path.write_text(credentials.kubeconfig(str(here.host), made.status.token, authority))
        async with await config.new_client_from_config(str(path)) as connected:
            yield connected

    return connect


async def refused(call: Awaitable[object]) -> bool:
    """Say whether the server has refused it; that there is nothing of that name is no refusal."""
    try:
        await call
    except client.ApiException as error:
        return bool(error.status == 403)
    return False


@pytest.mark.parametrize("overlay", ["dev", "prod"])
async def test_a_server_takes_each_overlay(installer: Installer, overlay: str) -> None:
    objects = installer.rendered(overlay)
    said = installer.kubectl("apply", "--dry-run=server", "-f", "-", given=objects)
    assert len(said.splitlines()) == len(list(yaml.safe_load_all(objects)))


async def test_what_is_applied_twice_is_the_same_twice(installer: Installer) -> None:
    objects = installer.rendered("prod")
    written = ("get", "-f", "-", "-o", "jsonpath={.items[*].metadata.generation}")
    installer.kubectl("apply", "-f", "-", given=objects)
    before = installer.kubectl(*written, given=objects)
    installer.kubectl("apply", "-f", "-", given=objects)
    assert before
    assert installer.kubectl(*written, given=objects) == before


async def test_the_scaler_may_ask_all_that_it_asks(as_service: As) -> None:
    async with as_service("trunkline-scaler") as connection:
        api = Api(connection, WORKERS, "app=none")
        asks: dict[str, Awaitable[object]] = {
            "list_nodes": api.list_nodes(),
            "watch_nodes": api.watch_nodes("0", 1, lambda _: None),
            "read_node": api.read_node("n"),
            "list_pods": api.list_pods(),
            "watch_pods": api.watch_pods("0", 1, lambda _: None),
            "read_pod": api.read_pod("w"),
            "create_pod": api.create_pod(POD),
            "delete_pod": api.delete_pod("w", "another", None),
            "create_owner": api.create_owner({"metadata": {"name": "o"}}),
            "read_owner": api.read_owner("o"),
            "patch_owner": api.patch_owner("o", {"data": {"a": "b"}}),
            "list_owners": api.list_owners("app=none"),
            "delete_owner": api.delete_owner("o", "another"),
            "list_secrets": api.list_secrets("app=none"),
            "create_secret": api.create_secret({"metadata": {"name": "s"}}),
            "patch_secret": api.patch_secret("s", {"stringData": {"a": "b"}}),
            "create_event": api.create_event(EVENT),
        }
        refusals = {}
        for what, call in asks.items():
            try:
                await call
            except ApiError as error:
                if error.status in (401, 403):
                    refusals[what] = error.text
    assert refusals == {}
    assert set(asks) == {name for name, of in vars(Api).items() if callable(of) and name[0] != "_"}


async def test_the_scaler_may_do_nothing_else(as_service: As) -> None:
    async with as_service("trunkline-scaler") as connection:
        core: Any = client.CoreV1Api(connection)
        apps: Any = client.AppsV1Api(connection)
        rights: Any = client.RbacAuthorizationV1Api(connection)
        other = {
            "change a node": core.patch_node("n", {}),
            "delete a node": core.delete_node("n"),
            "list all pods": core.list_pod_for_all_namespaces(),
            "create a pod among services": core.create_namespaced_pod(SERVICES, POD),
            "change a pod": core.patch_namespaced_pod("w", WORKERS, {}),
            "delete all pods": core.delete_collection_namespaced_pod(WORKERS),
            "run something in a pod": core.connect_get_namespaced_pod_exec("w", WORKERS),
            "read the root of trust": core.read_namespaced_secret(secret_shelf.ROOT, SERVICES),
            "list services' secrets": core.list_namespaced_secret(SERVICES),
            "delete a secret": core.delete_namespaced_secret("s", WORKERS),
            "make a token": core.create_namespaced_service_account_token(
                "trunkline-bootstrap", SERVICES, {"spec": {}}
            ),
            "create a deployment": apps.create_namespaced_deployment(WORKERS, {}),
            "give itself more rights": rights.patch_namespaced_role(
                "trunkline-scaler", WORKERS, {}
            ),
        }
        assert [what for what, call in other.items() if not await refused(call)] == []


async def test_bootstrap_gives_each_service_its_part_by_the_rights_of_its_account(
    as_service: As, tmp_path: Path
) -> None:
    async with asyncio.timeout(60), as_service("trunkline-bootstrap") as connection:
        written = await bootstrap.run(connection, SERVICES)
        assert sorted(written) == sorted([secret_shelf.ROOT, *secret_shelf.PARTS])
        assert await bootstrap.run(connection, SERVICES) == []
        rotated = await bootstrap.run(connection, SERVICES, rotate="coordinator")
        assert sorted(rotated) == ["trunkline-coordinator", "trunkline-nats", secret_shelf.ROOT]
        assert await refused(client.CoreV1Api(connection).list_namespaced_secret(SERVICES))
        secrets = secret_shelf.Secrets(connection, SERVICES)
        texts, _ = await secrets.read("trunkline-nats")
        narrowed = await bootstrap.run(connection, SERVICES, revocation=False)
        assert narrowed == ["trunkline-scaler"]
        assert {*secret_shelf.REVOCATION}.isdisjoint((await secrets.read("trunkline-scaler"))[0])
        assert await bootstrap.run(connection, SERVICES) == ["trunkline-scaler"]
    for overlay in ("dev", "prod"):
        _check_server_takes(texts, overlay, tmp_path / overlay)


def _check_server_takes(secret: dict[str, str], overlay: str, directory: Path) -> None:
    """Have a real nats-server read what the pod's projected volume holds."""
    directory.mkdir()
    files = {**secret, **_files(MANIFESTS / "base" / "nats.yaml")}
    if overlay == "prod":
        files |= _files(MANIFESTS / "overlays" / "prod" / "cluster.yaml")
    for name, text in files.items():
        (directory / name).write_text(text)
    words = [str(server.find_binary(os.environ)), "-t", "-c", str(directory / "nats.conf")]
    environ = {**os.environ, "POD_NAME": "trunkline-nats-0"}
    done = subprocess.run(words, check=False, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _files(path: Path) -> dict[str, str]:
    found = yaml.safe_load_all(path.read_text())
    return next(each["data"] for each in found if each["kind"] == "ConfigMap")
