"""A bucket in memory, beside other writers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.support.nats import TestServer

from trunkline.bus import topology
from trunkline.bus.connection import NatsConnection
from trunkline.bus.tables import KvTable
from trunkline.contracts import errors, records, subjects
from trunkline.contracts.durability import Durability
from trunkline.coordinator.mirror import Mirror


@pytest.fixture
async def ctl(nats_server: TestServer) -> AsyncIterator[NatsConnection]:
    await nats_server.declare()
    async with nats_server.connect("coordinator") as connection:
        yield connection


def repo(name: str, description: str = "") -> records.Repo:
    return records.Repo(name=name, created_ns=1, description=description)


def table(connection: NatsConnection) -> KvTable[records.Repo]:
    return KvTable(connection, subjects.REPOS, records.Repo)


class Told:
    """What a mirror has told, and who waits for it."""

    def __init__(self) -> None:
        self.changes: list[tuple[str | None, str | None]] = []
        self.woken = asyncio.Event()

    def __call__(self, key: str, old: records.Repo | None, new: records.Repo | None) -> None:
        assert key in {each.name for each in (old, new) if each is not None}
        self.changes.append((old.description if old else None, new.description if new else None))
        self.woken.set()


@asynccontextmanager
async def following(mirror: Mirror[records.Repo]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        follower = tasks.create_task(mirror.follow(), name="follow")
        async with asyncio.timeout(10):
            await mirror.filled.wait()
        yield
        follower.cancel()


async def test_what_is_there_at_first_is_there_once_it_is_filled(ctl: NatsConnection) -> None:
    await table(ctl).create("a", repo("a"))
    mirror = Mirror(table(ctl), Told())
    async with following(mirror):
        assert mirror.get("a") == repo("a")
        assert list(mirror) == ["a"]


async def test_own_writes_are_seen_at_once_and_told_once(ctl: NatsConnection) -> None:
    told = Told()
    mirror = Mirror(table(ctl), told)
    async with following(mirror):
        await mirror.create("a", repo("a", "1"))
        assert mirror.get("a") == repo("a", "1")
        await mirror.replace("a", repo("a", "2"))
        await mirror.replace("a", repo("a", "2"))
        await mirror.delete("a")
        assert "a" not in mirror
        await mirror.create("a", repo("a", "3"))
        await mirror.create("end", repo("end", "end"))
    other = Mirror(table(ctl), Told())
    async with following(other):
        assert [each.description for each in other.values()] == ["3", "end"]
    assert told.changes == [
        (None, "1"),
        ("1", "2"),
        ("2", None),
        (None, "3"),
        (None, "end"),
    ]


async def test_anothers_writes_come_by_themselves(ctl: NatsConnection) -> None:
    told = Told()
    mirror, other = Mirror(table(ctl), told), table(ctl)
    async with following(mirror), asyncio.timeout(10):
        revision = await other.create("a", repo("a", "1"))
        await other.update("a", repo("a", "2"), revision)
        await other.delete("a")
        while told.changes[-1:] != [("2", None)]:
            told.woken.clear()
            await told.woken.wait()
    assert "a" not in mirror


async def test_a_write_that_lost_a_race_leaves_the_mirror_knowing_who_won(
    ctl: NatsConnection,
) -> None:
    mirror, other = Mirror(table(ctl), Told()), table(ctl)
    await mirror.create("a", repo("a", "mine"))  # nobody follows: the mirror knows its own only
    first = await other.get("a")
    assert first is not None
    await other.update("a", repo("a", "theirs"), first.revision)
    with pytest.raises(errors.ConflictError):
        await mirror.replace("a", repo("a", "mine again"))
    assert mirror.get("a") == repo("a", "theirs")
    await mirror.replace("a", repo("a", "mine again"))
    second = await other.get("a")
    assert second is not None
    await other.update("a", repo("a", "theirs again"), second.revision)
    with pytest.raises(errors.ConflictError):
        await mirror.delete("a")
    assert mirror.get("a") == repo("a", "theirs again")
    await mirror.delete("a")
    assert "a" not in mirror
    await other.create("a", repo("a", "back"))
    with pytest.raises(errors.AlreadyExistsError):
        await mirror.create("a", repo("a", "mine"))
    assert await mirror.ensure("a", repo("a", "mine")) == repo("a", "back")


async def test_what_is_known_is_put_back_into_a_bucket_that_was_emptied(
    nats_server: TestServer,
) -> None:
    """1. A server loses what it had in memory, and its bucket counts from 1 again. 2. A write is refused, since what
    it is about is not there. 3. All of it is put back, and is written as ever.
    """
    async with asyncio.timeout(30), nats_server.connect("coordinator") as ctl:
        await topology.declare_ctl(ctl, Durability.MEMORY)
        mirror = Mirror(table(ctl), Told())
        for name in ("a", "b", "c"):
            await mirror.create(name, repo(name, "1"))
        await nats_server.restart()
        await topology.declare_ctl(ctl, Durability.MEMORY)
        with pytest.raises(errors.ConflictError):
            await mirror.replace("a", repo("a", "2"))
        assert mirror.get("a") is None
        assert mirror.newest == 3, "by this it is seen, though the record is not known any more"
        assert await mirror.put_back() == 3
        await mirror.replace("a", repo("a", "2"))
        await mirror.delete("b")
        other = Mirror(table(ctl), Told())
        async with following(other):
            assert [each.description for each in other.values()] == ["2", "1"]
