"""The scaler's cluster on one machine: the process pool, and logical nodes.

A logical node is a number in the bucket of nodes (`trunkline nodes set 4`): it makes a coefficient
mean something where there is one machine, and is written beside each worker to be shown. Workers
are dealt out to the nodes evenly; nothing of a node is reserved or enforced.
"""

import asyncio
import collections
import contextlib
import logging
import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from trunkline.bus.ports import Table
from trunkline.contracts import errors, records
from trunkline.contracts.spec import PipelineSpec
from trunkline.local import pool_wire
from trunkline.local.pool_client import PoolAwayError, PoolClient
from trunkline.runtime.leading import Fence
from trunkline.scaler.ports import (
    ANYWHERE,
    Changed,
    ClusterEvent,
    ClusterUnavailableError,
    ClusterView,
    CredentialIssuer,
    Gone,
    Node,
    Placement,
    Worker,
    WorkerRefusedError,
    WorkerSpec,
)

log = logging.getLogger(__name__)

NODES_KEY = "local"


class LocalCluster:
    """See `scaler.ports.Cluster`. Made by `connect`.

    Args:
        socket: Of the pool.
        nodes: The bucket of logical nodes.
        issuer: Makes workers' credentials.
        environ: What each worker is told beside what is its own.
        default_nodes: How many there are before anybody has set a number.
        grace_s: How long a worker may take to end.
        holds: Whether this process leads at this instant: nothing is changed otherwise.
    """

    def __init__(
        self,
        socket: Path,
        nodes: Table[records.Nodes],
        issuer: CredentialIssuer,
        *,
        environ: Mapping[str, str],
        default_nodes: int,
        grace_s: float,
        holds: Fence,
    ) -> None:
        self._pool = PoolClient(socket, self._told)
        self._table, self._issuer, self._environ = nodes, issuer, dict(environ)
        self._grace_s, self._holds = grace_s, holds
        self._default_nodes = self._nodes = default_nodes
        self._nodes_known = asyncio.Event()
        self._events: collections.deque[ClusterEvent] = collections.deque(maxlen=10_000)
        self._happened = asyncio.Event()
        self._placed: dict[str, str] = {}
        """Worker -> node, of those that were listed last and those made since."""

    async def look(self) -> ClusterView:
        """Return the nodes, and the workers that the pool has."""
        await self._nodes_known.wait()
        answer = await self._ask(lambda number: pool_wire.List(id=number))
        workers = tuple(_worker(process) for process in answer.workers)
        self._placed = {worker.name: worker.node for worker in workers}
        nodes = tuple(Node(name=name) for name in self._node_names())
        return ClusterView(nodes=nodes, workers=workers)

    def makes(self, pipeline: PipelineSpec) -> str:
        """Return that all workers are alike: what a spec says reaches them with its jobs."""
        del pipeline
        return ""

    def placement(self, pipeline: PipelineSpec) -> Placement:
        """Return that logical nodes are all alike: they have no labels and no taints."""
        del pipeline
        return ANYWHERE

    async def create(self, worker: WorkerSpec) -> None:
        """Start a worker, on the node that has the fewest."""
        self._must_lead()
        try:
            issued = await self._issuer.issue(worker.pipeline)
        except errors.UnavailableError as error:
            raise ClusterUnavailableError("credentials for workers", str(error)) from error
        self._must_lead()
        node = self._emptiest()
        self._placed[worker.name] = node
        instance = secrets.token_hex(8)
        environ = {
            **self._environ,
            "TRUNKLINE_DATA_URL": issued.text,
            "TRUNKLINE_PIPELINE": worker.pipeline,
            "TRUNKLINE_WARD": worker.ward,
            "TRUNKLINE_WORKER": worker.name,
            "TRUNKLINE_INSTANCE": instance,
            "TRUNKLINE_CODE_HASH": worker.code_hash,
        }
        labels = {
            "pipeline": worker.pipeline,
            "code_hash": worker.code_hash,
            "node": node,
            "instance": instance,
        }
        answer = await self._ask(
            lambda number: pool_wire.Create(
                id=number, name=worker.name, environ=environ, labels=labels
            )
        )
        match answer.code:
            case "":
                return
            case "exists":
                raise errors.AlreadyExistsError("worker", worker.name)
            case "stopping":
                raise ClusterUnavailableError("the process pool", answer.text)
            case _:
                raise WorkerRefusedError(worker.name, answer.text)

    async def delete(self, name: str) -> None:
        """Tell a worker to end."""
        self._must_lead()
        await self._ask(
            lambda number: pool_wire.Delete(id=number, name=name, grace_s=self._grace_s)
        )

    async def watch(self) -> AsyncIterator[ClusterEvent]:
        """Tell what happens."""
        while True:
            while self._events:
                yield self._events.popleft()
            self._happened.clear()
            await self._happened.wait()

    async def follow_nodes(self) -> None:
        """Keep the number of logical nodes known, for ever."""
        async with self._table.watch() as batches:
            async for batch in batches:
                for entry in batch:
                    if entry.key == NODES_KEY:
                        self._nodes = entry.value.count if entry.value else self._default_nodes
                self._nodes_known.set()
                self._tell(Changed())

    async def follow_pool(self) -> None:
        """Stay connected to the pool, for ever."""
        await self._pool.run()

    def _must_lead(self) -> None:
        if not self._holds():
            raise ClusterUnavailableError("the process pool", "this scaler does not lead right now")

    def _node_names(self) -> list[str]:
        return [f"node-{number}" for number in range(1, self._nodes + 1)]

    def _emptiest(self) -> str:
        load = collections.Counter(self._placed.values())
        return min(self._node_names(), key=lambda name: load[name], default="")

    async def _ask(self, make: Callable[[int], pool_wire.Request]) -> pool_wire.Answer:
        try:
            return await self._pool.ask(make)
        except PoolAwayError as error:
            raise ClusterUnavailableError("the process pool", error.reason) from error

    def _told(self, event: pool_wire.Started | pool_wire.Exited | None) -> None:
        if isinstance(event, pool_wire.Exited):
            self._tell(
                Gone(
                    worker=_worker(event.worker),
                    reason=_how(event),
                    clean=event.exit_code == 0,
                    lived_s=event.lived_s,
                )
            )
        else:
            self._tell(Changed())

    def _tell(self, event: ClusterEvent) -> None:
        self._events.append(event)
        self._happened.set()


