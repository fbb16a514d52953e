"""The window of acknowledged publishes, on a real server."""

import asyncio
from collections.abc import Iterator

import pytest
from tests.support import proxy
from tests.support.nats import TestServer
from tests.support.wards import ward

from trunkline.bus import topology
from trunkline.bus.connection import NatsConnection, connect
from trunkline.bus.ingest import Ingest
from trunkline.bus.ports import Outgoing
from trunkline.bus.publishing import Window
from trunkline.contracts import errors, subjects

JOB = "0" * 32


async def test_many_puts_at_once_are_all_stored(data: NatsConnection) -> None:
    window = Window(data, limit=64)
    async with asyncio.TaskGroup() as tasks:
        for number in range(1000):
            put = window.put(subjects.datums(ward("p1"), JOB), b"%d" % number, msg_id=f"{number}")
            tasks.create_task(put, name="put")
    assert await _messages(data, subjects.datums_stream("p1")) == 1000
    again = await window.put(subjects.datums(ward("p1"), JOB), b"7", msg_id="7")
    assert again.duplicate


async def test_the_first_outcome_wins_and_a_second_is_refused(worker: NatsConnection) -> None:
    window, subject = Window(worker), subjects.outcome(ward("p1"), JOB, 3, 1)
    first = await window.put(subject, b"first", msg_id="w1")
    assert (await window.put(subject, b"first", msg_id="w1")).duplicate
    with pytest.raises(errors.RefusedError) as caught:
        await window.put(subject, b"second", msg_id="w2")
    assert caught.value.code == errors.RefusedError.STORE_FAILED
    stored = await worker.last(subjects.OUTCOMES_STREAM, subject)
    assert stored is not None
    assert (stored.data, stored.sequence) == (b"first", first.sequence)
    assert stored.at_ns > 0
    assert (
        await worker.last(subjects.OUTCOMES_STREAM, subjects.outcome(ward("p1"), JOB, 4, 1)) is None
    )


async def test_a_ledger_changes_by_compare_and_set(worker: NatsConnection) -> None:
    window, subject = Window(worker), subjects.attempts(ward("p1"), JOB, 3)
    first = await window.put(subject, b"1", expected_last=0)
    await window.put(subject, b"2", expected_last=first.sequence)
    with pytest.raises(errors.RefusedError) as caught:
        await window.put(subject, b"late", expected_last=first.sequence)
    assert caught.value.code == errors.RefusedError.WRONG_LAST_SEQUENCE


async def test_a_subject_that_is_not_ours_fails_at_once(worker: NatsConnection) -> None:
    async with asyncio.timeout(20):
        with pytest.raises(errors.PermissionViolationError):
            await Window(worker).put(subjects.outcome(ward("p2"), JOB, 0, 1), b"")


async def test_a_stream_that_is_not_there_is_waited_for(data: NatsConnection) -> None:
    window = Window(data)
    with pytest.raises(errors.UnavailableError):
        await window.put(subjects.datums(ward("new"), JOB), b"", timeout_s=0.5)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        put = tasks.create_task(window.put(subjects.datums(ward("new"), JOB), b""), name="put")
        await topology.declare_pipeline(data, ward("new"))
        assert (await put).sequence == 1


async def test_crashes_of_the_server_lose_and_repeat_nothing(
    nats_server: TestServer, data: NatsConnection
) -> None:
    """1. 2,000 puts are under way. 2. The server is killed three times and comes back each time.

    3. Every put returns, and the stream holds each message once: what was stored before a crash and
    not answered was sent again, and known again by its Msg-Id.
    """
    window = Window(data, limit=50)
    async with asyncio.timeout(25), asyncio.TaskGroup() as tasks:
        for number in range(2000):
            put = window.put(subjects.datums(ward("p1"), JOB), b"%d" % number, msg_id=f"{number}")
            tasks.create_task(put, name="put")
        for stored in (100, 700, 1400):
            while await _messages(data, subjects.datums_stream("p1")) < stored:
                await asyncio.sleep(0)
            await nats_server.restart()
    assert await _messages(data, subjects.datums_stream("p1")) == 2000


async def test_a_put_that_no_server_answers_ends_at_its_deadline(
    nats_server: TestServer, data: NatsConnection
) -> None:
    await nats_server.kill()
    async with asyncio.timeout(20):
        with pytest.raises(errors.UnavailableError):
            await Window(data).put(subjects.datums(ward("p1"), JOB), b"", timeout_s=0.3)


