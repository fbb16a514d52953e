"""A job's own time limit, over hours of simulated time and several coordinators."""

import asyncio
import contextlib

import msgspec
import pytest
from tests.support.job_records import job_record
from tests.support.memory import TIME, LoopClock, MemoryTable

from trunkline.contracts import records
from trunkline.contracts.states import JobState
from trunkline.coordinator.deadlines import Deadlines
from trunkline.coordinator.jobs import JobStore
from trunkline.coordinator.tables import job_key

pytestmark = TIME

HOUR = 3600
P, ID = "edges", "a" * 32


def a_job(limit_s: float | None) -> records.Job:
    made = job_record(P, ID, JobState.RUNNING, created_ns=1, started_ns=HOUR * 10**9)
    limited = msgspec.structs.replace(made.spec, job_timeout_s=limit_s)
    return msgspec.structs.replace(made, spec=limited)


async def watched(table: MemoryTable[records.Job], for_s: float) -> records.Job:
    """Have one coordinator look after the job for so long, or until it is killed."""
    jobs = JobStore(table, LoopClock())
    async with asyncio.TaskGroup() as tasks:
        mirror = tasks.create_task(jobs.mirror.follow())
        await jobs.mirror.filled.wait()
        job = jobs.known(P, ID)
        assert job is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                await Deadlines(jobs, LoopClock()).watch(job)
        mirror.cancel()
    entry = await table.get(job_key(P, ID))
    assert entry is not None
    assert entry.value is not None
    return entry.value


async def test_the_time_runs_on_while_coordinators_come_and_go() -> None:
    table: MemoryTable[records.Job] = MemoryTable()
    await table.create(job_key(P, ID), a_job(limit_s=5 * HOUR))
    await asyncio.sleep(HOUR)
    for _ in range(3):
        assert (await watched(table, HOUR / 2)).state is JobState.RUNNING
        await asyncio.sleep(HOUR)  # nobody is there
    killed = await watched(table, 99 * HOUR)
    assert (killed.state, killed.reason) == (
        JobState.KILLING,
        "its job_timeout of 18000 s is over",
    )
    assert asyncio.get_running_loop().time() == 6 * HOUR


@pytest.mark.parametrize("change", [{"committing": True}, {"state": JobState.SUCCESS}])
async def test_what_is_being_committed_or_has_ended_is_left_alone(
    change: dict[str, object],
) -> None:
    table: MemoryTable[records.Job] = MemoryTable()
    job = msgspec.structs.replace(a_job(limit_s=1.0), **change)
    await table.create(job_key(P, ID), job)
    await asyncio.sleep(2 * HOUR)
    assert await watched(table, HOUR) == job


async def test_a_job_without_a_limit_may_take_for_ever() -> None:
    table: MemoryTable[records.Job] = MemoryTable()
    await table.create(job_key(P, ID), a_job(limit_s=None))
    assert (await watched(table, 1000 * HOUR)).state is JobState.RUNNING
