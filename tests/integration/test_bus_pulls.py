"""Standing pulls on a real server."""

import asyncio
import time

import pytest
from tests.support.nats import TestServer
from tests.support.wards import ward

from trunkline.bus import backlog, topology
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Delivery
from trunkline.bus.publishing import Window
from trunkline.bus.pulls import StandingPull
from trunkline.contracts import errors, subjects

JOB = "0" * 32
STREAM = subjects.datums_stream("p1")


class Taken:
    """Deliveries as they come, and a way to wait for them."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Delivery] = asyncio.Queue()

    def __call__(self, delivery: Delivery) -> None:
        self.queue.put_nowait(delivery)

    async def next(self) -> Delivery:
        async with asyncio.timeout(20):
            return await self.queue.get()


@pytest.fixture(autouse=True)
async def job_consumer(data: NatsConnection) -> None:
    await consumer(data)


async def consumer(data: NatsConnection, job: str = JOB, ack_wait_s: float = 60.0) -> None:
    await topology.ensure_job_consumer(
        data, ward("p1"), job, ack_wait_s=ack_wait_s, max_ack_pending=5000
    )


async def put(data: NatsConnection, *numbers: int, job: str = JOB) -> None:
    window = Window(data)
    for number in numbers:
        await window.put(subjects.datums(ward("p1"), job), b"%d" % number, msg_id=f"{job}/{number}")


async def settled(data: NatsConnection, left: int = 0, job: str = JOB) -> None:
    async with asyncio.timeout(20):
        while (found := await backlog.gauge(data, "p1", job)) and (
            found.pending + found.in_flight != left
        ):
            await asyncio.sleep(0.01)


async def test_messages_come_up_to_what_is_wanted(
    data: NatsConnection, worker: NatsConnection
) -> None:
    taken = Taken()
    pull = StandingPull(worker, STREAM, JOB, taken)
    pull.start()
    pull.want(2)
    await put(data, 1, 2, 3, 4, 5)
    first, second = await taken.next(), await taken.next()
    assert (first.data, second.data) == (b"1", b"2")
    assert first.delivered == 1
    assert first.subject == subjects.datums(ward("p1"), JOB)
    assert await backlog.gauge(data, "p1", JOB) == backlog.Gauge(pending=3, in_flight=2)
    assert taken.queue.empty()
    pull.want(1)
    assert (await taken.next()).data == b"3"
    await first.ack()
    await settled(data, left=4)
    assert worker.violations == 0


async def test_a_nak_brings_it_back_to_whoever_asks(
    data: NatsConnection, worker: NatsConnection
) -> None:
    taken = Taken()
    pull = StandingPull(worker, STREAM, JOB, taken)
    pull.start()
    pull.want(5)
    await put(data, 1)
    first = await taken.next()
    await first.nak()
    again = await taken.next()
    assert (again.data, again.delivered, again.sequence) == (b"1", 2, first.sequence)
    began = time.monotonic()
    await again.nak(0.3)
    await taken.next()
    assert time.monotonic() - began > 0.25


async def test_wanting_less_takes_requests_back(
    data: NatsConnection, worker: NatsConnection
) -> None:
    taken = Taken()
    pull = StandingPull(worker, STREAM, JOB, taken)
    pull.start()
    pull.want(10)
    await worker.flush()
    pull.want(1)
    await worker.flush()
    await put(data, 1, 2, 3)
    assert (await taken.next()).data == b"1"
    pull.want(0)
    await worker.flush()
    assert taken.queue.empty()
    assert await backlog.gauge(data, "p1", JOB) == backlog.Gauge(pending=2, in_flight=1)


async def test_stop_returns_what_was_on_its_way(
    data: NatsConnection, worker: NatsConnection
) -> None:
    """No message is in nobody's hands after a stop."""
    taken = Taken()
    pull = StandingPull(worker, STREAM, JOB, taken)
    pull.start()
    pull.want(1000)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(put(data, *range(500)), name="feed")
        await taken.next()
        left = await pull.stop()
    count = 1 + taken.queue.qsize() + len(left)
    found = await backlog.gauge(data, "p1", JOB)
    assert found is not None
    assert found.in_flight == count
    assert found.pending == 500 - count