@asynccontextmanager
async def connect(
    socket: Path,
    nodes: Table[records.Nodes],
    issuer: CredentialIssuer,
    *,
    environ: Mapping[str, str],
    default_nodes: int | None = None,
    grace_s: float = 30.0,
    holds: Fence = lambda: True,
) -> AsyncIterator[LocalCluster]:
    """Yield the cluster, followed in the background."""
    cluster = LocalCluster(
        socket,
        nodes,
        issuer,
        environ=environ,
        default_nodes=default_nodes or os.cpu_count() or 1,
        grace_s=grace_s,
        holds=holds,
    )
    async with asyncio.TaskGroup() as tasks:
        followed = [
            tasks.create_task(cluster.follow_nodes(), name="follow-nodes"),
            tasks.create_task(cluster.follow_pool(), name="follow-pool"),
        ]
        try:
            yield cluster
        finally:
            for task in followed:
                task.cancel()


def _worker(process: pool_wire.Process) -> Worker:
    return Worker(
        name=process.name,
        pipeline=process.labels.get("pipeline", ""),
        code_hash=process.labels.get("code_hash", ""),
        node=process.labels.get("node", ""),
        instance=process.labels.get("instance", f"{process.pid}/{process.created_ns}"),
        created_ns=process.created_ns,
        stopping=process.stopping,
    )


def _how(event: pool_wire.Exited) -> str:
    if event.signal is None:
        return f"exit code {event.exit_code}"
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(event.signal).name}"
    return f"killed by signal {event.signal}"


def handed_on(environ: Mapping[str, str], *ours: type[msgspec.Struct]) -> dict[str, str]:
    """Return what of our environment is meant for workers: all that is not ours, and no URL.

    URLs hold passwords, and a worker's own are made for it.
    """
    own = {f"TRUNKLINE_{name.upper()}" for kind in ours for name in kind.__struct_fields__}
    return {
        name: text
        for name, text in environ.items()
        if name.startswith("TRUNKLINE_") and name not in own and not name.endswith("URL")
    }
