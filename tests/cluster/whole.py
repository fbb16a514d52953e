"""A whole installation on Kubernetes, made as people make it: by the manifests, then by the bootstrap job.

Namespaces, accounts and rights are those of `manifests/base`, under names of their own (`installing`). NATS runs
in operator mode with what the job has put into Secrets; coordinator and scaler are processes (`services`), the
scaler under its service account; worker pods are the scaler's work, on nodes that a test adds. The store is a
directory of this machine's, which pods see as a hostPath.

Tests share one. What a test needs of its own, it gets by names: `begin()` names a room, whose label its nodes and
its pipelines' pods have; `end()` removes both.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from kubernetes_asyncio import config
from tests.cluster import accounts, services
from tests.cluster.installing import Job, Kubectl
from tests.cluster.kubelet import images
from tests.cluster.kubelet import kubelet as kubelets
from tests.cluster.kubelet.kubelet import Kubelet
from tests.cluster.kubelet.node import Node
from tests.cluster.plane.process import Process
from tests.cluster.pods import Pods
from tests.cluster.services import Server
from tests.support.installation import Installation, until

from trunkline.audit import evidence, verifying
from trunkline.audit.core.findings import Report
from trunkline.bus import bootstrap as keys
from trunkline.client import client as clients
from trunkline.contracts import api, errors, records
from trunkline.scaler.kubernetes import pods

USER_UID = 20002
ROOM = "room"
"""The label of nodes that says whose they are."""


class Whole(Installation):
    """What a test does with it. Made by `running`."""

    def __init__(
        self,
        client: clients.Client,
        server: Server,
        kubelet: Kubelet,
        made: Pods,
        processes: Mapping[str, Process],
        kubectl: Kubectl,
        job: Job,
    ) -> None:
        super().__init__(kubelet.directory, None, client)
        self.server, self.kubelet, self.pods, self.kubectl = server, kubelet, made, kubectl
        self._job = job
        self.scaler, self.coordinator = processes["scaler"], processes["coordinator"]
        """Processes: `kill()`, `start()`, `await asyncio.to_thread(process.stop)`; their environment is
        `environ`, for the next start."""
        self._environ = dict(self.scaler.environ or {})
        self.gates = Path()
        """Of commands, which cannot write there: who has come is seen otherwise."""
        self.room = ""
        self._pipelines: list[str] = []

    @property
    def secrets(self) -> list[str]:
        """All texts that the bootstrap job has made for anybody."""
        return [path.read_text() for each in self._job.mounted.values() for path in each.iterdir()]

    def begin(self) -> None:
        """Give what follows a room of its own."""
        self.room = f"r{secrets.token_hex(3)}"

    async def end(self) -> None:
        """Remove pipelines and nodes of the room; print what was said, for a test that has failed."""
        await self._tell()
        if self.scaler.environ != self._environ:
            self.scaler.kill()
            self.scaler.environ = dict(self._environ)
        for each in (self.coordinator, self.scaler):
            if not each.running:
                each.start()
        for name in [each for each in self.kubelet.nodes if each.startswith(f"{self.room}-")]:
            await self.kubelet.remove_node(name)
        for name in reversed(self._pipelines):
            with contextlib.suppress(errors.RequestRefusedError):
                await self.delete(name)
        self._pipelines.clear()

    async def restart_scaler(self, **environ: str) -> None:
        """Kill the scaler and start it with further variables, until the test ends."""
        self.scaler.kill()
        self.scaler.environ = {**self._environ, **environ}
        self.scaler.start()
        await self.scaler_ready()

    async def rotate(self, role: str) -> None:
        """Have the bootstrap job make a role's credentials anew, and all processes know of it."""
        await self._job.run(role)
        await self.server.kill()
        self.server.told(self._job.resolver)
        await self.server.start()
        for each in (self.coordinator, self.scaler):
            each.kill()
            each.start()
        await self.scaler_ready()

    async def scaler_ready(self) -> None:
        """Return once the scaler that was started last has seen all there is."""

        async def look() -> bool:
            return b'"message":"ready"' in self.scaler.said

        await until(look, within_s=30, what="a scaler that is ready")

    # --- nodes ------------------------------------------------------------------------------------

    async def add_nodes(self, count: int = 1, **of: Any) -> list[Node]:
        """Add Ready nodes to the room; `kubelet.remove_node(name)`, `node.cordon()` and so on as ever."""
        labels = {ROOM: self.room, **of.pop("labels", {})}
        present = sum(1 for each in self.kubelet.nodes if each.startswith(f"{self.room}-"))
        names = [f"{self.room}-{number}" for number in range(present, present + count)]
        async with asyncio.TaskGroup() as tasks:
            added = [
                tasks.create_task(self.kubelet.add_node(name, labels=labels, **of), name=name)
                for name in names
            ]
        return [each.result() for each in added]

    # --- pipelines and their pods -----------------------------------------------------------------

    def name(self, stem: str) -> str:
        """Return a name of the room's own for a repo or a pipeline."""
        return f"{stem}-{self.room}"

    async def pipeline(
        self, stem: str, script: str, *, repo: str, glob: str = "/*", **more: Any
    ) -> str:
        """Apply a pipeline that runs a shell script, in the room; return its name."""
        name = self.name(stem)
        transform = {"cmd": ["sh", "-c", script], "image": "users", **more.pop("transform", {})}
        spec = {
            "pipeline": {"name": name},
            "transform": transform,
            "input": {"pfs": {"repo": repo, "name": "in", "glob": glob}},
            "parallelism_spec": {"constant": 1},
            "scheduling_spec": {"node_selector": {ROOM: self.room}},
            **more,
        }
        if name not in self._pipelines:
            self._pipelines.append(name)
        await self.apply(spec)
        return name

    async def new_repo(self, stem: str) -> str:
        """Create a repo of the room's own; return its name."""
        name = self.name(stem)
        await self.repo(name)
        return name

    async def delete(self, pipeline: str) -> None:
        """Delete a pipeline, whatever depends on it."""
        request = api.PipelineDelete(name=pipeline, force=True)
        await self.client.call("pipeline.delete", request, records.Pipeline)

    async def pods_of(self, pipeline: str) -> list[Any]:
        """Return a pipeline's pods that are there, those that end among them."""
        listed = await self.pods.core.list_namespaced_pod(
            self.pods.namespace, label_selector=pods.SELECTOR
        )
        return [
            each for each in listed.items if each.metadata.annotations[pods.PIPELINE] == pipeline
        ]

    async def verified(self, pipeline: str, job: str) -> Report:
        """Look an ended job over, as `trunkline verify` does, and fail if anything is amiss."""
        files = self._job.mounted["auditor"]
        control, data = (
            services.login(self.server, files, role) for role in ("auditor", "auditor-data")
        )
        async with evidence.opened(control, data, self.client.store.url) as found:
            report = await verifying.verify(found, await found.job(pipeline, job))
        problem = verifying.as_error(report)
        if problem is not None:
            raise problem
        return report

    async def _tell(self) -> None:
        for process in (self.coordinator, self.scaler):
            print(f"--- {process.name}", process.tail(), sep="\n")
        for pipeline in self._pipelines:
            scaling = await self.scaling(pipeline) if self.coordinator.running else None
            print(f"--- {pipeline}", scaling, sep="\n")
            for pod in await self.pods_of(pipeline):
                for each in pod.status.container_statuses or []:
                    print(pod.metadata.name, each.name, each.state, each.last_state)
        print(*self.kubelet.told(1000), sep="\n")


