"""Tails on a real server."""

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Sequence

import pytest
from tests.support.nats import TestServer
from tests.support.wards import ward

from trunkline.bus import topology
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Stored
from trunkline.bus.publishing import Window
from trunkline.bus.tails import tail
from trunkline.contracts import subjects

JOB, OTHER = "0" * 32, "1" * 32
STREAM = subjects.OUTCOMES_STREAM


async def put(worker: NatsConnection, *numbers: int, job: str = JOB) -> None:
    window = Window(worker)
    async with asyncio.TaskGroup() as tasks:
        for number in numbers:
            subject = subjects.outcome(ward("p1"), job, number, 1)
            tasks.create_task(window.put(subject, b"%d" % number), name="put")


def numbers(batch: Sequence[Stored]) -> list[int]:
    return [int(stored.data) for stored in batch]


async def read(batches: AsyncIterator[Sequence[Stored]], count: int) -> list[Stored]:
    found: list[Stored] = []
    while len(found) < count:
        found += await anext(batches)
    return found


async def test_a_tail_gives_what_is_there_and_what_comes(
    data: NatsConnection, worker: NatsConnection
) -> None:
    await put(worker, *range(1200))
    await put(worker, 5, job=OTHER)
    async with (
        asyncio.timeout(10),
        tail(data, STREAM, [subjects.outcomes_of(ward("p1"), JOB)]) as batches,
    ):
        found = await read(batches, 1200)
        assert sorted(numbers(found)) == list(range(1200))
        assert [stored.sequence for stored in found] == sorted(stored.sequence for stored in found)
        assert found[0].subject.startswith(f"trunkline.outcomes.{ward('p1')}.{JOB}.")
        await put(worker, 7000)
        assert numbers(await anext(batches)) == [7000]


async def test_a_tail_begins_after_a_sequence(data: NatsConnection, worker: NatsConnection) -> None:
    await put(worker, 1)
    await put(worker, 2)
    await put(worker, 3)
    async with asyncio.timeout(20), tail(data, STREAM, [], after=2) as batches:
        assert numbers(await anext(batches)) == [3]


async def test_a_tail_of_last_messages_begins_with_one_batch_of_them(
    nats_server: TestServer, data: NatsConnection
) -> None:
    one, two = subjects.claims(ward("p1"), "one"), subjects.claims(ward("p1"), "two")
    async with (
        asyncio.timeout(20),
        tail(data, subjects.CLAIMS_STREAM, [subjects.CLAIMS], last_per_subject=True) as batches,
        nats_server.connect_worker("p1") as worker,
    ):
        assert await anext(batches) == []
        await worker.publish(one, b"1")
        assert numbers(await anext(batches)) == [1]
        await worker.publish(two, b"2")
        await worker.publish(one, b"3")
        assert numbers(await read(batches, 2)) == [2, 3]
    async with tail(
        data, subjects.CLAIMS_STREAM, [subjects.CLAIMS], last_per_subject=True
    ) as again:
        assert numbers(await anext(again)) == [2, 3]


async def test_no_message_is_missed_or_given_twice_over_crashes(
    nats_server: TestServer, data: NatsConnection, worker: NatsConnection
) -> None:
    found: list[int] = []

    async def follow() -> None:
        async with tail(data, STREAM, [subjects.OUTCOMES]) as batches:
            while len(found) < 3000:
                found.extend(numbers(await anext(batches)))

    async with asyncio.timeout(25), asyncio.TaskGroup() as tasks:
        tasks.create_task(follow(), name="follow")
        tasks.create_task(put(worker, *range(3000)), name="feed")
        for count in (200, 1200, 2200):
            while len(found) < count:
                await asyncio.sleep(0)
            await nats_server.restart()
    assert len(found) == 3000
    assert set(found) == set(range(3000))


async def test_a_lost_consumer_is_replaced(
    data: NatsConnection, worker: NatsConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbered = itertools.count()
    monkeypatch.setattr(data, "unique", lambda: f"number-{next(numbered)}")  # to know its name
    async with asyncio.timeout(20), tail(data, STREAM, [subjects.OUTCOMES]) as batches:
        await put(worker, 1)
        assert numbers(await anext(batches)) == [1]
        await data.js_api(f"CONSUMER.DELETE.{STREAM}.tail-number-0")
        await put(worker, 2)
        assert numbers(await anext(batches)) == [2]


async def test_a_slow_reader_holds_a_bounded_buffer_and_misses_nothing(
    data: NatsConnection, worker: NatsConnection
) -> None:
    await put(worker, *range(3000))
    async with asyncio.timeout(10), tail(data, STREAM, []) as batches:
        sizes, total = [], 0
        while total < 3000:
            await asyncio.sleep(0.05)
            batch = await anext(batches)
            sizes.append(len(batch))
            total += len(batch)
    assert total == 3000
    assert max(sizes) <= 500


async def test_a_stream_that_was_remade_is_read_again(
    nats_server: TestServer, data: NatsConnection, worker: NatsConnection
) -> None:
    stream = subjects.WORKER_EVENTS_STREAM
    subject = subjects.worker_event(ward("p1"), "test")
    async with asyncio.timeout(10), tail(data, stream, []) as batches:
        for number in range(5):
            await Window(worker).put(subject, b"%d" % number)
        await read(batches, 5)
        await nats_server.kill()
        shutil.rmtree(nats_server.directory / "jetstream/jetstream/DATA/streams" / stream)
        await nats_server.start()
        await topology.declare_data(data)
        await Window(worker).put(subject, b"99")
        assert numbers(await anext(batches)) == [99]


async def test_deleted_messages_do_not_hold_up_the_first_batch(
    data: NatsConnection, worker: NatsConnection
) -> None:
    await put(worker, *range(100))
    await topology.purge(data, STREAM, subjects.outcome(ward("p1"), JOB, 99, 1))
    async with asyncio.timeout(20), tail(data, STREAM, [], last_per_subject=True) as batches:
        assert len(await anext(batches)) == 99