async def test_a_message_that_is_too_large_is_refused_here(data: NatsConnection) -> None:
    with pytest.raises(errors.RefusedError, match="bytes are over"):
        await Window(data).put(subjects.datums(ward("p1"), JOB), bytes(data.max_payload + 1))


def _one(pipeline: str) -> Outgoing:
    return Outgoing(subjects.datums(ward(pipeline), JOB), "1", b"")


async def _messages(connection: NatsConnection, stream: str) -> int:
    info = await connection.js_api(f"STREAM.INFO.{stream}")
    return int(info["state"]["messages"])


async def test_a_batch_is_stored_once_however_often_it_is_put(data: NatsConnection) -> None:
    subject = subjects.datums(ward("p1"), JOB)
    batch = [Outgoing(subject, f"{JOB}/{n}/1.1", b"%d" % n) for n in range(5000)]
    ingest = Ingest(data)
    await ingest.put_all(batch[:3000])
    await ingest.put_all(batch)
    await ingest.put_all([])
    assert await _messages(data, subjects.datums_stream("p1")) == 5000


async def test_a_batch_survives_a_server_that_is_killed_in_its_midst(
    nats_server: TestServer, data: NatsConnection
) -> None:
    midst, going_on = asyncio.Event(), asyncio.Event()

    subject = subjects.datums(ward("p1"), JOB)

    def batch() -> Iterator[Outgoing]:
        for number in range(20_000):
            if number == 10_000:
                midst.set()
            yield Outgoing(subject, f"{JOB}/{number}/1.1", b"x" * 100)

    async def put() -> None:
        await Ingest(data).put_all(batch())
        going_on.set()

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(put(), name="put")
        await midst.wait()
        assert not going_on.is_set()
        await nats_server.restart()
    assert await _messages(data, subjects.datums_stream("p1")) == 20_000


async def test_a_batch_that_may_not_be_put_or_has_no_stream_fails(
    worker: NatsConnection, data: NatsConnection
) -> None:
    async with asyncio.timeout(20):
        with pytest.raises(errors.PermissionViolationError):
            await Ingest(worker).put_all([_one("p2")])
    with pytest.raises(errors.UnavailableError):
        await Ingest(data).put_all([_one("new")], timeout_s=0.5)


async def test_a_batch_into_a_full_stream_is_refused(data: NatsConnection) -> None:
    stream = subjects.datums_stream("p1")
    config = (await data.js_api(f"STREAM.INFO.{stream}"))["config"]
    await data.js_api(f"STREAM.UPDATE.{stream}", {**config, "max_msgs": 10, "discard": "new"})
    subject = subjects.datums(ward("p1"), JOB)
    batch = [Outgoing(subject, f"{number}", b"") for number in range(100)]
    with pytest.raises(errors.RefusedError) as caught:
        await Ingest(data).put_all(batch)
    assert caught.value.code == errors.RefusedError.STORE_FAILED
    assert await _messages(data, stream) == 10


@pytest.mark.parametrize("after", [0, 700, 1999])
async def test_a_message_of_a_batch_that_is_lost_on_the_way_is_put_again(
    nats_server: TestServer, data: NatsConnection, after: int
) -> None:
    subject = subjects.datums(ward("p1"), JOB)
    batch = [Outgoing(subject, f"{JOB}/{n}/1.1", b"%d" % n) for n in range(2000)]
    url, inbox = nats_server.url("coordinator-data"), subjects.COORDINATOR_INBOX
    async with (
        proxy.between(url) as (between, url_of_proxy),
        connect(url_of_proxy, name="by-proxy", inbox=inbox) as connection,
    ):
        between.up = proxy.once(b"PUB trunkline.datums.", after=after)
        await Ingest(connection).put_all(batch)
        assert between.lost == 1
    assert await _messages(data, subjects.datums_stream("p1")) == 2000


async def test_a_batch_waits_for_a_stream_that_is_about_to_take_batches(
    data: NatsConnection,
) -> None:
    stream, subject = subjects.datums_stream("p1"), subjects.datums(ward("p1"), JOB)
    config = (await data.js_api(f"STREAM.INFO.{stream}"))["config"]
    await data.js_api(f"STREAM.UPDATE.{stream}", {**config, "allow_batched": False})
    batch = [Outgoing(subject, f"{JOB}/{number}/1.1", b"") for number in range(10)]
    with pytest.raises(errors.UnavailableError, match="disabled"):
        await Ingest(data).put_all(batch, timeout_s=0.3)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        putting = tasks.create_task(Ingest(data).put_all(batch), name="put")
        await asyncio.sleep(0)
        await topology.declare_pipeline(data, ward("p1"))
        await putting
    assert await _messages(data, stream) == 10
