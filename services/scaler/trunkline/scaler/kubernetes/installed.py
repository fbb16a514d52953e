"""The scaler of an installation on Kubernetes: its cluster, and its workers' credentials.

The API is reached by the pod's service account, or by the kubeconfig that `KUBECONFIG` names.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from kubernetes_asyncio import client, config

from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Table
from trunkline.bus.tables import KvTable
from trunkline.contracts import records, subjects
from trunkline.contracts.wards import Wards
from trunkline.runtime import settings
from trunkline.runtime.clock import SystemClock
from trunkline.runtime.leading import Fence
from trunkline.runtime.metrics import Meter
from trunkline.scaler import assembly, issuing
from trunkline.scaler.credentials import Keeper
from trunkline.scaler.kubernetes import cluster, pods
from trunkline.scaler.kubernetes.api import Api
from trunkline.scaler.kubernetes.pod_settings import PodSettings
from trunkline.scaler.kubernetes.shelf import SecretShelf
from trunkline.scaler.ports import Cluster, CredentialIssuer
from trunkline.scaler.settings import Settings
from trunkline.scaler.shelves import Directory

_LOOK_S = 10.0
"""Seconds between looks at Secrets while a pod does not come up: it may be for want of one."""


class IssuerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Each field is read from `TRUNKLINE_<FIELD>`."""

    issuer_dir: str = "/etc/trunkline"
    """Where the keys are mounted that the bootstrap job has made."""
    issuer_url: str = ""
    """NATS as the user `issuer` of SYS; empty: credentials end when they expire."""
    credentials_life_s: float = issuing.LIFE_S
    """Seconds for which workers' credentials count; made anew at two thirds of that."""


async def run(environ: Mapping[str, str]) -> None:
    """Scale until cancelled."""
    here = Installed(environ)
    await assembly.serve(
        here.own, here.connect, problems=lambda: here.problems, source=here.requests
    )


class Installed:
    """What a scaler is told by its environment, and what becomes of it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.own = settings.load(Settings, environ)
        self._pods = settings.load(PodSettings, environ)
        self._issuer = settings.load(IssuerSettings, environ)
        self._kept: Kept | None = None
        self.requests = Meter()
        """What is asked of the API server."""

    @property
    def problems(self) -> Sequence[str]:
        """What keeps credentials from being kept."""
        return self._kept.keeper.problems if self._kept else ()

    @asynccontextmanager
    async def connect(self, ctl: NatsConnection, holds: Fence) -> AsyncIterator[Cluster]:
        """Yield the cluster, and keep its workers' credentials."""
        given, clock, wards = self._issuer, SystemClock(), Wards(self.own.data_key)
        shelf = Directory(Path(given.issuer_dir))
        async with (
            await _connection(self._environ) as connection,
            issuing.opened(
                shelf,
                wards,
                url=given.issuer_url,
                clock=clock,
                life_s=given.credentials_life_s,
                holds=holds,
            ) as issuer,
            cluster.connect(
                connection, self._pods, clock, holds=holds, meter=self.requests
            ) as made,
        ):
            api = Api(
                connection, self._pods.namespace, pods.SELECTOR, holds=holds, meter=self.requests
            )
            self._kept = Kept(issuer, SecretShelf(api, made.owners, wards), made)
            table = KvTable(ctl, subjects.PIPELINES, records.Pipeline)
            async with asyncio.TaskGroup() as tasks:
                keeping = tasks.create_task(self._kept.run(table), name="keep-credentials")
                try:
                    yield made
                finally:
                    keeping.cancel()


class Kept:
    """The credentials of all pipelines that there are, or that have pods."""

    def __init__(
        self,
        issuer: CredentialIssuer,
        shelf: SecretShelf,
        made: cluster.KubernetesCluster,
    ) -> None:
        self._cluster = made
        self._names: set[str] = set()
        self.keeper = Keeper(issuer, shelf, wanted=self._wanted, clock=SystemClock())
        made.when_gone(self._gone)
        made.before_pods(self.keeper.ensure)
        made.owners.when_new(self.keeper.forget)
        made.troubled_by(self.keeper.trouble)

    async def run(self, table: Table[records.Pipeline]) -> None:
        """Keep them for ever. Nothing is revoked before all pipelines and pods are known."""
        await self._cluster.listed()
        async with table.watch() as batches, asyncio.TaskGroup() as tasks:
            begun = False
            async for batch in batches:
                for entry in batch:
                    if "." in entry.key:  # a version of the past
                        continue
                    there = entry.value is not None and entry.value.spec is not None
                    (self._names.add if there else self._names.discard)(entry.key)
                self.keeper.wake()
                if not begun:
                    begun = True
                    tasks.create_task(self.keeper.run(), name="credentials")
                    tasks.create_task(self._look_after_starts(), name="look-after-starts")

    async def _look_after_starts(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._cluster.starting():
                self.keeper.wake()

    def _gone(self, pipeline: str) -> None:
        """Look again if that was the last pod of a pipeline that is no more: its login is to end."""
        if pipeline not in self._wanted():
            self.keeper.wake()

    def _wanted(self) -> set[str]:
        return self._names | self._cluster.pipelines()


async def _connection(environ: Mapping[str, str]) -> client.ApiClient:
    if path := environ.get("KUBECONFIG"):
        return await config.new_client_from_config(path)
    configuration = client.Configuration()
    load: Any = config.load_incluster_config  # it has no types
    load(client_configuration=configuration)
    return client.ApiClient(configuration)
