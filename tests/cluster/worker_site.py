"""An installation whose workers are pods: a server in operator mode, a coordinator, and pods as a test makes them.

The pods are those that `worker_pod` makes; who decides how many there are is the test.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.cluster.kubelet import images
from tests.cluster.kubelet.kubelet import Kubelet
from tests.cluster.pods import Pods
from tests.support.installation import Installation
from tests.support.operator import OperatorServer
from tests.support.wards import DATA_KEY, ward

from trunkline.client import client as clients
from trunkline.contracts import errors, spec_parsing
from trunkline.contracts.spec import code_hash
from trunkline.coordinator import assembly
from trunkline.coordinator.settings import Settings
from trunkline.scaler.kubernetes import object_names, pods
from trunkline.scaler.kubernetes.pod_settings import PodSettings
from trunkline.scaler.kubernetes.pods import Manifest, Owner, worker_pod
from trunkline.scaler.ports import WorkerSpec

USER_UID = 20002
ACK_WAIT_S = 3.0


class Site(Installation):
    """What a test does with it."""

    def __init__(
        self, client: clients.Client, server: OperatorServer, made: Pods, store: Path
    ) -> None:
        super().__init__(store.parent, None, client)
        self.server, self.pods, self.store = server, made, store
        self.gates = Path()
        """Of commands, which cannot write there: who has come is seen otherwise."""

    async def up(self) -> None:
        """Return once the coordinator has made the repo that all pipelines read."""
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(errors.UnavailableError):
                    await self.repo("texts")
                    return
                await asyncio.sleep(0.05)

    def settings(self, **other: Any) -> PodSettings:
        volume = {"hostPath": {"path": str(self.store)}}
        given = {
            "namespace": self.pods.namespace,
            "agent_image": "ours",
            "worker_nats_url": f"nats://127.0.0.1:{self.server.credentials.port}",
            "store": f"file://{self.store}",
            "store_volume": json.dumps(volume),
            "grace_s": 20,
            "agent_probe_port": 0,  # all pods of a process kubelet share one network
            "worker_environ": json.dumps({"TRUNKLINE_ACK_WAIT_S": str(ACK_WAIT_S)}),
            **other,
        }
        return PodSettings(**given)

    async def pipeline(self, name: str, script: str, **more: Any) -> Mapping[str, Any]:
        """Apply a pipeline that runs a shell script on each file of `texts`; give its workers a home."""
        transform = {"cmd": ["sh", "-c", script], "image": "users", **more.pop("transform", {})}
        spec = {
            "pipeline": {"name": name},
            "transform": transform,
            "input": {"pfs": {"repo": "texts", "glob": "/*"}},
            "parallelism_spec": {"constant": 1},
            **more,
        }
        await self.apply(spec)
        return spec

    async def owner(self, pipeline: str) -> Owner:
        """Create what owns a pipeline's pods, and the Secret that they log in with."""
        name, secret = (
            object_names.owner_name(pipeline),
            object_names.credentials_name(pipeline),
        )
        body = {"metadata": {"name": name}}
        made = await self.pods.core.create_namespaced_config_map(self.pods.namespace, body)
        creds = self.server.issuer.minted(pipeline).text()
        data = pods.credentials_data(creds, ward(pipeline).token)
        body = {"metadata": {"name": secret}, "stringData": data}
        await self.pods.core.create_namespaced_secret(self.pods.namespace, body)
        return Owner(name=name, uid=made.metadata.uid)

    def pod(self, spec: Mapping[str, Any], owner: Owner, number: int = 0, **of: Any) -> Manifest:
        """Return the pod of a pipeline's worker."""
        parsed = spec_parsing.parse(json.dumps(spec).encode())
        code = code_hash(parsed.transform)
        worker = WorkerSpec(
            name=f"{parsed.name}-{code[:8]}-{number}",
            pipeline=parsed.name,
            ward=ward(parsed.name).token,
            code_hash=code,
            spec=parsed,
        )
        return worker_pod(worker, self.settings(**of), owner)

    async def start(self, spec: Mapping[str, Any], count: int = 1, **of: Any) -> list[str]:
        """Create pods of a pipeline; return their names."""
        owner = await self.owner(spec["pipeline"]["name"])
        made = [self.pod(spec, owner, number, **of) for number in range(count)]
        await self.pods.create(*made)
        return [each["metadata"]["name"] for each in made]


@asynccontextmanager
async def running(
    server: OperatorServer, made: Pods, kubelet: Kubelet, folder: Path
) -> AsyncIterator[Site]:
    """Run a coordinator on a node with images; print what the containers have said if the test fails."""
    kubelet.images["users"], gates = images.with_gates(kubelet.directory, USER_UID)
    store = folder / "store"
    umask = os.umask(0)  # agents write as another user into what we have made
    store.mkdir(mode=0o777)
    settings = Settings(
        ctl_url=server.url("coordinator"),
        data_url=server.url("coordinator-data"),
        data_key=DATA_KEY,
        store=f"file://{store}",
        ack_wait_s=ACK_WAIT_S,
        resync_s=2.0,
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(assembly.serve(settings), name="coordinator")
            async with clients.connect(server.url("user"), settings.store) as client:
                site = Site(client, server, made, store)
                site.gates = gates
                try:
                    await site.up()
                    yield site
                finally:
                    await _tell(made, kubelet)  # pytest shows it if the test has failed
            running.cancel()
    finally:
        os.umask(umask)


async def _tell(made: Pods, kubelet: Kubelet) -> None:
    """Print what is known of the pods, and what their containers have said."""
    for pod in (await made.core.list_namespaced_pod(made.namespace)).items:
        for each in [
            *(pod.status.init_container_statuses or []),
            *(pod.status.container_statuses or []),
        ]:
            print(pod.metadata.name, each.name, each.state, each.last_state)
    print(*kubelet.told(3000), sep="\n")


__all__ = ["Site", "running"]
