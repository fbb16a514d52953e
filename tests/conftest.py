"""Fixtures that all tests may use."""

import asyncio
from collections.abc import AsyncIterator

import hypothesis
import pytest
from tests.support.nats import TestServer

# How long an example takes is the machine's business, which may have other work.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


def pytest_sessionstart() -> None:
    """Say that there is no event loop: looptime asks before each plain test, and asyncio would
    make one that nobody closes.
    """
    asyncio.set_event_loop(None)


@pytest.fixture
async def nats_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestServer]:
    """A nats-server of the test's own, running, with all accounts and no stream yet."""
    server = TestServer(tmp_path_factory.mktemp("nats"))
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
