"""Each role does its work within its permissions, and the main things it must not do fail at once.

All roles are connected as they are in an installation, over the whole topology. What else each may
not do is the business of the permission matrix.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable

import pytest
from tests.support.nats import TestServer
from tests.support.wards import WARDS, ward

from trunkline.bus import backlog, present, topology
from trunkline.bus.connection import NatsConnection
from trunkline.bus.firsts import Firsts
from trunkline.bus.ports import Delivery, Message
from trunkline.bus.publishing import Window
from trunkline.bus.pulls import StandingPull
from trunkline.bus.tables import KvTable
from trunkline.contracts import errors, records, subjects
from trunkline.contracts.states import PipelineState
from trunkline.scaler import hearing
from trunkline.scaler.core.losses import Key

JOB = "a" * 32


class Roles:
    """One connection of each role."""

    def __init__(self) -> None:
        self.every: list[NatsConnection] = []
        self.user: NatsConnection
        self.ctl: NatsConnection
        self.data: NatsConnection
        self.scaler: NatsConnection
        self.reaper: NatsConnection
        self.worker: NatsConnection


@pytest.fixture
async def roles(either_server: TestServer) -> AsyncIterator[Roles]:
    await either_server.declare("p1", "p2")
    found = Roles()
    async with (
        either_server.connect("user") as found.user,
        either_server.connect("coordinator") as found.ctl,
        either_server.connect("coordinator-data") as found.data,
        either_server.connect("scaler") as found.scaler,
        either_server.connect("scaler-data") as found.reaper,
        either_server.connect_worker("p1", "w1") as found.worker,
    ):
        every = (found.user, found.ctl, found.data, found.scaler, found.reaper, found.worker)
        found.every = list(every)
        for pipeline in ("p1", "p2"):
            await topology.ensure_job_consumer(
                found.data, ward(pipeline), JOB, ack_wait_s=60, max_ack_pending=100
            )
        yield found


async def take(connection: NatsConnection, stream: str, consumer: str) -> Delivery:
    queue: asyncio.Queue[Delivery] = asyncio.Queue()
    pull = StandingPull(connection, stream, consumer, queue.put_nowait)
    pull.start()
    pull.want(1)
    async with asyncio.timeout(20):
        delivery = await queue.get()
        assert await pull.stop() == []
    return delivery


async def heard(connection: NatsConnection, subject: str) -> asyncio.Queue[Message]:
    queue: asyncio.Queue[Message] = asyncio.Queue()
    await connection.serve(subject, queue.put)
    return queue


async def told_of(told: asyncio.Queue[Message], name: str) -> Key | None:
    """Return whose connection of that name the server tells of next."""
    while True:
        event = hearing.client_event(await told.get())
        if event is not None and event.client.name == name:
            return event.key


async def test_every_role_does_its_work_without_a_violation(
    either_server: TestServer, roles: Roles
) -> None:
    async with asyncio.timeout(20):
        await _control(roles)
        await _datum(roles)
        await _reaping(either_server, roles)
    assert [connection.violations for connection in roles.every] == [0] * 6


async def _control(roles: Roles) -> None:
    # a spec comes in by a plain publish, and is answered like any publish into a stream
    answer = await roles.user.request(subjects.APPLY, b"spec")
    assert json.loads(answer.data)["stream"] == subjects.COMMANDS_STREAM
    command = await take(roles.ctl, subjects.COMMANDS_STREAM, subjects.COMMANDS_CONSUMER)
    assert command.data == b"spec"
    await command.ack()
    # records and events by the coordinator; the scaler follows and writes its own
    pipelines = KvTable(roles.ctl, subjects.PIPELINES, records.Pipeline)
    seen = KvTable(roles.scaler, subjects.PIPELINES, records.Pipeline)
    async with seen.watch() as changes:
        assert await anext(changes) == []
        pipeline = records.Pipeline(name="p1", state=PipelineState.RUNNING)
        await pipelines.create("p1", pipeline)
        assert [entry.value for entry in await anext(changes)] == [pipeline]
    for bucket in (subjects.JOBS, subjects.NODES):
        async with KvTable(roles.scaler, bucket, records.Nodes).watch() as changes:
            assert await anext(changes) == []
    scaling = KvTable(roles.scaler, subjects.SCALING, records.Nodes)
    await scaling.put("p1", records.Nodes(count=1))
    assert [entry.key for entry in await scaling.all()] == ["p1"]
    await Window(roles.scaler).put(subjects.event("p1", "scaled"), b"{}")
    pages = present.behind(roles.ctl, subjects.EVENTS_STREAM)
    assert sum([len(page) async for page in pages]) == 1


async def _datum(roles: Roles) -> None:
    control = await heard(roles.worker, subjects.control(ward("p1"), "w1"))
    assigned = await heard(roles.worker, subjects.assignments(ward("p1")))
    await Window(roles.data).put(subjects.assignments(ward("p1")), b"jobs")
    assert (await assigned.get()).data == b"jobs"
    assert await roles.worker.last(subjects.ASSIGNMENTS_STREAM, subjects.assignments(ward("p1")))
    await Window(roles.data).put(subjects.datums(ward("p1"), JOB), b"datum", msg_id=f"{JOB}/0/1.1")
    claims = await heard(roles.reaper, subjects.CLAIMS)
    held = await take(roles.worker, subjects.datums_stream("p1"), JOB)
    await roles.worker.publish(subjects.claims(ward("p1"), "w1"), b"claim")
    assert (await claims.get()).data == b"claim"
    assert await held.renew()
    window = Window(roles.worker)
    ledger, outcome = subjects.attempts(ward("p1"), JOB, 0), subjects.outcome(ward("p1"), JOB, 0, 1)
    first = await window.put(ledger, b"1", expected_last=0)
    await window.put(ledger, b"2", expected_last=first.sequence)
    firsts, another = Firsts(roles.worker, window), subjects.outcome(ward("p1"), JOB, 1, 1)
    puts = [(outcome, b"done"), (another, b"done"), (another, b"again")]
    found = await asyncio.gather(*(firsts.put(*each) for each in puts))  # by a batch
    assert [each and each.data for each in found] == [None, None, b"done"]
    await held.ack()
    assert await roles.worker.last(subjects.OUTCOMES_STREAM, outcome)
    assert await roles.worker.last(subjects.ATTEMPTS_STREAM, ledger)
    await roles.worker.publish(subjects.logs(ward("p1"), JOB, 0, "w1", "stdout"), b"line")
    await window.put(subjects.worker_event(ward("p1"), "attempt"), b"{}")
    own = subjects.outcomes_of(ward("p1"), JOB)
    pages = present.behind(roles.data, subjects.OUTCOMES_STREAM, own)
    assert [each.data async for page in pages for each in page] == [b"done"] * 2
    await roles.reaper.publish(subjects.control(ward("p1"), "w1"), b"drain")
    assert (await control.get()).data == b"drain"
    assert await backlog.gauge(roles.data, "p1", JOB) is not None
    assert await backlog.gauge(roles.reaper, "p1", JOB) is not None


async def _reaping(either_server: TestServer, roles: Roles) -> None:
    """A worker's connection is gone; the reaper knows by the server's word, and gives back."""
    gone = await heard(roles.reaper, subjects.disconnects(WARDS))
    came = await heard(roles.reaper, subjects.connects(WARDS))
    await Window(roles.data).put(subjects.datums(ward("p1"), JOB), b"datum", msg_id=f"{JOB}/1/1.1")
    async with either_server.connect_worker("p1", "w9") as dying:
        assert await told_of(came, "w9") == ("p1", "w9")
        held = await take(dying, subjects.datums_stream("p1"), JOB)
    assert await told_of(gone, "w9") == ("p1", "w9")
    found = await roles.reaper.scan(subjects.CLAIMS_STREAM, subjects.CLAIMS)
    assert [stored.subject for stored in found] == [subjects.claims(ward("p1"), "w1")]
    assert await roles.reaper.last(subjects.CLAIMS_STREAM, subjects.claims(ward("p1"), "w1"))
    window, ledger = Window(roles.reaper), subjects.attempts(ward("p1"), JOB, 1)
    assert await roles.reaper.last(subjects.ATTEMPTS_STREAM, ledger) is None
    await window.put(ledger, b"worker-lost", expected_last=0)
    count = await backlog.deliveries(roles.reaper, "p1", JOB)
    assert count is not None
    await roles.reaper.publish(subjects.ack("p1", JOB, held.sequence, count), b"-NAK")
    again = await take(roles.worker, subjects.datums_stream("p1"), JOB)
    assert (again.sequence, again.delivered) == (held.sequence, 2)
    await window.put(subjects.claims(ward("p1"), "w9"), b"closing")
    await Window(roles.scaler).put(subjects.event("p1", "reaped"), b"{}")
    await again.ack()


async def test_a_worker_can_do_nothing_to_another_pipeline(
    either_server: TestServer, roles: Roles
) -> None:
    """It can neither take, settle nor report p2's datums; what it tries fails at once."""
    await Window(roles.data).put(subjects.datums(ward("p2"), JOB), b"datum")
    worker, window = roles.worker, Window(roles.worker)
    async with either_server.connect_worker("p2", "w1") as other:
        held = await take(other, subjects.datums_stream("p2"), JOB)
        pull = StandingPull(worker, subjects.datums_stream("p2"), JOB, lambda _: None)
        pull.start()
        pull.want(1)
        for payload in (b"+ACK", b"-NAK", b"+TERM"):
            await refused(worker.request(subjects.ack("p2", JOB, held.sequence), payload))
        assert pull.failure is not None
        await refused(window.put(subjects.outcome(ward("p2"), JOB, 0, 1), b""))
        await refused(window.put(subjects.attempts(ward("p2"), JOB, 0), b""))
        await refused(window.put(subjects.claims(ward("p2"), "w1"), b""))
        await refused(window.put(subjects.logs(ward("p2"), JOB, 0, "w1", "stdout"), b""))
        await refused(window.put(subjects.datums(ward("p1"), JOB), b""))
        await refused(
            worker.last(subjects.OUTCOMES_STREAM, subjects.outcome(ward("p2"), JOB, 0, 1))
        )
        await refused(worker.scan(subjects.OUTCOMES_STREAM, ">"))
        await refused(worker.js_api("INFO"))
        for subject in (subjects.CLAIMS, subjects.disconnects(WARDS), "_INBOX.>", ">"):
            await refused(worker.serve(subject, _ignore))
        assert await backlog.gauge(roles.data, "p2", JOB) == backlog.Gauge(pending=0, in_flight=1)


