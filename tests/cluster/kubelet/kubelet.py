"""A kubelet whose containers are processes of this machine, for as many nodes as a test wants.

It lists and watches all pods of the cluster and looks after those that are bound to nodes of its own,
each in a task (`pod.py`). After any failure of the watch it lists again, and takes what it knows and
the list lacks for deleted. It holds no state of its own: what it does not remember it does not find again,
as on a node whose disk was lost.

What differs from a node: all pods share the host's network (a pod's address is one of 127.0.0.0/8 of its own: two
servers can have one port if each listens at its own address), names are in files (`names.py`), probes ask by HTTP or
a command, `preStop` is the only hook and a command, there are no logs by the API (`log()` has them), and resources are
counted by the scheduler but limited for memory only.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

from kubernetes_asyncio import client
from tests.cluster import leftovers
from tests.cluster.kubelet import images, names, sandbox
from tests.cluster.kubelet.api import TROUBLE, Api
from tests.cluster.kubelet.container import Terms
from tests.cluster.kubelet.images import Images
from tests.cluster.kubelet.node import Node
from tests.cluster.kubelet.pod import PodLife
from tests.cluster.kubelet.statuses import Object

CAPACITY: Mapping[str, str] = {"cpu": "8", "memory": "32Gi", "pods": "110"}
IN_A_HURRY = 0.02
"""A pace of back-offs and retries: 10 s are 0.2 s."""
_RELIST_S = 0.2
_RENAME_S = 0.1


class Kubelet:
    """Made by `running()`."""

    def __init__(self, api: Api, directory: Path, terms: Terms, tasks: asyncio.TaskGroup) -> None:
        self._api, self.directory, self.terms, self._tasks = api, directory, terms, tasks
        self.nodes: dict[str, Node] = {}
        self._pods: dict[str, PodLife] = {}
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._relist = asyncio.Event()
        self._addresses, self._net = count(1), 2 + os.getpid() % 250
        self._renamed = asyncio.Event()

    @property
    def images(self) -> Images:
        """The table of images; a test may add to it at any time."""
        return self.terms.images

    async def add_node(
        self,
        name: str,
        *,
        capacity: Mapping[str, str] = CAPACITY,
        labels: Mapping[str, str] | None = None,
        taints: Sequence[Object] = (),
    ) -> Node:
        """Register a node, which is Ready at once."""
        node = Node(self._api, name, capacity=capacity, labels=labels or {}, taints=taints)
        self.nodes[name] = node
        await node.register()
        self._tasks.create_task(node.beat(), name=f"heartbeat-{name}")
        return node

    async def add_nodes(self, names: Iterable[str]) -> list[Node]:
        """Register many nodes at once."""
        async with asyncio.TaskGroup() as tasks:
            added = [tasks.create_task(self.add_node(name), name=name) for name in names]
        return [one.result() for one in added]

    async def kill_node(self, name: str) -> None:
        """Cut a node's power: all its processes die, and nothing is said any more."""
        node = self.nodes.pop(name)
        node.gone.set()
        lost = [uid for uid, pod in self._pods.items() if pod.node == name]
        for uid in lost:
            self._lives[uid].cancel()
        if lost:
            await asyncio.wait([self._lives[uid] for uid in lost])
        for uid in lost:
            del self._pods[uid], self._lives[uid]

    async def remove_node(self, name: str) -> None:
        """Cut a node's power, and remove it from the API, as a cloud does with a machine."""
        node = self.nodes[name]
        await self.kill_node(name)
        await node.unregister()

    def evict(self, namespace: str, pod: str, *, message: str = "", grace_s: float = 1) -> None:
        """Put a pod out, as a node does that runs short of something."""
        self._find(namespace, pod).evict(
            message or "The node was low on resource: memory.", grace_s
        )

    def pid(self, namespace: str, pod: str, container: str) -> int:
        """Return the process id, on the host, of what a container runs now.

        Raises:
            LookupError: It runs nothing.
        """
        running = self._find(namespace, pod).container(container).sandbox
        if running is None:
            message = f"{namespace}/{pod}/{container} does not run"
            raise LookupError(message)
        return running.pid

    def log(self, namespace: str, pod: str, container: str) -> str:
        """Return what a container has written since it was last started."""
        path = self._find(namespace, pod).container(container).log()
        return path.read_text(errors="replace") if path.exists() else ""

    def told(self, most: int) -> Iterator[str]:
        """Yield the last that each container has said, beside its name; pods go meanwhile, and their files with them."""
        for path in sorted(self.directory.glob("*/containers/*/*.log")):
            with contextlib.suppress(FileNotFoundError):
                text = path.read_text(errors="replace")
                yield f"--- {path.relative_to(self.directory)}\n{text[-most:]}"

    def _find(self, namespace: str, name: str) -> PodLife:
        for life in self._pods.values():
            if (life.pod["metadata"]["namespace"], life.pod["metadata"]["name"]) == (
                namespace,
                name,
            ):
                return life
        message = f"no pod {namespace}/{name} on a node of this kubelet"
        raise LookupError(message)

    async def follow_pods(self) -> None:
        """Look after the pods of all nodes until cancelled."""
        while True:
            with contextlib.suppress(*TROUBLE):
                pods, version = await self._api.pods()
                listed = {pod["metadata"]["uid"]: pod for pod in pods}
                for uid in self._pods.keys() - listed.keys():
                    self._pods[uid].forget()
                for pod in pods:
                    self._see(pod)
                async for kind, pod in self._api.watch_pods(version):
                    if kind == "DELETED":
                        self._forget(pod)
                    else:
                        self._see(pod)
            await asyncio.sleep(_RELIST_S)

    def _see(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        if life := self._pods.get(uid):
            life.see(pod)
        elif pod["spec"].get("nodeName") in self.nodes and not _ended(pod):
            number = next(self._addresses)
            ip = f"127.{self._net}.{number // 250}.{number % 250 + 1}"
            life = PodLife(pod, ip, self.directory / uid, self._api, self.terms, self._renamed.set)
            self._pods[uid] = life
            self._lives[uid] = self._tasks.create_task(self._live(uid, life), name=f"pod-{uid}")

    async def keep_names(self) -> None:
        """Keep the names up to date by which pods call each other, until cancelled."""
        while True:
            await self._renamed.wait()
            self._renamed.clear()
            with contextlib.suppress(*TROUBLE):
                services = await self._api.services()
                behind = [life.behind for life in self._pods.values()]
                for life in self._pods.values():
                    life.name(names.hosts(life.pod, services, behind))
            await asyncio.sleep(_RENAME_S)

    def _forget(self, pod: Object) -> None:
        if life := self._pods.get(pod["metadata"]["uid"]):
            life.forget()

    async def _live(self, uid: str, life: PodLife) -> None:
        await life.live()
        del self._pods[uid], self._lives[uid]
        self._renamed.set()


def _ended(pod: Object) -> bool:
    """Say whether there is nothing left to be run of a pod that is seen for the first time."""
    return pod["status"].get("phase") in ("Succeeded", "Failed") and (
        "deletionTimestamp" not in pod["metadata"]
    )


@contextlib.asynccontextmanager
async def running(
    connection: client.ApiClient,
    *,
    table: Images | None = None,
    pace: float = 1.0,
    whole_ooms: bool = False,
    by_looking: bool = False,
) -> AsyncIterator[Kubelet]:
    """Run a kubelet, without nodes at first. Nodes that are left are removed when it ends.

    Raises:
        NamespacesRefusedError: This machine lets us make no containers.
    """
    api = Api(connection)
    server = urlsplit(api.url)
    terms = Terms(
        images=images.usual() if table is None else table,
        pace=pace,
        whole_ooms=whole_ooms,
        by_looking=by_looking,
        server_env={
            "KUBERNETES_SERVICE_HOST": server.hostname or "",
            "KUBERNETES_SERVICE_PORT": str(server.port or 443),
        },
    )
    directory = leftovers.make(Path(tempfile.gettempdir()), "kubelet")
    try:
        await sandbox.prove(directory)
        async with asyncio.TaskGroup() as tasks:
            kubelet = Kubelet(api, directory, terms, tasks)
            following = tasks.create_task(kubelet.follow_pods(), name="follow-pods")
            naming = tasks.create_task(kubelet.keep_names(), name="keep-names")
            try:
                yield kubelet
            finally:
                following.cancel()
                naming.cancel()
                for name in list(kubelet.nodes):
                    await kubelet.remove_node(name)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
