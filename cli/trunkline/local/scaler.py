"""The scaler of an installation on one machine: `python -m trunkline.local.scaler`.

It is the scaler as it is everywhere, with the process pool as its cluster.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from trunkline.bus.connection import NatsConnection
from trunkline.bus.tables import KvTable
from trunkline.contracts import records, subjects
from trunkline.local import cluster
from trunkline.local.credentials import LocalIssuer
from trunkline.local.home import Home, default_root
from trunkline.runtime import ending, logs, settings, stopping
from trunkline.runtime.leading import Fence
from trunkline.scaler import assembly
from trunkline.scaler.ports import Cluster
from trunkline.scaler.settings import Settings


class LocalSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Each field is read from `TRUNKLINE_<FIELD>`."""

    home: str
    """The state directory."""
    store: str
    """URL of the object store, for the workers."""
    nodes: int = 0
    """Logical nodes until somebody sets a number; 0: one per processor."""
    worker_grace_s: float = 30.0
    """How long a worker that is deleted may take to end."""


async def run(environ: Mapping[str, str]) -> None:
    """Scale until cancelled."""
    environ = {"TRUNKLINE_HOME": str(default_root(environ)), **environ}
    config = settings.load(LocalSettings, environ)
    home = Home(Path(config.home))

    @asynccontextmanager
    async def connect(ctl: NatsConnection, holds: Fence) -> AsyncIterator[Cluster]:
        async with cluster.connect(
            home.pool_socket,
            KvTable(ctl, subjects.NODES, records.Nodes),
            LocalIssuer(home.nats),
            environ={
                **cluster.handed_on(environ, Settings, LocalSettings),
                "TRUNKLINE_STORE": config.store,
                "TRUNKLINE_SECRETS_DIR": str(home.secrets),
            },
            default_nodes=config.nodes or None,
            grace_s=config.worker_grace_s,
            holds=holds,
        ) as made:
            yield made

    await assembly.serve(settings.load(Settings, environ), connect)


def main() -> None:
    """Entry point of the process."""
    logs.configure("scaler")
    stopping.run(run(os.environ))


if __name__ == "__main__":
    ending.run(main)
