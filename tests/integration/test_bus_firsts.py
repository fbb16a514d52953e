"""Messages of which the first on a subject counts, on a real server and with faults on the way."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.support import proxy
from tests.support.nats import TestServer
from tests.support.wards import ward

from trunkline.bus import firsts as module
from trunkline.bus.batches import Batch, Batches
from trunkline.bus.connection import NatsConnection, connect
from trunkline.bus.firsts import Firsts
from trunkline.bus.ports import Stored
from trunkline.bus.publishing import Window
from trunkline.contracts import errors, subjects

JOB = "0" * 32
STREAM = subjects.OUTCOMES_STREAM
INBOX = subjects.worker_inbox(ward("p1"), "w1")


@contextlib.asynccontextmanager
async def by_proxy(server: TestServer) -> AsyncIterator[tuple[proxy.Proxy, Firsts]]:
    url = await server.issuer.worker_url("p1")
    async with (
        proxy.between(url) as (between, url_of_proxy),
        connect(url_of_proxy, name="w1", inbox=INBOX) as connection,
    ):
        yield between, Firsts(connection, Window(connection))


def outcome(index: int) -> str:
    return subjects.outcome(ward("p1"), JOB, index, 1)


async def put_all(
    firsts: Firsts, indices: Iterable[int], data: bytes = b"ours"
) -> dict[int, Stored | None]:
    """Put all of these at once; return what each put returned."""
    async with asyncio.timeout(25), asyncio.TaskGroup() as tasks:
        puts = {
            index: tasks.create_task(firsts.put(outcome(index), data), name="put")
            for index in indices
        }
    return {index: each.result() for index, each in puts.items()}


async def count(data: NatsConnection) -> int:
    info = await data.js_api(f"STREAM.INFO.{STREAM}")
    messages = info["state"]["messages"]
    assert isinstance(messages, int)
    return messages


async def stored(data: NatsConnection) -> dict[str, bytes]:
    """Return what is in the stream once nobody writes, after a look that no subject is there twice."""
    found = {each.subject: each.data for each in await data.scan(STREAM, subjects.OUTCOMES)}
    assert await count(data) == len(found)
    return found


async def change(data: NatsConnection, **values: Any) -> None:
    config = (await data.js_api(f"STREAM.INFO.{STREAM}"))["config"]
    await data.js_api(f"STREAM.UPDATE.{STREAM}", {**config, **values})


async def test_puts_at_once_are_all_stored_as_ours(
    data: NatsConnection, worker: NatsConnection
) -> None:
    results = await put_all(Firsts(worker, Window(worker)), range(2000))
    assert set(results.values()) == {None}
    assert await stored(data) == {outcome(index): b"ours" for index in range(2000)}
    assert worker.violations == 0


async def test_a_second_one_learns_what_was_first(
    data: NatsConnection, worker: NatsConnection
) -> None:
    firsts = Firsts(worker, Window(worker))
    assert await firsts.put(outcome(1), b"first") is None
    second = await firsts.put(outcome(1), b"second")
    assert second is not None
    assert (second.data, second.subject) == (b"first", outcome(1))
    assert await firsts.put(outcome(1), b"first") is None  # the same again is no other
    assert await stored(data) == {outcome(1): b"first"}


async def test_one_refused_among_many_harms_no_other(
    data: NatsConnection, worker: NatsConnection
) -> None:
    firsts = Firsts(worker, Window(worker))
    await put_all(firsts, (0, 40, 99), b"theirs")
    results = await put_all(firsts, range(100))
    theirs = {index: result.data for index, result in results.items() if result is not None}
    assert theirs == {0: b"theirs", 40: b"theirs", 99: b"theirs"}
    expected = {outcome(index): theirs.get(index, b"ours") for index in range(100)}
    assert await stored(data) == expected


async def test_a_full_stream_is_waited_for(data: NatsConnection, worker: NatsConnection) -> None:
    """Each put says what is in its way, and none says that it is stored before it is."""
    firsts = Firsts(worker, Window(worker))
    await change(data, max_msgs=30)
    told: list[errors.TrunklineError] = []
    async with asyncio.timeout(25), asyncio.TaskGroup() as tasks:
        puts = [
            tasks.create_task(firsts.put(outcome(index), b"ours", told=told.append), name="put")
            for index in range(50)
        ]
        while len(told) < 20:
            await asyncio.sleep(0.01)
        assert sum(each.done() for each in puts) == 30
        assert len(await stored(data)) == 30
        await change(data, max_msgs=-1)
    assert {each.result() for each in puts} == {None}
    assert all(isinstance(each, errors.RefusedError) for each in told)
    assert len(await stored(data)) == 50


@pytest.mark.parametrize("after", [0, 17, 99])
async def test_a_publish_that_is_lost_on_the_way_is_put_again(
    nats_server: TestServer, data: NatsConnection, after: int
) -> None:
    """The first of a batch, one in its midst, or the one that commits it."""
    async with by_proxy(nats_server) as (between, firsts):
        between.up = proxy.once(b"PUB trunkline.outcomes.", after=after)
        results = await put_all(firsts, range(100))
    assert between.lost == 1
    assert set(results.values()) == {None}
    assert len(await stored(data)) == 100


async def test_answers_that_are_lost_are_looked_for(
    nats_server: TestServer, data: NatsConnection
) -> None:
    async with by_proxy(nats_server) as (between, firsts):
        between.down = lambda frame: b".$FI " in frame
        results = await put_all(firsts, range(100))
    assert between.lost > 0
    assert set(results.values()) == {None}
    assert len(await stored(data)) == 100


async def test_a_lost_connection_leaves_nothing_unsettled(
    nats_server: TestServer, data: NatsConnection
) -> None:
    async with by_proxy(nats_server) as (between, firsts):
        between.down = lambda frame: b'"batch"' in frame
        async with asyncio.timeout(25), asyncio.TaskGroup() as tasks:
            putting = tasks.create_task(put_all(firsts, range(100)), name="put")
            while await count(data) < 100:
                await asyncio.sleep(0.01)
            await nats_server.restart()
        assert set(putting.result().values()) == {None}
    await data.until_connected()
    assert len(await stored(data)) == 100


async def test_crashes_of_the_server_lose_and_repeat_nothing(
    nats_server: TestServer, data: NatsConnection, worker: NatsConnection
) -> None:
    firsts, going = Firsts(worker, Window(worker)), iter(range(5000))
    done: set[int] = set()

    async def one_after_the_other() -> None:
        for index in going:
            assert await firsts.put(outcome(index), b"%d" % index) is None
            done.add(index)

    async with asyncio.timeout(28), asyncio.TaskGroup() as tasks:
        for _ in range(100):
            tasks.create_task(one_after_the_other(), name="put")
        for count in (500, 1500, 3000):
            while len(done) < count:
                await asyncio.sleep(0)
            await nats_server.restart()
    await data.until_connected()
    assert await stored(data) == {outcome(index): b"%d" % index for index in range(5000)}


async def test_what_a_killed_process_has_called_stored_is_there(
    nats_server: TestServer, data: NatsConnection, worker: NatsConnection
) -> None:
    """1. A process puts outcomes, and is killed amid them. 2. Another one puts all of them again.

    3. What the first one has been told to be its own still is; each subject has one message.
    """
    url = await nats_server.issuer.worker_url("p1")
    program = Path(proxy.__file__).parent / "entries" / "outcome_putter.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        url,
        "p1",
        ward("p1").token,
        "w9",
        JOB,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        lines = [await process.stdout.readline() for _ in range(1000)]
        process.kill()
        lines += (await process.stdout.read()).splitlines()
        await process.wait()
    told = {int(line) for line in lines if line.strip().isdigit()}
    theirs = await stored(data)
    assert {outcome(index) for index in told} <= theirs.keys()
    results = await put_all(Firsts(worker, Window(worker)), range(len(theirs) + 300))
    for index, result in results.items():
        assert (result is None) == (outcome(index) not in theirs)
    after = await stored(data)
    assert len(after) == len(results)
    assert theirs.items() <= after.items()


async def test_a_stream_that_takes_no_batches_takes_each_alone(
    data: NatsConnection, worker: NatsConnection
) -> None:
    await change(data, allow_batched=False)
    results = await put_all(Firsts(worker, Window(worker)), range(300))
    assert set(results.values()) == {None}
    assert len(await stored(data)) == 300


async def test_more_batches_than_a_stream_may_have_are_put_alone(
    data: NatsConnection, worker: NatsConnection
) -> None:
    inbox, _ = worker.listen(lambda *_: None, below=True)
    for number in range(1100):
        worker.send(outcome(number), b"", reply=f"{inbox}.{number}.10.fail.1.0.$FI")
    await worker.flush()
    results = await put_all(Firsts(worker, Window(worker)), range(2000, 2100))
    assert set(results.values()) == {None}
    assert (await stored(data)).keys() >= {outcome(index) for index in range(2000, 2100)}


async def test_what_waits_for_others_goes_with_what_is_in_a_hurry_and_when_it_is_asked_for(
    worker: NatsConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER_S", 3600)
    firsts = Firsts(worker, Window(worker))
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        assert await firsts.put(outcome(0), b"", hurry=True) is None
        first = tasks.create_task(firsts.put(outcome(1), b""), name="first")
        await asyncio.sleep(0)
        await worker.flush()
        assert not first.done()
        assert await firsts.put(outcome(2), b"", hurry=True) is None
        assert await first is None  # it went along
        second = tasks.create_task(firsts.put(outcome(3), b""), name="second")
        await asyncio.sleep(0)
        firsts.flush()
        assert await second is None


async def test_a_cancelled_put_is_nobodys_concern(worker: NatsConnection) -> None:
    firsts = Firsts(worker, Window(worker))
    async with asyncio.TaskGroup() as tasks:
        early = tasks.create_task(firsts.put(outcome(0), b""), name="early")
        await asyncio.sleep(0)
        early.cancel()
        assert await firsts.put(outcome(1), b"") is None
        late = tasks.create_task(firsts.put(outcome(2), b""), name="late")
        for _ in range(3):
            await asyncio.sleep(0)
        late.cancel()
        assert await firsts.put(outcome(3), b"") is None


async def test_anothers_subject_fails_at_once(worker: NatsConnection) -> None:
    firsts = Firsts(worker, Window(worker))
    async with asyncio.timeout(20):
        with pytest.raises(errors.PermissionViolationError):
            await firsts.put(subjects.outcome(ward("p2"), JOB, 0, 1), b"")


async def test_no_server_is_waited_for(
    nats_server: TestServer, data: NatsConnection, worker: NatsConnection
) -> None:
    firsts = Firsts(worker, Window(worker))
    await nats_server.kill()
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        putting = tasks.create_task(put_all(firsts, range(20)), name="put")
        await asyncio.sleep(0)
        await nats_server.start()
    assert set(putting.result().values()) == {None}
    await data.until_connected()
    assert len(await stored(data)) == 20


async def test_a_batch_ends_once_whatever_comes_after(worker: NatsConnection) -> None:
    """The rest of a batch that was given up is answered message by message, and that is nothing."""
    batches, heard = Batches(worker), list[tuple[Batch, int]]()

    async def put(*indices: int) -> Batch:
        entries = [(outcome(index), b"", b"") for index in indices]
        batch = batches.send(entries, lambda *told: heard.append(told))
        async with asyncio.timeout(20):
            while not batch.ended:
                await asyncio.sleep(0)
        return batch

    first = await put(0)
    refused = await put(1, 0, 2, 3, 4)
    last = await put(5)  # answered after all the rest
    assert [batch.stored for batch in (first, refused, last)] == [1, 0, 1]
    assert heard == [(first, 0), (refused, 0), (last, 0)]
    assert refused.error is not None
    assert refused.error.err_code == errors.RefusedError.STORE_FAILED
