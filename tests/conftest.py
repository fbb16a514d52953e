"""Fixtures that all tests may use."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest
from tests.support import nats
from tests.support.nats import TestServer
from tests.support.nats_cluster import TestCluster
from tests.support.operator import OperatorServer
from tests.support.s3 import BUCKET, S3Server

# How long an example takes is the machine's business, which may have other work.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


def pytest_sessionstart() -> None:
    """Say that there is no event loop: looptime asks before each plain test, and asyncio would
    make one that nobody closes.
    """
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 with a bucket; whoever ends it starts it again."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def s3_url(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a store of the test's own in that, with the credentials in the environment."""
    for name, text in s3_server.environ.items():
        monkeypatch.setenv(name, text)
    return f"s3://{BUCKET}/{secrets.token_hex(8)}"


@pytest.fixture
async def nats_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestServer]:
    """A nats-server of the test's own, running, with all accounts and no stream yet."""
    async with nats.running(lambda: TestServer(tmp_path_factory.mktemp("nats"))) as server:
        yield server


@pytest.fixture
async def operator_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[OperatorServer]:
    """The same in operator mode: everybody logs in by signed claims."""
    async with nats.running(lambda: OperatorServer(tmp_path_factory.mktemp("nats"))) as server:
        yield server


@pytest.fixture
async def nats_cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestCluster]:
    """Three of them, as a cluster."""
    async with nats.running(lambda: TestCluster(tmp_path_factory.mktemp("nats"))) as cluster:
        yield cluster


@pytest.fixture(params=[TestServer, OperatorServer], ids=["passwords", "claims"])
async def either_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TestServer]:
    """The one, then the other: what must hold whatever a server knows its users by."""
    async with nats.running(lambda: request.param(tmp_path_factory.mktemp("nats"))) as server:
        yield server
