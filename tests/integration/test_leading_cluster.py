"""Who leads while the servers that keep the record of it are killed, and lead it one after the other."""

import asyncio
import contextlib
from collections.abc import Sequence

import pytest
from tests.support.candidates import Process, candidate
from tests.support.nats_cluster import TestCluster

from trunkline.bus.connection import NatsConnection
from trunkline.contracts import errors, subjects
from trunkline.contracts.durability import Durability

pytestmark = pytest.mark.nats

LEADERS = subjects.bucket_stream(subjects.LEADERS)
KILLS = 3


class Watch:
    """Looks at all candidates without a pause."""

    def __init__(self, candidates: Sequence[Process]) -> None:
        self._candidates = candidates
        self.most = 0
        """How many have led at one instant."""

    async def run(self) -> None:
        while True:
            self.most = max(self.most, sum(each.candidacy.holds() for each in self._candidates))
            await asyncio.sleep(0.001)

    async def somebody(self) -> Process:
        """Return who leads, once somebody does."""
        while True:
            for each in self._candidates:
                if each.candidacy.holds():
                    return each
            await asyncio.sleep(0.001)


async def leader(connection: NatsConnection) -> int:
    """Return which server leads the record, once one does."""
    while True:
        with contextlib.suppress(errors.TrunklineError):
            info = await connection.js_api(f"STREAM.INFO.{LEADERS}")
            if name := info["cluster"].get("leader"):
                return int(name[-1])
        await asyncio.sleep(0.05)


async def test_two_never_lead_at_once_while_the_servers_of_their_record_are_killed(
    nats_cluster: TestCluster,
) -> None:
    """For some seconds none may: the record has no leader. Then one does, the same or the other.

    Whoever leads after a kill is stopped next, so the one that stands by must know the newest record,
    whichever server it is at, and be able to write it.
    """
    level = Durability.REPLICATED
    async with (
        asyncio.timeout(100),
        candidate(nats_cluster, "a", 2.0, level) as a,
        candidate(nats_cluster, "b", 2.0, level) as b,
        nats_cluster.connect("coordinator") as connection,
        asyncio.TaskGroup() as tasks,
    ):
        watch = Watch((a, b))
        watching = tasks.create_task(watch.run(), name="watch")
        await watch.somebody()
        for _ in range(KILLS):
            number = await leader(connection)
            server = nats_cluster.servers[number - 1]
            await server.kill()
            while await leader(connection) == number:
                await asyncio.sleep(0.05)
            await watch.somebody()
            await server.start()
        led = await watch.somebody()
        other = b if led is a else a
        led.stop()
        await other.holding(within_s=60)
        assert watch.most == 1
        watching.cancel()
