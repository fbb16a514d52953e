"""Processes that would lead, in one process: what each has led, and when."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.nats import TestServer

from trunkline.bus import topology
from trunkline.bus.connection import NatsConnection
from trunkline.bus.tables import KvTable
from trunkline.contracts import records, subjects
from trunkline.contracts.durability import Durability
from trunkline.runtime import leading
from trunkline.runtime.leading import Candidacy


class Process:
    """A candidate, and what it has led."""

    def __init__(self, candidacy: Candidacy) -> None:
        self.candidacy = candidacy
        self.led, self.ended, self.changed = 0, 0, asyncio.Event()
        self.running: asyncio.Task[None]

    async def run(self) -> None:
        async with leading.standing(self.candidacy):
            await self.candidacy.in_turn(self.lead, stands_by=lambda: None)

    def stop(self) -> None:
        self.running.cancel()

    async def lead(self) -> None:
        self.led += 1
        self.changed.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended += 1
            self.changed.set()

    async def until(self, led: int, ended: int) -> None:
        async with asyncio.timeout(20):
            while (self.led, self.ended) != (led, ended):
                self.changed.clear()
                await self.changed.wait()

    async def holding(self, *, within_s: float = 20) -> None:
        async with asyncio.timeout(within_s):
            while not self.candidacy.holds():
                await asyncio.sleep(0.01)


def leaders(connection: NatsConnection) -> KvTable[records.Candidate]:
    return KvTable(connection, subjects.LEADERS, records.Candidate, write_s=leading.WRITE_S)


@asynccontextmanager
async def candidate(
    server: TestServer,
    name: str,
    life_s: float = 1.0,
    durability: Durability = Durability.FILE,
) -> AsyncIterator[Process]:
    async with server.connect("coordinator") as connection, asyncio.TaskGroup() as tasks:
        candidacy = Candidacy(
            leaders(connection),
            subjects.COORDINATOR,
            name=name,
            life_s=life_s,
            declare=lambda: topology.declare_leaders(connection, durability),
        )
        process = Process(candidacy)
        process.running = tasks.create_task(process.run())
        try:
            yield process
        finally:
            process.stop()
