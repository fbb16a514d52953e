"""Fixtures that all tests may use."""

from collections.abc import AsyncIterator

import pytest

from tests.support.nats import TestServer


@pytest.fixture
async def nats_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestServer]:
    """A nats-server of the test's own, running, with all accounts and no stream yet."""
    server = TestServer(tmp_path_factory.mktemp("nats"))
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
