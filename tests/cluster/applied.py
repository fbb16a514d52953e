"""The manifests applied as they are, and run: each container that they name is one of the process kubelet's.

A copy of them gets one more overlay over the one that is tried. It says what differs because all pods here share the
host's network, and because the store is a directory of this machine's:

- servers listen at their pod's address, where a pod of a cluster's may listen at all of them;
- worker pods have no probes, since agents do listen at all of them;
- the store is a `file://` that the coordinator and agents mount from the host, and `trunkline-store` is not needed;
- a budget is of the API that the old server has.

What `dev` has of others (an S3, Prometheus, Grafana) is there and runs nothing. Our images are told by the Dockerfiles' entry points, and by the nats-server that is installed here. Volumes that are
claimed are directories of nodes.
"""

import asyncio
import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from kubernetes_asyncio import client as kubernetes
from tests.cluster.kubelet import images
from tests.cluster.kubelet.images import Image
from tests.cluster.kubelet.kubelet import Kubelet
from tests.cluster.plane.control_plane import ControlPlane
from tests.cluster.pods import Pods
from tests.support import image_tags, rendering
from tests.support.installation import Installation, until

from trunkline.bus import bootstrap, logins
from trunkline.client import client as clients
from trunkline.contracts import errors
from trunkline.local import server

PROJECT = Path(__file__).parents[2]
MANIFESTS = PROJECT / "manifests"
SERVICES, WORKERS = "trunkline", "trunkline-workers"
USER_UID = 20002
NODES = 3
_TRY_S = 60
_ADDRESS = {"fieldRef": {"fieldPath": "status.podIP"}}


class Installer:
    """Somebody with kubectl, the oldest, and an administrator's rights."""

    def __init__(self, plane: ControlPlane) -> None:
        self._words = [str(plane.kubectl), "--kubeconfig", str(plane.kubeconfig)]

    def kubectl(self, *words: str, given: str = "") -> str:
        """Run it; what it says is in the error if it fails."""
        command = [*self._words, *words]
        done = subprocess.run(command, check=False, input=given, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def meanwhile(self, *words: str, given: str = "") -> str:
        """Run it while the kubelet goes on."""
        return await asyncio.to_thread(self.kubectl, *words, given=given)

    def old(self) -> bool:
        """Say whether the server has no `policy/v1`."""
        return "policy/v1\n" not in self.kubectl("api-versions")

    def rendered(self, overlay: str) -> str:
        """Return an overlay's objects, with the API that this server has for budgets."""
        text = rendering.text(MANIFESTS / "overlays" / overlay)
        return _for_old_servers(text) if self.old() else text

    def absent(self) -> None:
        """Wait until nothing is left of the namespaces that another test has removed."""
        for each in (SERVICES, WORKERS):
            if self.kubectl("get", "namespace", each, "--ignore-not-found", "-o", "name"):
                self.kubectl("wait", "--for=delete", f"namespace/{each}", f"--timeout={_TRY_S}s")


class Applied(Installation):
    """What a test does with it. Made by `running`."""

    def __init__(
        self,
        client: clients.Client,
        environ: Mapping[str, str],
        installer: Installer,
        services: Pods,
        gate: Path,
    ) -> None:
        super().__init__(gate.parent, None, client)
        self.installer, self.services = installer, services
        self.environ = environ
        """By which a command line reaches it."""
        self.gate = gate
        """A path that commands can see, once a test has made something there."""

    async def pipeline(self, name: str, script: str, *, repo: str = "texts") -> None:
        """Apply a pipeline that runs a shell script on each file of a repo."""
        spec = {
            "pipeline": {"name": name},
            "transform": {"cmd": ["sh", "-c", script], "image": "users"},
            "input": {"pfs": {"repo": repo, "glob": "/*"}},
            "parallelism_spec": {"constant": 2},
        }
        await self.apply(spec)

    async def demo(self, *words: str) -> str:
        """Run the demo on it, as Tilt does; return what it said."""
        command = (sys.executable, "-m", "trunkline.cli.demo", "--running", *words)
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=PROJECT,
            env={**os.environ, **self.environ},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        return said.decode()

    async def restarted(self, *what: str) -> None:
        """Have all pods of these replaced; return once their successors are ready."""
        for each in what:
            await self.installer.meanwhile("-n", SERVICES, "rollout", "restart", each)
        for each in what:
            await rolled_out(self.installer, each)

    async def copies(self) -> dict[str, list[str]]:
        """Return of each stream which servers have all of it, as its leader's monitor says."""
        found: dict[str, list[str]] = {}
        async with aiohttp.ClientSession() as session:
            for name, address in (await _addresses(self.services)).items():
                url = f"http://{address}:8222/jsz?accounts=true&streams=true"
                async with session.get(url) as response:
                    said = await response.json()
                for account in said.get("account_details", []):
                    for each in account.get("stream_detail", []):
                        cluster = each.get("cluster", {})
                        if cluster.get("leader") == name:
                            found[each["name"]] = _complete(cluster)
        return found


def _complete(cluster: dict[str, Any]) -> list[str]:
    replicas = [each["name"] for each in cluster.get("replicas", []) if each.get("current")]
    return sorted([cluster["leader"], *replicas])


@asynccontextmanager
async def running(
    overlay: str,
    plane: ControlPlane,
    connection: kubernetes.ApiClient,
    kubelet: Kubelet,
    folder: Path,
) -> AsyncIterator[Applied]:
    """Apply an overlay, wait for all that it names, and remove it; prints what was said by all."""
    installer = Installer(plane)
    installer.absent()
    store, gate = folder / "store", folder / "gate"
    kubelet.images.update(_images(gate))
    umask = os.umask(0)  # others write into what we have made
    for each in (store, gate):
        each.mkdir(mode=0o777)
    objects = rendering.text(_copy(overlay, folder / "manifests", store, old=installer.old()))
    try:
        await _add_nodes(kubelet, connection, folder)
        await installer.meanwhile("apply", "-f", "-", given=objects)
        services = Pods(connection, SERVICES)
        try:
            await _up(installer)
            url = await _user_url(services, folder)
            environ = {"TRUNKLINE_URL": url, "TRUNKLINE_STORE": f"file://{store}"}
            async with clients.connect(url, f"file://{store}") as client:
                applied = Applied(client, environ, installer, services, gate / "open")
                await _answers(applied)
                yield applied
        finally:
            try:
                await _tell(connection, kubelet)
            finally:  # or its pods are there in all tests that follow
                await _remove(installer, objects)
    finally:
        os.umask(umask)


async def rolled_out(installer: Installer, what: str) -> None:
    """Return once all that a Deployment or a StatefulSet wants is there and ready."""
    await installer.meanwhile("-n", SERVICES, "rollout", "status", what, f"--timeout={_TRY_S}s")


def _images(gate: Path) -> dict[str, Image]:
    users = Image(user=USER_UID, directories=(*images.HOST, str(gate)))
    found = {"users": users}
    tag, table = image_tags.version(), images.usual()
    for service in ("coordinator", "scaler", "worker-agent"):
        text = (PROJECT / "services" / service / "Dockerfile").read_text()
        entry = re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)[-1]
        found[f"trunkline/{service}:{tag}"] = replace(
            table["ours"], entrypoint=tuple(json.loads(entry)), user=10001
        )
    (nats,) = re.findall(r"image: (nats:\S+)", (MANIFESTS / "base" / "nats.yaml").read_text())
    binary = server.find_binary(os.environ)
    path = f"{binary.parent}:{images.DEBIAN.env.get('PATH', '/usr/bin:/bin')}"
    directories = (*images.HOST, str(binary.parent))
    found[nats] = Image(directories=directories, env={"PATH": path})
    return {**dict.fromkeys(_foreign(), images.PAUSE), **found}


