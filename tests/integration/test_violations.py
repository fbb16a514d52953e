"""A refused subject is an error at once, on every path, and the process is not ready from then on."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.support.nats import TestServer
from tests.support.wards import ward

from trunkline.bus.connection import NatsConnection
from trunkline.bus.firsts import Firsts
from trunkline.bus.ingest import Ingest
from trunkline.bus.ports import Outgoing
from trunkline.bus.publishing import Window
from trunkline.bus.pulls import StandingPull
from trunkline.bus.tables import KvTable
from trunkline.bus.tails import tail
from trunkline.contracts import errors, records, subjects

JOB = "a" * 32
THEIRS = ward("p2")


async def publish(worker: NatsConnection) -> None:
    await worker.publish(subjects.claims(THEIRS, "w1"), b"")
    await worker.flush()


async def publish_again(worker: NatsConnection) -> None:
    """The first one waits for nothing, so the second one is told."""
    subject = subjects.logs(THEIRS, JOB, 0, "w1", "stdout")
    await worker.publish(subject, b"")
    await worker.barrier()
    await worker.publish(subject, b"")


async def put(worker: NatsConnection) -> None:
    await Window(worker).put(subjects.attempts(THEIRS, JOB, 0), b"", expected_last=0)


async def put_first(worker: NatsConnection) -> None:
    await Firsts(worker, Window(worker)).put(subjects.outcome(THEIRS, JOB, 0, 1), b"")


async def put_many(worker: NatsConnection) -> None:
    await Ingest(worker).put_all([Outgoing(subjects.datums(THEIRS, JOB), "id", b"")] * 1000)


async def request(worker: NatsConnection) -> None:
    await worker.request(subjects.ack("p2", JOB, 1), b"-NAK")


async def api(worker: NatsConnection) -> None:
    await worker.js_api(f"STREAM.DELETE.{subjects.OUTCOMES_STREAM}")


async def pull(worker: NatsConnection) -> None:
    waiting: asyncio.Queue[errors.PermissionViolationError] = asyncio.Queue()
    stream = subjects.datums_stream("p2")
    asked = StandingPull(worker, stream, JOB, lambda _: None, on_failure=waiting.put_nowait)
    asked.start()
    asked.want(1)
    failure = await waiting.get()
    with pytest.raises(errors.PermissionViolationError):
        asked.want(1)
    raise failure


async def serve(worker: NatsConnection) -> None:
    await worker.serve(subjects.assignments(THEIRS), lambda _: asyncio.sleep(0))


async def follow(worker: NatsConnection) -> None:
    async with tail(worker, subjects.OUTCOMES_STREAM, []) as batches:
        await anext(batches)


async def last(worker: NatsConnection) -> None:
    await worker.last(subjects.OUTCOMES_STREAM, subjects.outcome(THEIRS, JOB, 0, 1))


async def scan(worker: NatsConnection) -> None:
    await worker.scan(subjects.CLAIMS_STREAM, subjects.CLAIMS)


def table(worker: NatsConnection) -> KvTable[records.Nodes]:
    return KvTable(worker, subjects.NODES, records.Nodes)


async def table_get(worker: NatsConnection) -> None:
    await table(worker).get("local")


async def table_put(worker: NatsConnection) -> None:
    await table(worker).put("local", records.Nodes(count=1))


async def table_create(worker: NatsConnection) -> None:
    await table(worker).create("local", records.Nodes(count=1))


async def table_all(worker: NatsConnection) -> None:
    await table(worker).all()


async def table_watch(worker: NatsConnection) -> None:
    async with table(worker).watch() as changes:
        await anext(changes)


PATHS: tuple[Callable[[NatsConnection], Awaitable[None]], ...] = (
    *(publish, publish_again, put, put_first, put_many, request, api, pull, serve, follow),
    *(last, scan, table_get, table_put, table_create, table_all, table_watch),
)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
async def test_what_is_refused_fails_at_once_and_is_counted(
    nats_server: TestServer, path: Callable[[NatsConnection], Awaitable[None]]
) -> None:
    """At once: each of these paths has a time-out, and that would be another error."""
    await nats_server.declare("p1", "p2")
    async with nats_server.connect_worker("p1") as worker:
        assert worker.problems == []
        async with asyncio.timeout(20):
            with pytest.raises(errors.PermissionViolationError):
                await path(worker)
        assert worker.violations
        assert ["refused" in problem for problem in worker.problems] == [True]
        # and whatever else it does goes on
        async with asyncio.timeout(20):
            await Window(worker).put(subjects.attempts(ward("p1"), JOB, 0), b"", expected_last=0)


async def test_a_connection_that_is_away_is_a_problem_until_it_is_back(
    nats_server: TestServer,
) -> None:
    async with asyncio.timeout(20), nats_server.connect("user") as user:
        await nats_server.kill()
        while user.connected:
            await asyncio.sleep(0.01)
        assert user.problems == ["user has no connection to NATS"]
        await nats_server.start()
        await user.until_connected()
        assert user.problems == []
