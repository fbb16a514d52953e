"""Key-value tables on a real server."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from tests.support.nats import TestServer

from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Entry
from trunkline.bus.tables import KvTable
from trunkline.contracts import errors, records, subjects
from trunkline.runtime.clock import SystemClock


@pytest.fixture
async def ctl(nats_server: TestServer) -> AsyncIterator[NatsConnection]:
    await nats_server.declare()
    async with nats_server.connect("coordinator") as connection:
        yield connection


def repo(name: str, description: str = "") -> records.Repo:
    return records.Repo(name=name, created_ns=1, description=description)


def repos(connection: NatsConnection) -> KvTable[records.Repo]:
    return KvTable(connection, subjects.REPOS, records.Repo)


async def test_records_are_created_once_and_updated_at_their_revision(ctl: NatsConnection) -> None:
    table = repos(ctl)
    assert await table.get("a") is None
    first = await table.create("a", repo("a"))
    with pytest.raises(errors.AlreadyExistsError):
        await table.create("a", repo("a", "other"))
    second = await table.update("a", repo("a", "new"), first)
    with pytest.raises(errors.ConflictError):
        await table.update("a", repo("a", "late"), first)
    entry = await table.get("a")
    assert entry is not None
    assert entry == Entry(key="a", value=repo("a", "new"), revision=second, at_ns=entry.at_ns)
    assert abs(entry.at_ns - SystemClock().wall_ns()) < 60 * 10**9


async def test_a_deleted_record_is_gone_and_may_be_created_again(ctl: NatsConnection) -> None:
    table = repos(ctl)
    await table.delete("a")
    first = await table.create("a", repo("a"))
    with pytest.raises(errors.ConflictError):
        await table.delete("a", first + 7)
    await table.delete("a", first)
    assert await table.get("a") is None
    assert await table.all() == []
    assert await table.create("a", repo("a", "again")) > first


async def test_all_lists_by_prefix_sorted_by_key(ctl: NatsConnection) -> None:
    table = KvTable(ctl, subjects.BRANCHES, records.Branch)
    for key in ("b.master", "a.master", "ab.master", "a.dev"):
        await table.create(key, records.Branch(repo="x", name=key))
    await table.delete("b.master")
    assert [entry.key for entry in await table.all()] == ["a.dev", "a.master", "ab.master"]
    assert [entry.key for entry in await table.all("a.")] == ["a.dev", "a.master"]
    assert [entry.key for entry in await table.all("a.m")] == ["a.master"]


async def test_all_reads_more_than_one_batch(ctl: NatsConnection) -> None:
    table = repos(ctl)
    async with asyncio.TaskGroup() as tasks:
        for number in range(2300):
            tasks.create_task(table.create(f"r{number:04}", repo("r")), name="create")
    assert len(await table.all()) == 2300


async def test_writes_under_way_over_a_crash_are_stored_once(
    nats_server: TestServer, ctl: NatsConnection
) -> None:
    """A create whose answer was lost is told as made, not as made by somebody else."""
    table = repos(ctl)

    async def create(name: str) -> None:
        revision = await table.create(name, repo(name))
        await table.update(name, repo(name, "second"), revision)

    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        for number in range(300):
            tasks.create_task(create(f"r{number}"), name="create")
        await asyncio.sleep(0.01)
        await nats_server.restart()
    found = await table.all()
    assert len(found) == 300
    assert all(entry.value and entry.value.description == "second" for entry in found)


async def test_a_watch_begins_with_all_and_goes_on_with_changes(ctl: NatsConnection) -> None:
    table = repos(ctl)
    async with asyncio.timeout(20), table.watch() as batches:
        assert await anext(batches) == []
        revision = await table.create("a", repo("a"))
        (entry,) = await anext(batches)
        assert entry == Entry(key="a", value=repo("a"), revision=revision, at_ns=entry.at_ns)
        assert entry.at_ns
    await table.create("b", repo("b"))
    await table.delete("a")
    async with asyncio.timeout(20), table.watch() as batches:
        assert [entry.key for entry in await anext(batches)] == ["b"]
        await table.delete("b")
        (entry,) = await anext(batches)
        assert (entry.key, entry.value) == ("b", None)


async def test_a_watch_survives_crashes_of_the_server_without_silence(
    nats_server: TestServer, ctl: NatsConnection
) -> None:
    table = repos(ctl)
    async with asyncio.timeout(20), table.watch() as batches:
        assert await anext(batches) == []
        for number in range(3):
            await nats_server.kill()
            await nats_server.start()
            async with asyncio.timeout(20):
                await ctl.until_connected()
                await table.create(f"r{number}", repo("r"))
                assert _keys(await anext(batches)) == [f"r{number}"]


async def test_a_watch_reads_a_large_bucket_as_one_first_batch(ctl: NatsConnection) -> None:
    table = repos(ctl)
    async with asyncio.TaskGroup() as tasks:
        for number in range(1700):
            tasks.create_task(table.create(f"r{number:04}", repo("r")), name="create")
    async with asyncio.timeout(10), table.watch() as batches:
        assert len(await anext(batches)) == 1700


async def test_keys_that_are_no_tokens_are_refused(ctl: NatsConnection) -> None:
    for key in ("", "a b", "a..b", "*", "a.>", "ü"):
        with pytest.raises(errors.InvalidNameError):
            await repos(ctl).get(key)


def _keys(entries: Sequence[Entry[records.Repo]]) -> list[str]:
    return [entry.key for entry in entries]


async def test_a_record_that_nobody_can_read_stops_no_reader_and_is_told_until_it_is_put_right(
    ctl: NatsConnection,
) -> None:
    """1. Somebody writes what is no record. 2. Those beside it are read, now and later; what was
    known of one that went bad stands. 3. It can be created, and is told no more.
    """
    table = repos(ctl)
    await table.create("a", repo("a"))
    await ctl.publish("$KV.trunkline_repos.bad", b"\0no record")
    async with asyncio.timeout(10), table.watch() as batches:
        assert [each.key for each in await anext(batches)] == ["a"]
        assert await table.get("bad") is None
        assert [each.key for each in await table.all()] == ["a"]
        assert table.problems == [
            "the record $KV.trunkline_repos.bad cannot be read: put it right, or delete it"
        ]
        await ctl.publish("$KV.trunkline_repos.a", b"bad, too")
        await table.create("bad", repo("bad"))
        seen = [each.key async for batch in first(batches, 2) for each in batch]
        assert seen == ["bad"]
        assert len(table.problems) == 1
        await table.create("a", repo("a"))
        assert [each.key for each in await anext(batches)] == ["a"]
        assert table.problems == []


async def first(
    batches: AsyncIterator[Sequence[Entry[records.Repo]]], count: int
) -> AsyncIterator[Sequence[Entry[records.Repo]]]:
    """Yield batches with entries until there were so many messages, readable or not."""
    while count > 0:
        batch = await anext(batches)
        count -= max(1, len(batch))
        yield batch
        if any(each.key == "bad" for each in batch):
            return
