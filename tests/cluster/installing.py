"""The manifests as an administrator applies them, and the bootstrap job as a cluster runs it, under other names."""

import base64
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml
from kubernetes_asyncio import client as kubernetes
from kubernetes_asyncio import config
from tests.cluster import accounts
from tests.cluster.plane import build
from tests.support import rendering

from trunkline.bus import bootstrap as keys
from trunkline.scaler.kubernetes import bootstrap, secret_shelf

BASE = Path(__file__).parents[2] / "manifests" / "base"
SERVICES, WORKERS = "trunkline", "trunkline-workers"
"""The namespaces as the manifests call them."""
RIGHTS = ("Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")


class Kubectl:
    """Somebody with kubectl and an administrator's rights."""

    def __init__(self, kubeconfig: Path) -> None:
        programs = build.find()
        program = shutil.which("kubectl") if programs is None else str(programs / "kubectl")
        assert program is not None
        self._words = [program, "--kubeconfig", str(kubeconfig)]

    def __call__(self, *words: str, given: str = "") -> str:
        """Run it; what it says is in the error if it fails."""
        command = [*self._words, *words]
        done = subprocess.run(command, check=False, input=given, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rights(self, name: str) -> str:
        """Return namespaces, accounts and rights as the manifests have them, under another name."""
        objects = yaml.safe_load_all(rendering.text(BASE))
        chosen = [_renamed(each, name) for each in objects if each["kind"] in RIGHTS]
        return yaml.safe_dump_all(chosen)


def _renamed(each: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object whose namespaces, and what is of the whole cluster, have names of our own."""
    namespaces = {SERVICES: name, WORKERS: f"{name}-workers"}
    metadata, role = each["metadata"], each.get("roleRef", {})
    if each["kind"] == "Namespace":
        metadata["name"] = namespaces[metadata["name"]]
    for place in (metadata, *each.get("subjects", [])):
        if "namespace" in place:
            place["namespace"] = namespaces[place["namespace"]]
    for place in (metadata if each["kind"].startswith("ClusterRole") else {}, role):
        if place and (place is metadata or role["kind"] == "ClusterRole"):
            place["name"] = f"{name}-{place['name']}"
    return each


class Job:
    """The bootstrap job, under its account; each part is in a directory, as a pod has it mounted."""

    def __init__(self, connection: kubernetes.ApiClient, namespace: str, folder: Path) -> None:
        self._connection, self._namespace, self._folder = connection, namespace, folder
        self.mounted = {
            secret.removeprefix("trunkline-"): folder / "mounted" / secret
            for secret in secret_shelf.PARTS
        }

    @property
    def resolver(self) -> str:
        """What servers are to know."""
        return (self.mounted["nats"] / keys.RESOLVER).read_text()

    async def run(self, rotate: str = "") -> None:
        """Run it, and mount what it has made."""
        path = self._folder / "bootstrap.kubeconfig"
        await accounts.kubeconfig(self._connection, self._namespace, "trunkline-bootstrap", path)
        async with await config.new_client_from_config(str(path)) as as_job:
            await bootstrap.run(as_job, self._namespace, rotate=rotate)
        core: Any = kubernetes.CoreV1Api(self._connection)
        for directory in self.mounted.values():
            found = await core.read_namespaced_secret(directory.name, self._namespace)
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for key, text in found.data.items():
                (directory / key).write_bytes(base64.b64decode(text))
