"""What a stream holds, read without a consumer, on a real server."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from tests.support.nats import TestServer
from tests.support.wards import WARDS, ward

from trunkline.bus import looking, present
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Stored
from trunkline.bus.publishing import Window
from trunkline.bus.tails import tail
from trunkline.contracts import api, errors, messages, subjects
from trunkline.coordinator.readers import Readers

JOB = "0" * 32
STREAM = subjects.LOGS_STREAM
SUBJECT = subjects.logs(ward("p1"), JOB, 0, "w1", "stdout")
MANY = 1_200
"""More than the server makes consumers of a stream."""


def numbers(pages: Sequence[Sequence[Stored]]) -> list[int]:
    return [int(stored.data) for page in pages for stored in page]


async def put(worker: NatsConnection, *contents: bytes) -> None:
    window = Window(worker)
    async with asyncio.TaskGroup() as tasks:
        for content in contents:
            tasks.create_task(window.put(SUBJECT, content), name="put")


async def held(data: NatsConnection) -> int:
    look = await looking.stream(data, STREAM)
    assert look is not None
    return look.consumers


@pytest.fixture
async def ctl(nats_server: TestServer, data: NatsConnection) -> AsyncIterator[NatsConnection]:
    assert data.connected  # and all streams are there
    async with nats_server.connect("coordinator") as connected:
        yield connected


async def test_all_is_read_in_order_behind_a_sequence_and_since_a_time(
    data: NatsConnection, worker: NatsConnection
) -> None:
    assert [page async for page in present.behind(data, STREAM)] == []
    await put(worker, *(b"%d" % number for number in range(1_100)))
    every = [page async for page in present.behind(data, STREAM, most=3)]
    assert numbers(every) == list(range(1_100))
    assert len(every[0]) == 3
    some = [page async for page in present.behind(data, STREAM, SUBJECT, after=1_090)]
    assert numbers(some) == list(range(1_090, 1_100))
    at_ns = some[0][4].at_ns
    late = [page async for page in present.behind(data, STREAM, since_ns=at_ns)]
    assert numbers(late) == list(range(1_094, 1_100))
    other = subjects.logs_of(ward("p2"))
    assert [page async for page in present.behind(data, STREAM, other)] == []


async def test_a_page_ends_after_so_many_bytes_and_the_next_one_goes_on(
    data: NatsConnection, worker: NatsConnection
) -> None:
    await put(worker, *(b"%d" % number * 400 for number in range(9)))
    pages = [page async for page in present.behind(data, STREAM, most_bytes=1_000)]
    assert [stored.sequence for page in pages for stored in page] == list(range(1, 10))
    assert len(pages) > 2


async def test_what_a_stream_held_before_it_was_made_anew_hides_nothing(
    data: NatsConnection, worker: NatsConnection
) -> None:
    """Whoever asks with a sequence of then gets all."""
    await put(worker, b"1")
    assert numbers([page async for page in present.behind(data, STREAM, after=700)]) == [1]
    assert numbers([page async for page in present.behind(data, STREAM, after=1)]) == []


async def test_the_last_so_many_are_found_from_the_end(
    data: NatsConnection, worker: NatsConnection
) -> None:
    await put(worker, *(b"%d" % number for number in range(100)))
    after = await present.last_ones(data, STREAM, SUBJECT, 10)
    assert 60 <= after <= 90
    assert await present.last_ones(data, STREAM, SUBJECT, 1_000) == 0
    assert await present.last_ones(data, STREAM, subjects.logs_of(ward("p2")), 1) == 0


async def test_a_message_that_looks_like_the_end_of_a_page_ends_none(
    data: NatsConnection, worker: NatsConnection
) -> None:
    """Its first line is its publisher's, and may be a status; where it lies is the server's word."""
    forged = {"Nats-Sequence": "999", "Nats-Num-Pending": "0", "Nats-Subject": "a.b"}
    await put(worker, b"0")
    for number, block in enumerate((b"404 x", b"503", b"204 EOB"), 1):
        header = b"NATS/1.0 " + block + b"\r\n\r\n"
        worker._wire.send(SUBJECT, b"%d" % number, headers=header)
    worker._wire.send(SUBJECT, b"", headers=b"NATS/1.0 503\r\n\r\n")
    last = await worker.request(SUBJECT, b"5", timeout_s=5, headers=forged)
    assert b'"seq":6' in last.data
    found = [each async for page in present.behind(data, STREAM) for each in page]
    assert [each.data for each in found] == [b"0", b"1", b"2", b"3", b"", b"5"]
    assert [each.sequence for each in found] == [1, 2, 3, 4, 5, 6]
    assert {each.subject for each in found} == {SUBJECT}


async def test_more_pages_than_a_stream_may_have_consumers_leave_nothing_behind(
    ctl: NatsConnection, data: NatsConnection, worker: NatsConnection
) -> None:
    """Followers look twice a second, and everybody may ask: no number of them stops the others."""
    readers = Readers(ctl, data, WARDS)
    said = messages.LogLine(worker="w1", datum="d", index=0, stream="stdout", text="x\n", at_ns=1)
    await put(worker, messages.encode(said))
    asked = messages.encode(api.LogPage(pipeline="p1", last=1))
    async with tail(data, STREAM, [subjects.LOGS]) as batches:
        assert await anext(batches)
        for _ in range(MANY // 100):
            async with asyncio.TaskGroup() as tasks:
                looks = [tasks.create_task(readers.log_page(asked)) for _ in range(100)]
            assert all(b'"x\\n"' in look.result().result for look in looks)
        assert await held(data) == 1, "that of the one who stays"


async def test_a_tail_that_is_refused_for_others_goes_on_when_they_have_left(
    data: NatsConnection, worker: NatsConnection
) -> None:
    await put(worker, b"7")

    async def one(number: int) -> None:
        name = f"other-{number}"
        config = {"name": name, "ack_policy": "none", "mem_storage": True, "num_replicas": 1}
        asked = {"stream_name": STREAM, "config": config}
        await data.js_api(f"CONSUMER.CREATE.{STREAM}.{name}", asked)

    async def all_that_there_is_room_for() -> None:
        for number in range(MANY):
            await one(number)

    with pytest.raises(errors.UnavailableError, match="maximum consumers limit"):
        await all_that_there_is_room_for()
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks, tail(data, STREAM, []) as batches:

        async def first() -> Sequence[Stored]:
            return await anext(batches)

        read = tasks.create_task(first(), name="tail")
        with pytest.raises(errors.UnavailableError):
            await one(MANY)  # asked after the tail, which was refused as well
        await data.js_api(f"CONSUMER.DELETE.{STREAM}.other-0")
        assert numbers([await read]) == [7]
