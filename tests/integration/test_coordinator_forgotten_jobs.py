"""Jobs that are settled leave the coordinator's memory, and are found in the bucket all the same."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from tests.support.job_records import job_record
from tests.support.jobs import CLOCK
from tests.support.nats import TestServer

from trunkline.contracts import records
from trunkline.contracts.states import JobState
from trunkline.coordinator.jobs import JobStore
from trunkline.coordinator.tables import Tables, job_key, tables_of

KEPT = 5


def a_job(number: int, pipeline: str = "edges", state: JobState = JobState.SUCCESS) -> records.Job:
    fields = {"order": number, "created_ns": number, "compacted": state.ended}
    return job_record(pipeline, f"{number:032x}", state, **fields)


@pytest.fixture
async def tables(nats_server: TestServer) -> AsyncIterator[Tables]:
    await nats_server.declare()
    async with nats_server.connect("coordinator") as ctl:
        yield tables_of(ctl)


async def stored(tables: Tables, *jobs: records.Job) -> None:
    for job in jobs:
        await tables.jobs.create(job_key(job.pipeline, job.id), job)


@asynccontextmanager
async def following(tables: Tables) -> AsyncIterator[JobStore]:
    jobs = JobStore(tables.jobs, CLOCK, kept=KEPT)
    async with asyncio.TaskGroup() as tasks:
        follower = tasks.create_task(jobs.mirror.follow(), name="follow")
        async with asyncio.timeout(10):
            await jobs.mirror.filled.wait()
        jobs.forget()
        yield jobs
        follower.cancel()


def orders(jobs: JobStore, pipeline: str = "edges") -> list[int]:
    return [job.order for job in jobs.list(pipeline)]


async def test_memory_holds_the_newest_and_what_is_under_way_with_its_set(tables: Tables) -> None:
    await stored(
        tables,
        *(a_job(number) for number in range(1, 31)),
        a_job(3, "late", JobState.WAITING),
        a_job(1, "other"),
    )
    async with following(tables) as jobs:
        assert orders(jobs) == [3, 26, 27, 28, 29, 30]
        assert (orders(jobs, "late"), orders(jobs, "other")) == ([3], [1])
        assert jobs.forgotten == {"edges"}


async def test_what_settles_pushes_older_ones_out(tables: Tables) -> None:
    async with following(tables) as jobs:
        for number in range(1, 41):
            waiting = await jobs.create(a_job(number, state=JobState.WAITING))
            await jobs.kill("edges", waiting.id, "enough")
            assert len(jobs.mirror) <= 2 * KEPT + 1
        assert orders(jobs)[-KEPT:] == [36, 37, 38, 39, 40]


async def test_a_forgotten_job_is_found_changed_and_never_made_twice(tables: Tables) -> None:
    old = a_job(2)
    await stored(tables, *(a_job(number) for number in range(1, 31)))
    async with following(tables) as jobs:
        assert jobs.known("edges", old.id) is None
        assert await jobs.find("edges", old.id) == old
        assert await jobs.find("edges", "f" * 32) is None
        assert await jobs.kill("edges", old.id, "too late") == old
        assert await jobs.is_used(a_job(7).id)
        assert not await jobs.is_used("f" * 32)
        wanted = msgspec.structs.replace(a_job(4), state=JobState.WAITING, order=31)
        assert await jobs.create(wanted) == a_job(4)
        assert [job.order for job in await jobs.every("edges")] == list(range(1, 31))


async def test_all_jobs_of_a_pipeline_are_deleted_those_too_that_nobody_remembers(
    tables: Tables,
) -> None:
    await stored(tables, *(a_job(number) for number in range(1, 31)), a_job(1, "other"))
    async with following(tables) as jobs:
        await jobs.delete_all("edges")
        assert await jobs.every() == [a_job(1, "other")]
        assert (orders(jobs), jobs.forgotten) == ([], set())
