"""The processes of an installation on a cluster: nats-server in operator mode, coordinator and scaler.

They are told what their Deployments tell them, but for figures that are small, so that tests are short.
"""

import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.cluster.plane.process import Process

from trunkline.bus import bootstrap as keys
from trunkline.bus import logins
from trunkline.bus.accounts import ServerSettings, server_lines
from trunkline.local.server import NatsServer
from trunkline.scaler.bootstrap import RESOLVER_DIR

STORE_SECRET = "trunkline-store"
ACK_WAIT_S = 3.0


class Server(NatsServer):
    """A nats-server that knows what the bootstrap job has made, and nobody by a password."""

    def __init__(self, directory: Path, resolver: str, user: Path) -> None:
        super().__init__(directory, port=0)
        self._user = user
        self.told(resolver)

    def told(self, resolver: str) -> None:
        """Take what the bootstrap job has made for servers, for the next start."""
        files = self.files
        settings = ServerSettings(
            port=self.credentials.port, store_dir=str(files.store), pid_file=str(files.pid)
        )
        block = resolver.replace(RESOLVER_DIR, str(self.directory / "resolver"))
        files.config.write_text("\n".join([*server_lines(settings), block]))

    @property
    def address(self) -> str:
        """Where it listens; who one is does not stand in it."""
        return f"nats://127.0.0.1:{self.credentials.port}"

    def url(self, user: str) -> str:
        """Return the URL by which people log in; services have files of their own."""
        assert user == "user"
        return logins.url_of(self.address, self._user)


def processes(
    server: Server,
    mounted: Mapping[str, Path],
    folder: Path,
    cluster: Mapping[str, str],
    settings: Mapping[str, str],
) -> dict[str, Process]:
    """Return the services' processes with the environments that their Deployments give them."""
    common = {
        **{key: text for key, text in os.environ.items() if not key.startswith("TRUNKLINE_")},
        "TRUNKLINE_STORE": cluster["TRUNKLINE_STORE"],
        "TRUNKLINE_RESYNC_S": "2",
    }
    scaler = {
        "TRUNKLINE_ISSUER_DIR": str(mounted["scaler"]),
        "TRUNKLINE_ISSUER_URL": login(server, mounted["scaler"], "issuer"),
        "TRUNKLINE_AGENT_IMAGE": "ours",
        "TRUNKLINE_WORKER_NATS_URL": server.address,
        "TRUNKLINE_AGENT_PROBE_PORT": "0",  # all pods of a process kubelet share one network
        "TRUNKLINE_GRACE_S": "20",
        "TRUNKLINE_STANDBY_COOL_DOWN_S": "1",
        "TRUNKLINE_CPU_REQUEST": "0.01",
        "TRUNKLINE_AGENT_CPU_REQUEST": "0.01",
        "TRUNKLINE_WORKER_ENVIRON": json.dumps({"TRUNKLINE_ACK_WAIT_S": str(ACK_WAIT_S)}),
        **cluster,
    }
    coordinator = {"TRUNKLINE_LOCAL": "false", "TRUNKLINE_ACK_WAIT_S": str(ACK_WAIT_S)}
    return {
        name: Process(
            name,
            [sys.executable, "-m", f"trunkline.{name}"],
            folder / f"{name}.log",
            {**common, **_own(name, server, mounted), **own, **settings},
        )
        for name, own in {"coordinator": coordinator, "scaler": scaler}.items()
    }


def _own(name: str, server: Server, mounted: Mapping[str, Path]) -> dict[str, str]:
    """Return who a service is."""
    files = mounted[name]
    return {
        "TRUNKLINE_CTL_URL": login(server, files, name),
        "TRUNKLINE_DATA_URL": login(server, files, f"{name}-data"),
        "TRUNKLINE_DATA_KEY": (files / keys.DATA_KEY).read_text(),
    }


def login(server: Server, files: Path, role: str) -> str:
    return logins.url_of(server.address, files / keys.creds_of(role))


def store(bucket: str, folder: Path) -> dict[str, str]:
    """Return where the store is, and how pods come to it."""
    if bucket:
        return {"TRUNKLINE_STORE": bucket, "TRUNKLINE_STORE_SECRET": STORE_SECRET}
    place = str(folder / "store")
    volume = json.dumps({"hostPath": {"path": place}})
    return {"TRUNKLINE_STORE": f"file://{place}", "TRUNKLINE_STORE_VOLUME": volume}


@asynccontextmanager
async def started(
    server: Server, processes: Mapping[str, Process], folder: Path
) -> AsyncIterator[None]:
    """Run the server and the services, which make files that other users may write beside."""
    umask = os.umask(0)
    try:
        folder.joinpath("store").mkdir(mode=0o777)
        await server.start()
        try:
            for each in processes.values():
                each.start()
            yield
        finally:
            for each in processes.values():
                each.kill()
            await server.kill()
    finally:
        os.umask(umask)


def nothing_was_refused(folder: Path) -> None:
    """Assert that the server has counted no violation, of whomever."""
    lines = (folder / "nats" / "server.log").read_text(errors="replace").splitlines()
    assert [line for line in lines if "violation" in line.lower()] == []
