"""A hostile worker of the pipeline `attacker`, which does only what its permissions allow.

It stores an outcome of its own, whose bytes it chooses, and asks for it by a direct get with somebody
else's subject as the reply subject. The server checks who may ask, not where the answer goes. An
empty message is had more cheaply: any pull has one sent.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from tests.support.nats import TestServer
from tests.support.wards import ward

from trunkline.bus.connection import NatsConnection
from trunkline.bus.publishing import Window
from trunkline.contracts import subjects

JOB = "a" * 32
"""One id for the jobs of both pipelines, as in any job set: the attacker knows it."""
CHOSEN = b'{"chosen": "by the attacker"}'
EMPTY_BODIES = ("direct get of an empty outcome", "direct get of nothing", "status of a pull")


class Attacker:
    """A worker of the pipeline `attacker`, by its connection."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection
        self._baits = 0

    async def put(self, subject: str, headers: Mapping[str, str]) -> None:
        """Store a message of its own with these headers."""
        await Window(self._connection).put(subject, b"", headers=headers)

    async def answer_to(self, *replies: str, data: bytes = CHOSEN) -> None:
        """Have the server send these bytes to these subjects; return once it has."""
        bait = subjects.outcome(ward("attacker"), JOB, self._baits, 1)
        self._baits += 1
        # without a Msg-Id, by which a stream would take all its copies for one message
        await self._connection.request(bait, data)
        await self._ask(f"$JS.API.DIRECT.GET.{subjects.OUTCOMES_STREAM}.{bait}", b"", replies)

    async def send_nothing_to(self, how: str, *replies: str) -> None:
        """Have the server send an empty message there, in one of the ways in EMPTY_BODIES."""
        api, ours = "$JS.API", ward("attacker")
        if how == EMPTY_BODIES[0]:
            await self.answer_to(*replies, data=b"")
        elif how == EMPTY_BODIES[1]:
            nothing = subjects.attempts(ours, JOB, 0)
            await self._ask(f"{api}.DIRECT.GET.{subjects.ATTEMPTS_STREAM}.{nothing}", b"", replies)
        else:
            pull = f"{api}.CONSUMER.MSG.NEXT.{subjects.datums_stream(ours.pipeline)}.{JOB}"
            await self._ask(pull, b'{"batch": 1, "no_wait": true}', replies)

    async def _ask(self, subject: str, data: bytes, replies: Sequence[str]) -> None:
        came = asyncio.Event()
        inbox, _ = self._connection.listen(lambda *_: came.set())
        for reply in (*replies, inbox):
            self._connection.send(subject, data, reply=reply)
        async with asyncio.timeout(10):
            await came.wait()


@asynccontextmanager
async def attacking(server: TestServer) -> AsyncIterator[Attacker]:
    """Give the attacker, beside a pipeline `victim`; what it tries must need no permission."""
    await server.declare("attacker", "victim")
    async with server.connect_worker("attacker") as connection:
        yield Attacker(connection)
        assert connection.violations == 0