@asynccontextmanager
async def running(
    kubeconfig: Path,
    folder: Path,
    *,
    pace: float = 1.0,
    bucket: str = "",
    access: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Whole]:
    """Install on the cluster of an administrator's kubeconfig; leave nothing there.

    Args:
        kubeconfig: The administrator's.
        folder: For all files; those of the store among them.
        pace: Of the kubelet's back-offs.
        bucket: URL of a store, if it is to be none of this machine's directories.
        access: By which variables it lets clients in; ours are set by who calls.
        settings: Further variables of the scaler and the coordinator.
    """
    name = f"tl-{secrets.token_hex(4)}"
    workers = f"{name}-workers"
    folder.chmod(0o755)
    async with await config.new_client_from_config(str(kubeconfig)) as connection:
        kubectl = Kubectl(kubeconfig)
        rights = kubectl.rights(name)
        kubectl("apply", "-f", "-", given=rights)
        try:
            made = Pods(connection, workers)
            async with asyncio.timeout(30):
                while not await accounts.can_have_pods(connection, workers):
                    await asyncio.sleep(0.02)
            job = Job(connection, name, folder)
            await job.run()
            mounted = job.mounted
            user = mounted["user"] / keys.creds_of("user")
            server = Server(folder / "nats", job.resolver, user)
            account = await accounts.kubeconfig(
                connection, name, "trunkline-scaler", folder / "scaler.kubeconfig"
            )
            environ = {"KUBECONFIG": str(account), "TRUNKLINE_NAMESPACE": workers}
            if bucket:
                secret = {
                    "metadata": {"name": services.STORE_SECRET},
                    "stringData": dict(access or {}),
                }
                await made.core.create_namespaced_secret(workers, secret)
            store = services.store(bucket, folder)
            environ |= store
            processes = services.processes(
                server, mounted, folder, environ, {**(access or {}), **(settings or {})}
            )
            async with (
                services.started(server, processes, folder),
                kubelets.running(connection, pace=pace) as nodes,
            ):
                nodes.images["users"], gates = images.with_gates(nodes.directory, USER_UID)
                async with clients.connect(server.url("user"), store["TRUNKLINE_STORE"]) as client:
                    whole = Whole(client, server, nodes, made, processes, kubectl, job)
                    whole.gates = gates
                    await _answers(whole)
                    yield whole
                    services.nothing_was_refused(folder)
                processes["scaler"].kill()  # first, so that what goes stays away
                await made.core.delete_collection_namespaced_pod(
                    workers, body={"gracePeriodSeconds": 0}
                )
        finally:
            kubectl("delete", "--wait=false", "-f", "-", given=rights)


async def _answers(whole: Whole) -> None:
    """Return once the coordinator answers."""

    async def look() -> bool:
        with contextlib.suppress(errors.UnavailableError):
            await whole.repo("first")
            return True
        return False

    await until(look, within_s=30, what="the coordinator's answer")