def _foreign() -> set[str]:
    """Return the images of `overlays/dev` that are not ours: their pods are there, and run nothing."""
    parts = (MANIFESTS / "overlays" / "dev", MANIFESTS / "prometheus", MANIFESTS / "grafana")
    texts = [path.read_text() for part in parts for path in part.glob("*.yaml")]
    return set(re.findall(r"image: (\S+:\S+)", "".join(texts)))


def _copy(overlay: str, place: Path, store: Path, *, old: bool) -> Path:
    """Copy the manifests, with one more overlay; return where that is."""
    shutil.copytree(MANIFESTS, place)
    if old:
        budgets = place / "base" / "disruption.yaml"
        budgets.write_text(_for_old_servers(budgets.read_text()))
    tried = place / "overlays" / "tried"
    tried.mkdir()
    patches = [*_nats_patches(place, overlay), *_settings_patches(store), *_service_patches(store)]
    kustomization = {
        "resources": [f"../{overlay}"],
        "patches": [{"patch": yaml.safe_dump(each)} for each in patches],
    }
    (tried / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return tried


def _for_old_servers(text: str) -> str:
    return text.replace("apiVersion: policy/v1\n", "apiVersion: policy/v1beta1\n")


def _object(kind: str, name: str, **of: Any) -> dict[str, Any]:
    group = {"ConfigMap": "v1"}.get(kind, "apps/v1")
    return {
        "apiVersion": group,
        "kind": kind,
        "metadata": {"name": name, "namespace": SERVICES},
        **of,
    }


def _nats_patches(place: Path, overlay: str) -> list[dict[str, Any]]:
    """Have servers listen at their pods' addresses, otherwise as their configuration says."""
    data: dict[str, str] = {}
    for path in (place / "base" / "nats.yaml", place / "overlays" / overlay / "cluster.yaml"):
        if path.exists():
            found = yaml.safe_load_all(path.read_text())
            data |= next(each["data"] for each in found if each["kind"] == "ConfigMap")
    here = {
        key: re.sub(r'listen: "0\.0\.0\.0:(\d+)"', r"host: $POD_IP, port: \1", text)
        for key, text in data.items()
    }
    environ = [{"name": "POD_IP", "valueFrom": _ADDRESS}]
    template = {"spec": {"containers": [{"name": "nats", "env": environ}]}}
    return [
        _object("ConfigMap", "trunkline-nats", data=here),
        _object("StatefulSet", "trunkline-nats", spec={"template": template}),
    ]


def _settings_patches(store: Path) -> list[dict[str, Any]]:
    pods = {
        "TRUNKLINE_STORE_SECRET": "",
        "TRUNKLINE_STORE_VOLUME": json.dumps(_on_host(store)),
    }
    return [
        _object("ConfigMap", "trunkline-settings", data={"TRUNKLINE_STORE": f"file://{store}"}),
        _object("ConfigMap", "trunkline-pods", data=pods),
    ]


def _service_patches(store: Path) -> list[dict[str, Any]]:
    found = []
    for name in ("coordinator", "scaler"):
        host = {"name": "TRUNKLINE_PROBE_HOST", "value": None, "valueFrom": _ADDRESS}
        container = {
            "name": name,
            "env": [host],
            "volumeMounts": [{"name": "store", "mountPath": str(store)}],
        }
        volumes = [{"name": "store", **_on_host(store)}]
        template = {"spec": {"containers": [container], "volumes": volumes}}
        found.append(_object("Deployment", f"trunkline-{name}", spec={"template": template}))
    return found


def _on_host(path: Path) -> dict[str, Any]:
    return {"hostPath": {"path": str(path)}}


async def _add_nodes(kubelet: Kubelet, connection: kubernetes.ApiClient, folder: Path) -> None:
    """Add nodes that have a disk each."""
    core: Any = kubernetes.CoreV1Api(connection)
    for number in range(NODES):
        node = await kubelet.add_node(f"n{number}")
        disk = folder / f"disk-{number}"
        disk.mkdir()
        term = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]}
        spec = {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": str(disk)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
        }
        name = f"{kubelet.directory.name}-{number}"
        await core.create_persistent_volume({"metadata": {"name": name}, "spec": spec})


