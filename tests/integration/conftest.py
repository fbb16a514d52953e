"""What tests on a real server begin with."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.front import Front, connected
from tests.support.nats import TestServer

from trunkline.bus.connection import NatsConnection


@pytest.fixture
async def data(nats_server: TestServer) -> AsyncIterator[NatsConnection]:
    await nats_server.declare("p1")
    async with nats_server.connect("coordinator-data") as connection:
        yield connection


@pytest.fixture
async def worker(nats_server: TestServer, data: NatsConnection) -> AsyncIterator[NatsConnection]:
    assert data.connected  # and all streams are there
    async with nats_server.connect_worker("p1") as connection:
        yield connection


@pytest.fixture
async def front(nats_server: TestServer, tmp_path: Path) -> AsyncIterator[Front]:
    async with connected(nats_server, tmp_path) as made:
        yield made
