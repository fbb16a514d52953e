"""A cluster of three real nats-servers, with the accounts and the methods of `TestServer`.

Servers reach each other through lines that a test may cut: `cut(2)` leaves the second one alone, with
all of its clients. A server is ready as soon as it answers; the cluster is when they know each other, too: what one
tells before its way to another is there is heard by nobody there, and before one of them leads, JetStream is silent.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support import nats
from tests.support.nats import TestServer, known
from tests.support.wards import WARDS

from trunkline.bus.connection import NatsConnection, connect
from trunkline.bus.ports import Message
from trunkline.contracts import errors, subjects
from trunkline.local import credentials
from trunkline.local.credentials import LocalIssuer
from trunkline.local.server import NatsServer
from trunkline.scaler import hearing

SERVERS = 3
NUMBERS = range(1, SERVERS + 1)
IN_TOUCH_S = 60.0
"""Votes are cast anew every few seconds; on a busy machine it takes some."""
_NOWHERE = "127.0.0.1:1"
"""What a server tells the others of where it is, so that they know no way but the lines."""


class TestCluster(TestServer):
    """`start` and `kill` are of all servers at once; `servers` are the single ones.

    Args:
        directory: Of all of them.
        lines: Whether what is between them may be cut.
    """

    __test__ = False

    def __init__(self, directory: Path, *, lines: bool = False) -> None:
        known(directory)
        self.directory = directory
        self.credentials = credentials.prepare(directory, port=0, servers=SERVERS)
        self.servers = [
            NatsServer(directory, prepared=self.credentials, number=number) for number in NUMBERS
        ]
        self.issuer = LocalIssuer(directory)
        self._has_lines = lines
        self._lines: dict[tuple[int, int], _Line] = {}
        self._cut: set[int] = set()

    def url(self, user: str, *, server: int | None = None) -> str:
        return self.credentials.url(user, server=server)

    @property
    def found_its_port_taken(self) -> bool:
        return any(nats.port_was_taken(each) for each in self.servers)

    async def start(self) -> None:
        if self._has_lines:
            await self._open_lines()
        async with asyncio.TaskGroup() as tasks:
            for each in self.servers:
                tasks.create_task(each.start(), name=f"server-{each.number}")
        async with asyncio.timeout(IN_TOUCH_S), self.connect("coordinator") as connection:
            await self._each_hears_all()
            while not await _led(connection):
                await asyncio.sleep(0.02)

    async def _each_hears_all(self) -> None:
        """Return once each server tells of the clients that come to any of them."""
        async with contextlib.AsyncExitStack() as ends:
            heard = [
                await ends.enter_async_context(self._hearing_of_clients(number))
                for number in NUMBERS
            ]
            names = {f"at-{number}" for number in NUMBERS}
            while not all(names <= each for each in heard):
                for number in NUMBERS:
                    async with self._at("coordinator-data", number, f"at-{number}"):
                        await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def _hearing_of_clients(self, number: int) -> AsyncIterator[set[str]]:
        """Yield the names of clients of which a server tells."""
        names: set[str] = set()

        async def take(message: Message) -> None:
            event = hearing.client_event(message)
            assert event is not None
            names.add(event.client.name)

        async with self._at("scaler-data", number, f"ear-{number}") as there:
            await there.serve(subjects.connects(WARDS), take)
            yield names

    def _at(
        self, role: str, number: int, name: str
    ) -> contextlib.AbstractAsyncContextManager[NatsConnection]:
        inbox = subjects.SCALER_INBOX if "scaler" in role else subjects.COORDINATOR_INBOX
        return connect(self.url(role, server=number), name=name, inbox=inbox)

    async def kill(self) -> None:
        for each in self.servers:
            await each.kill()
        for line in self._lines.values():
            line.close()

    async def _open_lines(self) -> None:
        """Have the servers reach each other through lines."""
        for server in self.servers:
            for number, port in enumerate(self.credentials.routes, 1):
                if number != server.number:
                    line = self._lines[server.number, number] = _Line(port)
                    await line.open()
            text = server.files.config.read_text()
            [(old, listed)] = re.findall(r"(  routes: (.*))", text)
            routes = [
                each.replace(f":{port}", f":{self._lines[server.number, number].port}")
                for number, (each, port) in enumerate(
                    zip(json.loads(listed), self.credentials.routes, strict=True), 1
                )
                if number != server.number
            ]
            new = f"  routes: {json.dumps(routes)}\n  advertise: {json.dumps(_NOWHERE)}"
            server.files.config.write_text(text.replace(old, new))

    def cut(self, number: int) -> None:
        """Leave a server alone."""
        for ends, line in self._lines.items():
            if number in ends:
                line.cut()

    def mend(self) -> None:
        """Let all lines be whole again."""
        for line in self._lines.values():
            line.whole = True


async def _led(connection: NatsConnection) -> bool:
    """Whether JetStream answers: who leads the cluster does."""
    try:
        await connection.js_api("STREAM.NAMES", timeout_s=0.5)
    except errors.UnavailableError:
        return False
    return True


class _Line:
    """A way to a port that may be cut."""

    def __init__(self, to: int) -> None:
        self.to, self.whole, self.port = to, True, 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()

    def cut(self) -> None:
        self.whole = False
        for each in self._writers:
            each.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self.whole:
                with contextlib.suppress(OSError):
                    far, there = await asyncio.open_connection("127.0.0.1", self.to)
                    self._writers.add(there)
                    await asyncio.gather(_relay(reader, there), _relay(far, writer))
                    self._writers.discard(there)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
