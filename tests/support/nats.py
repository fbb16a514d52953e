"""A real nats-server of a test's own, with all accounts, and connections to it by role."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
from tests.support.wards import DATA_KEY, WARDS, ward

from trunkline.bus import jetstream, topology
from trunkline.bus.accounts import worker_user
from trunkline.bus.connection import NatsConnection, connect
from trunkline.contracts import errors, subjects
from trunkline.local.credentials import LocalIssuer
from trunkline.local.server import NatsServer
from trunkline.local.server_files import Credentials
from trunkline.runtime.private import write_private

S = TypeVar("S", bound="TestServer")
_TAKEN = "address already in use"


class TestServer(NatsServer):
    """`async with server.connect("coordinator") as conn`; kill() and start() as often as needed."""

    __test__ = False

    def __init__(self, directory: Path) -> None:
        known(directory)
        super().__init__(directory, port=0)
        self.issuer = LocalIssuer(directory)

    @property
    def found_its_port_taken(self) -> bool:
        """Whether somebody took a port of its between our choice and its start."""
        return port_was_taken(self)

    async def restart(self) -> None:
        """Crash it and start it again on the same files."""
        await self.kill()
        await self.start()

    @asynccontextmanager
    async def connect(self, role: str, *, name: str = "") -> AsyncIterator[NatsConnection]:
        """Connect as any role but a worker."""
        inbox = {
            "user": subjects.user_inbox("test"),
            "coordinator": subjects.COORDINATOR_INBOX,
            "coordinator-data": subjects.COORDINATOR_INBOX,
            "scaler": subjects.SCALER_INBOX,
            "scaler-data": subjects.SCALER_INBOX,
            "auditor": subjects.AUDITOR_INBOX,
            "auditor-data": subjects.AUDITOR_INBOX,
        }[role]
        api = subjects.data_api(WARDS) if role.endswith("-data") else jetstream.API
        async with connect(self.url(role), name=name or role, inbox=inbox, api=api) as connection:
            yield connection

    @asynccontextmanager
    async def connect_worker(
        self, pipeline: str, worker: str = "w1"
    ) -> AsyncIterator[NatsConnection]:
        """Connect as a worker of a pipeline; its user is made if it is not there."""
        url = await self.issuer.worker_url(pipeline)
        inbox = subjects.worker_inbox(ward(pipeline), worker)
        async with connect(url, name=worker, inbox=inbox) as connection:
            yield connection

    async def declare(self, *pipelines: str) -> None:
        """Make all streams and buckets, and the work queues of these pipelines."""
        async with self.connect("coordinator") as ctl, self.connect("coordinator-data") as data:
            await topology.declare_ctl(ctl)
            await topology.declare_data(data)
            for pipeline in pipelines:
                await topology.declare_pipeline(data, ward(pipeline))


@asynccontextmanager
async def running(make: Callable[[], S]) -> AsyncIterator[S]:
    """Run what is made, on ports that nobody else took meanwhile."""
    while True:
        server = make()
        try:
            await server.start()
        except (errors.UnavailableError, ExceptionGroup, TimeoutError):
            await server.kill()
            if not server.found_its_port_taken:
                raise
        else:
            break
    try:
        yield server
    finally:
        await server.kill()


def port_was_taken(server: NatsServer) -> bool:
    """Whether a server has said that another process listens where it should."""
    return server.log.exists() and _TAKEN in server.log.read_text(errors="replace")


def known(directory: Path) -> None:
    """Have the servers of a directory made with the data key of all tests."""
    with_key = Credentials(port=0, passwords={}, data_key=DATA_KEY)
    write_private(directory / "credentials.json", msgspec.json.encode(with_key))


__all__ = ["TestServer", "running", "worker_user"]
