"""Leases of killed workers, given back by the real reaper on a real server."""

import asyncio
import functools
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.memory import MemoryBus
from tests.support.nats import TestServer
from tests.support.wards import WARDS, ward

from trunkline.bus import backlog, tails, topology
from trunkline.bus.connection import NatsConnection, connect
from trunkline.bus.ports import Delivery
from trunkline.bus.publishing import Window
from trunkline.bus.pulls import StandingPull
from trunkline.contracts import messages, subjects
from trunkline.contracts.attempts import Ledger, Run, verdict
from trunkline.contracts.messages import Claim, Held, LogLine
from trunkline.contracts.states import Cause
from trunkline.runtime.clock import SystemClock
from trunkline.scaler.reaper import Reaper
from trunkline.scaler.telling import Telling
from trunkline.scaler.unclaimed import Unclaimed

HOLDER = Path(__file__).parents[1] / "support" / "entries" / "lease_holder.py"
JOB = "a" * 32
OTHER = "b" * 32


class Field:
    """A server with datums of pipelines, a reaper, and raw workers."""

    def __init__(self, server: TestServer, data: NatsConnection, scaler: NatsConnection) -> None:
        self.server, self.data, self.scaler = server, data, scaler
        self.reaper = Reaper(
            scaler,
            Window(scaler),
            Telling(MemoryBus()),
            WARDS,
            clock=SystemClock(),
            deliveries=functools.partial(backlog.deliveries, scaler),
            live=lambda *_: True,
            wake=lambda: None,
        )
        self.jobs: list[tuple[str, str]] = []
        self.unclaimed = Unclaimed(
            scaler,
            leases=functools.partial(backlog.in_flight, scaler),
            jobs=lambda: self.jobs,
            living=self.reaper.living,
            lost=self.reaper.lost,
        )

    async def fill(self, pipeline: str, job: str, count: int) -> None:
        """Publish datums and make the job's consumer; its leases last a minute."""
        self.jobs.append((pipeline, job))
        await topology.declare_pipeline(self.data, ward(pipeline))
        await topology.ensure_job_consumer(
            self.data, ward(pipeline), job, ack_wait_s=60, max_ack_pending=10_000
        )
        window = Window(self.data)
        async with asyncio.TaskGroup() as tasks:
            for index in range(count):
                task = messages.DatumTask(
                    pipeline=pipeline,
                    job=job,
                    index=index,
                    datum="d",
                    fingerprint="f",
                    inputs=(),
                )
                data = messages.encode(task)
                tasks.create_task(window.put(subjects.datums(ward(pipeline), job), data))

    @asynccontextmanager
    async def holder(
        self, pipeline: str, job: str, count: int, name: str = "w-0"
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Start a raw worker that holds so many; yield it once it has claimed them."""
        url = await self.server.issuer.worker_url(pipeline)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(str(HOLDER), url, pipeline, ward(pipeline).token, name, job, str(count)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    @asynccontextmanager
    async def taker(self, pipeline: str, job: str) -> AsyncIterator["Taker"]:
        """Yield another worker, which takes whatever it gets."""
        async with self.server.connect_worker(pipeline, "taker") as connection:
            taker = Taker(connection, pipeline, job)
            taker.pull.start()
            taker.pull.want(5000)
            yield taker
            await taker.pull.stop()

    async def ledger(self, pipeline: str, job: str, index: int) -> Ledger | None:
        subject = subjects.attempts(ward(pipeline), job, index)
        stored = await self.scaler.last(subjects.ATTEMPTS_STREAM, subject)
        return messages.decode(subject, stored.data, Ledger) if stored else None

    async def charged(self, pipeline: str, job: str, index: int) -> Ledger:
        while True:
            ledger = await self.ledger(pipeline, job, index)
            if ledger is not None:
                return ledger
            await asyncio.sleep(0.01)

    async def last_words(self, pipeline: str, job: str, count: int) -> list[LogLine]:
        """Return the first so many of what is said in the logs, once there are so many."""
        found: list[LogLine] = []
        said = [subjects.logs_of(ward(pipeline), job, stream="agent")]
        async with tails.tail(self.data, subjects.LOGS_STREAM, said) as batches:
            async for batch in batches:
                found += [messages.decode(each.subject, each.data, LogLine) for each in batch]
                if len(found) >= count:
                    break
        return found

    async def knows(self, pipeline: str, name: str) -> None:
        """Return once the reaper has the worker's claim."""
        while self.reaper.claim((pipeline, name)) is None:
            await asyncio.sleep(0.005)


class Taker:
    """Takes and acks."""

    def __init__(self, connection: NatsConnection, pipeline: str, job: str) -> None:
        self.pull = StandingPull(connection, subjects.datums_stream(pipeline), job, self._take)
        self.taken: list[Delivery] = []
        self._more = asyncio.Event()

    def _take(self, delivery: Delivery) -> None:
        self.taken.append(delivery)
        self._more.set()

    async def has(self, count: int) -> None:
        while len(self.taken) < count:
            self._more.clear()
            await self._more.wait()

    async def ack(self) -> None:
        for delivery in self.taken:
            await delivery.ack()
        self.taken.clear()


@asynccontextmanager
async def reaping(server: TestServer, *pipelines: str) -> AsyncIterator[Field]:
    await server.declare(*pipelines)
    async with (
        asyncio.timeout(50),
        server.connect("coordinator-data") as data,
        server.connect("scaler-data") as scaler,
    ):
        field = Field(server, data, scaler)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(field.reaper.run())
            await field.reaper.loaded()
            yield field
            running.cancel()
        assert scaler.violations == 0


@pytest.fixture
async def field(nats_server: TestServer) -> AsyncIterator[Field]:
    async with reaping(nats_server, "p") as made:
        yield made


@pytest.mark.parametrize(("count", "rounds"), [(1, 5), (8, 5), (100, 5), (1000, 3)])
async def test_leases_of_a_killed_worker_are_back_at_once(
    field: Field, count: int, rounds: int
) -> None:
    """With leases of a minute, only the reaper can be what brings them back."""
    took_ms = []
    for number in range(rounds):
        await field.fill("p", JOB, count)
        async with field.holder("p", JOB, count, f"w-{number}") as holder:
            await field.knows("p", f"w-{number}")
            async with field.taker("p", JOB) as taker:
                await asyncio.sleep(0.05)  # so that its pull waits at the server
                began = time.monotonic()
                holder.kill()
                await taker.has(count)
                took_ms.append((time.monotonic() - began) * 1e3)
                assert len(taker.taken) == count
                await taker.ack()
    p50 = statistics.median(took_ms)
    print(f"{count} leases back after: p50 {p50:.1f} ms, most {max(took_ms):.1f} ms")
    assert max(took_ms) < 10_000


async def test_only_what_ran_is_charged(field: Field) -> None:
    await field.fill("p", JOB, 3)
    async with field.holder("p", JOB, 3) as holder, field.taker("p", JOB) as taker:
        await field.knows("p", "w-0")
        holder.kill()
        await taker.has(3)
    ledger = await field.charged("p", JOB, 0)
    (attempt,) = ledger.attempts
    assert (attempt.cause, attempt.worker, attempt.incarnation) == (
        Cause.WORKER_LOST,
        "w-0",
        "raw",
    )
    assert isinstance(verdict(ledger, tries=3, now_ns=attempt.ended_ns), Run)
    assert await field.ledger("p", JOB, 1) is None
    assert await field.ledger("p", JOB, 2) is None
    (said,) = await field.last_words("p", JOB, 1)
    assert (said.ends, said.worker, said.incarnation) == (Cause.WORKER_LOST, "w-0", "raw")
    assert (said.index, said.attempt) == (0, 1)


async def test_who_says_good_bye_is_not_reaped(field: Field) -> None:
    await field.fill("p", JOB, 2)
    async with field.holder("p", JOB, 2) as holder, field.taker("p", JOB) as taker:
        await field.knows("p", "w-0")
        assert holder.stdin is not None
        holder.stdin.write(b"\n")
        await holder.wait()
        await taker.has(2)
        assert field.reaper.claim(("p", "w-0")) is None
    # what was told last is the worker's own good-bye
    stored = await field.scaler.last(subjects.CLAIMS_STREAM, subjects.claims(ward("p"), "w-0"))
    assert stored is not None
    assert messages.decode("", stored.data, Claim).slots == 1
    assert await field.ledger("p", JOB, 0) is None


async def test_a_claim_is_emptied_once_its_worker_is_reaped(field: Field) -> None:
    await field.fill("p", JOB, 1)
    async with field.holder("p", JOB, 1) as holder:
        await field.knows("p", "w-0")
        holder.kill()
        while True:
            stored = await field.scaler.last(
                subjects.CLAIMS_STREAM, subjects.claims(ward("p"), "w-0")
            )
            assert stored is not None
            last = messages.decode("", stored.data, Claim)
            if last.closing:
                break
            await asyncio.sleep(0.01)
    assert last.held == ()
    assert last.incarnation == "raw"


async def test_a_worker_that_comes_back_is_charged_nothing(field: Field) -> None:
    await field.fill("p", JOB, 1)
    async with field.holder("p", JOB, 1) as holder:
        await field.knows("p", "w-0")
        last = field.reaper.claim(("p", "w-0"))
        assert last is not None
        holder.kill()
        await field.charged("p", JOB, 0)
    async with field.server.connect_worker("p", "w-0") as back:
        await back.publish(subjects.claims(ward("p"), "w-0"), messages.encode(last))
        while (await field.charged("p", JOB, 0)).attempts[0].cause is Cause.WORKER_LOST:
            await asyncio.sleep(0.01)
        ledger = await field.charged("p", JOB, 0)
        # read while it is there: once it is gone, it is lost a second time
        said = await field.last_words("p", JOB, 2)
    assert [attempt.cause for attempt in ledger.attempts] == [Cause.SERVER_RESTART]
    assert [each.ends for each in said] == [Cause.WORKER_LOST, Cause.SERVER_RESTART]


async def test_a_successor_finds_who_died_while_there_was_no_reaper(
    nats_server: TestServer,
) -> None:
    """The claim stands, nobody lists the worker and nobody hears it: the sweep takes it."""
    async with reaping(nats_server, "p") as field:
        await field.fill("p", JOB, 8)
        async with field.holder("p", JOB, 8) as holder:
            await field.knows("p", "w-0")
            await field.scaler.close()
            holder.kill()
            await holder.wait()
            async with reaping(nats_server, "p") as heir, heir.taker("p", JOB) as taker:
                heir.reaper.listed([])
                await taker.has(8)
                await heir.charged("p", JOB, 0)


async def test_a_workers_name_reaches_no_other_pipeline(nats_server: TestServer) -> None:
    """Who a client says it is decides nothing; who the server says it is does.

    1. A worker of `victim`, named `w-0`, holds four datums.
    2. A worker of `spoofer` takes the same name, claims that it holds the same sequences of a job
       of the victim's, and dies.
    3. Nothing of the victim's is given back or charged.
    """
    async with reaping(nats_server, "victim", "spoofer") as field:
        await field.fill("victim", JOB, 4)
        await field.fill("spoofer", OTHER, 1)
        async with (
            field.holder("victim", JOB, 4),
            field.taker("victim", JOB) as taker,
        ):
            await field.knows("victim", "w-0")
            held = await victims_leases(field)
            async with field.holder("spoofer", OTHER, 0) as spoofer:
                url = await nats_server.issuer.worker_url("spoofer")
                await claim_as(url, "spoofer", "w-0", held)
                await field.knows("spoofer", "w-0")
                spoofer.kill()
                await spoofer.wait()
            # its own lease is the measure: once that is reaped, the victim's would have been
            async with field.holder("spoofer", OTHER, 1, "w-1") as other:
                await field.knows("spoofer", "w-1")
                other.kill()
                await field.charged("spoofer", OTHER, 0)
            gauge = await backlog.gauge(field.data, "victim", JOB)
            assert gauge == backlog.Gauge(pending=0, in_flight=4)
            assert taker.taken == []
            assert field.reaper.claim(("victim", "w-0")) is not None
            assert await field.ledger("victim", JOB, 0) is None


async def victims_leases(field: Field) -> Sequence[Held]:
    claim = field.reaper.claim(("victim", "w-0"))
    assert claim is not None
    return claim.held


async def claim_as(url: str, pipeline: str, worker: str, held: Sequence[Held]) -> None:
    from trunkline.bus.connection import connect  # noqa: PLC0415

    inbox = subjects.worker_inbox(ward(pipeline), worker)
    async with connect(url, name=worker, inbox=inbox) as connection:
        claim = Claim(worker=worker, incarnation="raw", code_hash="c", slots=1, held=tuple(held))
        await connection.publish(subjects.claims(ward(pipeline), worker), messages.encode(claim))


async def test_reaping_what_was_purged_does_no_harm(field: Field) -> None:
    await field.fill("p", JOB, 3)
    async with field.holder("p", JOB, 3) as holder:
        await field.knows("p", "w-0")
        await topology.delete_job_consumer(field.data, "p", JOB)
        await topology.delete_pipeline(field.data, ward("p"))
        holder.kill()
        await field.charged("p", JOB, 0)
    await field.fill("p", OTHER, 1)
    async with field.taker("p", OTHER) as taker:
        await taker.has(1)


async def test_a_restarted_server_costs_nobody_an_attempt(field: Field) -> None:
    await field.fill("p", JOB, 2)
    async with field.holder("p", JOB, 2) as holder:
        await field.knows("p", "w-0")
        await field.server.restart()
        await field.scaler.until_connected()
        await asyncio.sleep(2)
        assert await field.ledger("p", JOB, 0) is None
        # and afterwards a death is noticed as before
        async with field.taker("p", JOB) as taker:
            holder.kill()
            await taker.has(1)
            await field.charged("p", JOB, 0)


async def test_what_a_killed_worker_had_not_claimed_yet_is_given_back_too(field: Field) -> None:
    """The lease lasts a minute; the kill comes between the message and the claim."""
    await field.fill("p1", JOB, 5)
    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(field.unclaimed.run())
        async with field.server.connect_worker("p1", "w-0") as connection:
            taker = Taker(connection, "p1", JOB)
            taker.pull.start()
            taker.pull.want(3)
            await taker.has(3)
            await taker.taken.pop().ack()
            unclaimed = {each.sequence for each in taker.taken}
        async with asyncio.timeout(20), field.taker("p1", JOB) as heir:
            await heir.has(4)
            assert unclaimed < {each.sequence for each in heir.taken}
        looking.cancel()


async def test_what_living_workers_hold_is_left_to_them(field: Field) -> None:
    await field.fill("p1", JOB, 4)
    async with field.holder("p1", JOB, 2), asyncio.TaskGroup() as tasks:
        await field.knows("p1", "w-0")
        looking = tasks.create_task(field.unclaimed.run())
        async with field.server.connect_worker("p1", "w-1") as connection:
            taker = Taker(connection, "p1", JOB)
            taker.pull.start()
            taker.pull.want(1)
            await taker.has(1)
            unclaimed = {each.sequence for each in taker.taken}
        async with asyncio.timeout(20), field.taker("p1", JOB) as heir:
            await heir.has(2)
            assert {each.sequence for each in heir.taken} == unclaimed | {4}
        looking.cancel()


async def test_a_claim_of_a_worker_that_cannot_be_named_hurts_nobody(field: Field) -> None:
    url = await field.server.issuer.worker_url("p1")
    async with connect(url, name="w-9", inbox=subjects.worker_inbox(ward("p1"), "w-9")) as hostile:
        claim = Claim(worker="w*", incarnation="x", code_hash="c", slots=1)
        await hostile.publish(f"trunkline.claims.{ward('p1')}.w*", messages.encode(claim))
        await hostile.flush()
        await field.fill("p1", JOB, 1)
        async with field.holder("p1", JOB, 1) as process:
            await field.knows("p1", "w-0")
            assert field.reaper.claim(("p1", "w*")) is None
            process.kill()
            await field.charged("p1", JOB, 0)
