"""What somebody writes over records and assignments by other tools, and nobody can read, takes nothing away."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tests.support.jobs import CLOCK
from tests.support.nats import TestServer
from tests.support.wards import WARDS, ward

from trunkline.bus.connection import NatsConnection
from trunkline.bus.publishing import Window
from trunkline.contracts import messages, records, spec, subjects
from trunkline.contracts.messages import Assignment
from trunkline.contracts.states import JobState, PipelineState
from trunkline.coordinator.assignments import Assignments
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.events import Events
from trunkline.coordinator.mending import Mending
from trunkline.coordinator.tables import Tables, tables_of

COMMIT = "c" * 32
SPEC = spec.PipelineSpec(
    name="edges",
    transform=spec.Transform(cmd=("true",)),
    input=spec.Input(pfs=spec.PfsInput(repo="in", glob="/*")),
)
GARBAGE = (secrets.token_bytes(4096), b'{"type": "pipeline.v999", "name": 7}', b"[" * 1_000_000)
RECORDS: dict[str, tuple[str, str, Any]] = {
    "pipelines": (
        subjects.PIPELINES,
        "edges",
        records.Pipeline(name="edges", state=PipelineState.RUNNING, version=1),
    ),
    "repos": (subjects.REPOS, "in", records.Repo(name="in", created_ns=1)),
    "branches": (subjects.BRANCHES, "in.master", records.Branch(repo="in", name="master")),
    "commits": (
        subjects.COMMITS,
        f"in.{COMMIT}",
        records.Commit(
            id=COMMIT, repo="in", branch="master", manifest="m", files=1, size=1, created_ns=1
        ),
    ),
    "jobs": (
        subjects.JOBS,
        f"edges.{COMMIT}",
        records.Job(
            pipeline="edges",
            id=COMMIT,
            version=1,
            code_hash="c",
            spec=SPEC,
            salt="",
            order=1,
            inputs=(),
            state=JobState.RUNNING,
            created_ns=1,
        ),
    ),
    "done": (subjects.DONE, "edges", records.DoneIndex(runs=("run",))),
    "nodes": (subjects.NODES, "local", records.Nodes(count=3)),
    "scaling": (
        subjects.SCALING,
        "edges",
        records.Scaling(
            pipeline="edges",
            cap=1,
            want=1,
            have=1,
            ready=1,
            busy=0,
            pending=0,
            in_flight=0,
            reason="so many",
        ),
    ),
}


@pytest.fixture
async def ctl(nats_server: TestServer) -> AsyncIterator[NatsConnection]:
    await nats_server.declare()
    async with nats_server.connect("coordinator") as connection:
        yield connection


@pytest.fixture
async def data(nats_server: TestServer) -> AsyncIterator[NatsConnection]:
    async with nats_server.connect("coordinator-data") as connection:
        yield connection


class Coordinator:
    """The part of one that mends."""

    def __init__(self, ctl: NatsConnection, data: NatsConnection) -> None:
        self.catalog = Catalog(tables_of(ctl), CLOCK, local=True)
        self.assignments = Assignments(self.catalog.jobs, WARDS, data, Window(data))
        self.mending = Mending(self.catalog, self.assignments, Events(Window(ctl), CLOCK))

    @property
    def tables(self) -> Tables:
        return self.catalog.tables

    async def read(self, name: str, key: str) -> Any:
        entry = await getattr(self.tables, name).get(key)
        return entry.value if entry else None


async def stored(ctl: NatsConnection, bucket: str, key: str) -> bytes:
    last = await ctl.last(subjects.bucket_stream(bucket), f"$KV.{bucket}.{key}")
    assert last is not None
    return last.data


@pytest.mark.parametrize("name", RECORDS)
async def test_a_record_that_was_overwritten_while_no_coordinator_ran_is_read_and_put_back(
    ctl: NatsConnection, data: NatsConnection, name: str
) -> None:
    """Each kind of garbage over each kind of record; the next coordinator finds what was there before."""
    bucket, key, record = RECORDS[name]
    await getattr(tables_of(ctl), name).create(key, record)
    for number, each in enumerate(GARBAGE):
        await ctl.publish(f"$KV.{bucket}.{key}", each)
        await ctl.flush()
        async with asyncio.timeout(10):
            next_one = Coordinator(ctl, data)
            async with next_one.catalog.following():
                assert await next_one.read(name, key) == record
                await next_one.mending.round()
                assert await stored(ctl, bucket, key) == messages.encode(record)
                assert next_one.tables.problems == []
        mended = await ctl.last(subjects.EVENTS_STREAM, subjects.event("unnamed", "mended"))
        assert mended is not None
        event = messages.decode("", mended.data, messages.Event)
        assert event.text.startswith(f"somebody had overwritten {name} "), number


@pytest.mark.parametrize("name", ["pipelines", "repos", "branches", "jobs", "scaling"])
async def test_a_coordinator_that_runs_knows_what_was_overwritten_again_and_again(
    ctl: NatsConnection, data: NatsConnection, name: str
) -> None:
    bucket, key, record = RECORDS[name]
    await getattr(tables_of(ctl), name).create(key, record)
    running = Coordinator(ctl, data)
    async with asyncio.timeout(10), running.catalog.following():
        running.catalog.woken.clear()
        for _ in range(20):
            await ctl.publish(f"$KV.{bucket}.{key}", b"garbage")
        await ctl.flush()
        while await stored(ctl, bucket, key) == b"garbage":
            await running.catalog.woken.wait()
            running.catalog.woken.clear()
            await running.mending.round()
    assert await running.read(name, key) == record


async def test_what_stands_nowhere_else_is_told_and_may_be_written_anew(
    ctl: NatsConnection, data: NatsConnection
) -> None:
    """1. Garbage twice, while nobody looks: nothing knows what was there. 2. It is created anew."""
    bucket, key, record = RECORDS["repos"]
    await tables_of(ctl).repos.create(key, record)
    for _ in range(2):
        await ctl.publish(f"$KV.{bucket}.{key}", b"garbage")
    next_one = Coordinator(ctl, data)
    async with asyncio.timeout(10), next_one.catalog.following():
        await next_one.mending.round()
        assert await next_one.read("repos", key) is None
        assert "put it right, or delete it" in next_one.tables.problems[0]
        await next_one.catalog.repos.create(key, record)
        assert next_one.tables.problems == []


async def test_a_deletion_leaves_nothing_that_could_come_back(ctl: NatsConnection) -> None:
    bucket, key, record = RECORDS["repos"]
    table = tables_of(ctl).repos
    await table.put(key, record)
    await table.put(key, msgspec.structs.replace(record, description="newer"))
    await table.delete(key)
    stream = subjects.bucket_stream(bucket)
    left = [each async for page in ctl.reads.pages(stream, f"$KV.{bucket}.{key}") for each in page]
    assert [each.headers["KV-Operation"] for each in left] == ["PURGE"]


async def test_garbage_as_an_assignment_is_replaced_and_not_looked_at_again(
    ctl: NatsConnection, data: NatsConnection
) -> None:
    running = Coordinator(ctl, data)
    subject = subjects.assignments(ward("edges"))
    async with asyncio.timeout(10), running.catalog.following():
        await running.assignments.publish("edges")
        assert await running.assignments.publish_overwritten() == []
        for garbage in GARBAGE:
            await data.publish(subject, garbage)
            await data.flush()
            assert await running.assignments.publish_overwritten() == ["edges"]
            last = await data.last(subjects.ASSIGNMENTS_STREAM, subject)
            assert last is not None
            assert messages.decode(subject, last.data, Assignment).pipeline == "edges"
            assert await running.assignments.publish_overwritten() == []