async def _up(installer: Installer) -> None:
    """Return once the job has ended well, and all else is ready."""
    job = ("--for=condition=complete", "job/trunkline-bootstrap", f"--timeout={_TRY_S}s")
    await installer.meanwhile("-n", SERVICES, "wait", *job)
    for each in (
        "statefulset/trunkline-nats",
        "deployment/trunkline-coordinator",
        "deployment/trunkline-scaler",
    ):
        await rolled_out(installer, each)


async def _user_url(services: Pods, folder: Path) -> str:
    """Log in as docs/kubernetes.md says; return the URL."""
    found = await services.core.read_namespaced_secret("trunkline-user", SERVICES)
    name = bootstrap.creds_of("user")
    path = folder / name
    path.write_bytes(base64.b64decode(found.data[name]))
    path.chmod(0o600)
    addresses = await _addresses(services)
    return logins.url_of(",".join(f"nats://{each}:4222" for each in addresses.values()), path)


async def _addresses(services: Pods) -> dict[str, str]:
    """Return where NATS servers are, by their names."""
    selector = "app.kubernetes.io/name=trunkline-nats"
    listed = await services.core.list_namespaced_pod(SERVICES, label_selector=selector)
    return {each.metadata.name: each.status.pod_ip for each in listed.items}


async def _answers(applied: Applied) -> None:
    """Return once the coordinator answers."""

    async def look() -> bool:
        with contextlib.suppress(errors.UnavailableError):
            await applied.repo("texts")
            return True
        return False

    await until(look, within_s=30, what="the coordinator's answer")


async def _tell(connection: kubernetes.ApiClient, kubelet: Kubelet) -> None:
    """Print how all pods are, and the last that their containers have said, for a test that has failed."""
    core: Any = kubernetes.CoreV1Api(connection)
    for pod in (await core.list_pod_for_all_namespaces()).items:
        print(pod.metadata.namespace, pod.metadata.name, pod.spec.node_name, pod.status.phase)
        for each in pod.status.container_statuses or []:
            print("   ", each.name, each.ready, each.restart_count, each.state, each.last_state)
    print(*kubelet.told(2000), sep="\n")


async def _remove(installer: Installer, objects: str) -> None:
    """Remove all of it: first who makes pods, then pods, while there is a kubelet to see to it."""
    delete = ("-n", SERVICES, "delete", "--all")
    await installer.meanwhile(*delete, "deployments,jobs", "--cascade=foreground")
    await installer.meanwhile(*delete, "statefulsets", "--cascade=orphan")
    for namespace in (SERVICES, WORKERS):
        gone = ("pods", "--all", "--grace-period=0", "--force")
        await installer.meanwhile("-n", namespace, "delete", *gone)
    words = ("delete", "--wait=false", "--ignore-not-found", "-f", "-")
    await installer.meanwhile(*words, given=objects)
    await installer.meanwhile("delete", "persistentvolumes", "--all", "--wait=false")
