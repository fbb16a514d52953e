"""What is read of a stream's leader is there, and says what a direct get would."""

from collections.abc import AsyncIterator

import pytest
from tests.support.nats import TestServer

from trunkline.bus.connection import NatsConnection
from trunkline.bus.newest import Newest
from trunkline.bus.publishing import Window
from trunkline.bus.reads import SCAN_BATCH
from trunkline.bus.tables import KvTable
from trunkline.contracts import errors, records, subjects

JOBS = subjects.bucket_stream(subjects.JOBS)
ROOT = f"$KV.{subjects.JOBS}"


def commit(name: str) -> records.Commit:
    return records.Commit(
        id=name, repo="in", branch="master", manifest="", files=0, size=0, created_ns=1
    )


@pytest.fixture
async def ctl(nats_server: TestServer) -> AsyncIterator[NatsConnection]:
    await nats_server.declare()
    async with nats_server.connect("coordinator") as connection:
        yield connection


async def test_a_message_is_the_same_as_by_a_direct_get(
    nats_server: TestServer, ctl: NatsConnection
) -> None:
    await Window(ctl).put(f"{ROOT}.p.a", b"\x00\xff", headers={"X-Y": "z"})
    async with nats_server.connect("auditor") as auditor:
        newest = Newest(auditor)
        found = await newest.last(JOBS, f"{ROOT}.p.a")
        direct = await auditor.last(JOBS, f"{ROOT}.p.a")
        assert found is not None
        assert direct is not None
        assert (found.subject, found.data, found.sequence, found.at_ns) == (
            direct.subject,
            direct.data,
            direct.sequence,
            direct.at_ns,
        )
        assert found.headers["X-Y"] == "z"
        assert await newest.last(JOBS, f"{ROOT}.p.b") is None
        with pytest.raises(errors.PermissionViolationError):
            await newest.last(subjects.bucket_stream(subjects.PIPELINES), "$KV.x")


async def test_all_messages_are_there_up_to_the_last_one_that_the_leader_has(
    nats_server: TestServer, ctl: NatsConnection
) -> None:
    window = Window(ctl)
    count = SCAN_BATCH + 3
    for number in range(count):
        await window.put(f"{ROOT}.p.{number}", b"%d" % number)
    await window.put(f"{ROOT}.q.0", b"another's")
    async with nats_server.connect("auditor") as auditor:
        newest = Newest(auditor)
        found = await newest.scan(JOBS, f"{ROOT}.p.>")
        assert [each.data for each in found] == [b"%d" % number for number in range(count)]
        assert await newest.scan(JOBS, f"{ROOT}.r.>") == []


async def test_a_table_that_reads_by_it_knows_what_was_deleted(
    nats_server: TestServer, ctl: NatsConnection
) -> None:
    written = KvTable(ctl, subjects.COMMITS, records.Commit)
    for name in ("a", "b"):
        await written.put(f"in.{name}", commit(name))
    await written.delete("in.a")
    async with nats_server.connect("auditor") as auditor:
        read = KvTable(auditor, subjects.COMMITS, records.Commit, reads=Newest(auditor))
        assert await read.get("in.a") is None
        entry = await read.get("in.b")
        assert entry is not None
        assert await read.all() == [entry]