async def test_the_scaler_writes_only_what_is_its_own(roles: Roles) -> None:
    nodes = KvTable(roles.scaler, subjects.NODES, records.Nodes)
    await refused(nodes.put("local", records.Nodes(count=9)))
    await refused(Window(roles.reaper).put(subjects.outcome(ward("p1"), JOB, 0, 1), b""))
    await refused(roles.reaper.js_api(f"STREAM.DELETE.{subjects.OUTCOMES_STREAM}"))
    await refused(roles.scaler.request(subjects.api("status"), b""))


async def test_the_truth_cannot_be_deleted_by_anybody(roles: Roles) -> None:
    await refused(roles.data.js_api(f"STREAM.DELETE.{subjects.OUTCOMES_STREAM}"))
    await refused(roles.data.js_api("ACCOUNT.PURGE.DATA"))
    jobs = subjects.bucket_stream(subjects.JOBS)
    await refused(roles.ctl.js_api(f"STREAM.DELETE.{jobs}"))
    await refused(roles.ctl.js_api(f"STREAM.PURGE.{jobs}"))


async def test_a_user_reaches_the_api_and_nothing_else(roles: Roles) -> None:
    for subject in ("$JS.API.INFO", subjects.datums(ward("p1"), JOB), "$KV.trunkline_jobs.x"):
        await refused(roles.user.request(subject, b""))
    for subject in (">", "trunkline.>", "$SYS.>"):
        await refused(roles.user.serve(subject, _ignore))


async def refused(call: Awaitable[object]) -> None:
    async with asyncio.timeout(20):
        with pytest.raises(errors.PermissionViolationError):
            await call


async def _ignore(message: Message) -> None:
    raise AssertionError(message)