async def test_a_message_after_a_crash_arrives_at_once(
    nats_server: TestServer,
    data: NatsConnection,
    worker: NatsConnection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The reconnect asks anew: there is no other way, since silence is not noticed for an hour."""
    monkeypatch.setattr("trunkline.bus.pulls.SILENCE_S", 3600)
    taken = Taken()
    pull = StandingPull(worker, STREAM, JOB, taken)
    pull.start()
    pull.want(1000)
    for number in range(3):
        await put(data, number)
        held = await taken.next()
        assert held.current
        await nats_server.kill()
        await nats_server.start()
        assert not held.current
        await data.until_connected()
        await put(data, 1000 + number)
        while (came := await taken.next()).data != b"%d" % (1000 + number):
            pass  # the one that was held may come again
        await came.ack()
        await held.ack()


async def test_a_consumer_that_comes_late_or_again_is_found(
    data: NatsConnection, worker: NatsConnection
) -> None:
    job, taken = "1" * 32, Taken()
    pull = StandingPull(worker, STREAM, job, taken)
    pull.start()
    pull.want(5)
    await asyncio.sleep(0.3)
    await consumer(data, job)
    await put(data, 1, job=job)
    await (await taken.next()).ack()
    await settled(data, job=job)
    await topology.delete_job_consumer(data, "p1", job)
    await consumer(data, job)
    await put(data, 2, job=job)
    assert (await taken.next()).data == b"2"


async def test_requests_that_ran_out_are_made_again(
    data: NatsConnection, worker: NatsConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server says that they did: nobody has to notice a silence."""
    monkeypatch.setattr("trunkline.bus.pulls.EXPIRES_S", 0.4)
    monkeypatch.setattr("trunkline.bus.pulls.BEAT_S", 0.2)
    monkeypatch.setattr("trunkline.bus.pulls.SILENCE_S", 3600)
    taken = Taken()
    pull = StandingPull(worker, STREAM, JOB, taken)
    pull.start()
    pull.want(3)
    await asyncio.sleep(1)  # twice that, and a little
    await put(data, 1, 2, 3, 4)
    assert [(await taken.next()).data for _ in range(3)] == [b"1", b"2", b"3"]
    await worker.flush()
    assert taken.queue.empty()


async def test_an_idle_pull_stays_on_its_first_request(
    data: NatsConnection, worker: NatsConnection, caplog: pytest.LogCaptureFixture
) -> None:
    """The server's beats are heard: silence is not assumed where there is none."""
    job, taken = "3" * 32, Taken()
    await topology.ensure_job_consumer(data, ward("p1"), job, ack_wait_s=60, max_ack_pending=1)
    idle, full = StandingPull(worker, STREAM, JOB, taken), StandingPull(worker, STREAM, job, taken)
    await put(data, 1, 2, job=job)
    with caplog.at_level("INFO"):
        for pull in (idle, full):
            pull.start()
            pull.want(5)
        await asyncio.sleep(3.5)
    assert "silent" not in caplog.text
    assert taken.queue.qsize() == 1


async def test_a_renewed_lease_lasts_and_a_cancelled_job_is_told(
    data: NatsConnection, worker: NatsConnection
) -> None:
    job, taken = "2" * 32, Taken()
    await consumer(data, job, ack_wait_s=1.0)
    pull = StandingPull(worker, STREAM, job, taken)
    pull.start()
    pull.want(5)
    await put(data, 1, job=job)
    held = await taken.next()
    for _ in range(4):
        await asyncio.sleep(0.5)
        assert await held.renew()
    assert taken.queue.empty()
    await topology.delete_job_consumer(data, "p1", job)
    assert not await held.renew()


async def test_a_renewal_without_a_server_is_no_cancellation(
    nats_server: TestServer, data: NatsConnection, worker: NatsConnection
) -> None:
    taken = Taken()
    pull = StandingPull(worker, STREAM, JOB, taken)
    pull.start()
    pull.want(1)
    await put(data, 1)
    held = await taken.next()
    await nats_server.kill()
    with pytest.raises(errors.UnavailableError):
        await held.renew()
    await held.ack()
    await held.nak()
    await nats_server.start()
    await worker.until_connected()
    assert await held.renew()


async def test_anothers_queue_is_refused_at_once(worker: NatsConnection) -> None:
    pull = StandingPull(worker, subjects.datums_stream("p2"), JOB, Taken())
    pull.start()
    pull.want(1)
    await worker.flush()
    assert isinstance(pull.failure, errors.PermissionViolationError)
    with pytest.raises(errors.PermissionViolationError):
        pull.want(1)


async def test_nothing_is_lost_over_crashes_under_load(
    nats_server: TestServer, data: NatsConnection
) -> None:
    """Three workers take, record and ack 1,500 messages while the server is killed twice.

    What was acked to a server that was being killed comes again when its lease ends.
    """
    job = "4" * 32
    await consumer(data, job, ack_wait_s=1.0)
    done: set[bytes] = set()
    async with (
        asyncio.timeout(25),
        nats_server.connect_worker("p1", "w1") as one,
        nats_server.connect_worker("p1", "w2") as two,
        nats_server.connect_worker("p1", "w3") as three,
    ):
        loops = [_Working(connection, job, done) for connection in (one, two, three)]
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(each.run(), name="worker") for each in loops]
            feed = tasks.create_task(put(data, *range(1500), job=job), name="feed")
            for count in (300, 800):
                while len(done) < count:
                    await asyncio.sleep(0.01)
                await nats_server.restart()
            await feed
            while len(done) < 1500:
                await asyncio.sleep(0.01)
            await settled(data, job=job)
            for task in running:
                task.cancel()
    assert done == {b"%d" % number for number in range(1500)}


class _Working:
    def __init__(self, connection: NatsConnection, job: str, done: set[bytes]) -> None:
        self.taken, self.done = Taken(), done
        self.pull = StandingPull(connection, STREAM, job, self.taken)

    async def run(self) -> None:
        self.pull.start()
        while True:
            self.pull.want(20 - self.taken.queue.qsize())
            delivery = await self.taken.queue.get()
            await asyncio.sleep(0)
            self.done.add(delivery.data)
            await delivery.ack()
