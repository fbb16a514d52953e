"""What is taken away at once, and how often records are read for it."""

import asyncio
from dataclasses import replace

from tests.support import memory
from tests.support.job_records import job_record

from trunkline.bus.ports import Entry
from trunkline.contracts import records
from trunkline.contracts.states import JobState, PipelineState
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.retention import Retention
from trunkline.coordinator.settings import Settings
from trunkline.coordinator.tables import Tables, job_key
from trunkline.runtime.clock import SystemClock

JOBS, KEPT = 1050, 50


class CountedTable(memory.MemoryTable[records.Job]):
    """Counts how often all of it is read."""

    reads = 0

    async def all(self, prefix: str = "") -> list[Entry[records.Job]]:
        self.reads += 1
        return await super().all(prefix)


def ended(number: int) -> records.Job:
    return job_record("edges", f"{number:032x}", JobState.KILLED, order=number, compacted=True)


async def tables() -> tuple[Tables, CountedTable]:
    jobs, made = CountedTable(), memory.tables()
    for number in range(JOBS):
        each = ended(number)
        await jobs.create(job_key(each.pipeline, each.id), each)
    pipeline = records.Pipeline(
        name="edges", state=PipelineState.RUNNING, version=1, spec=ended(0).spec
    )
    await made.pipelines.create("edges", pipeline)
    return replace(made, jobs=jobs), jobs


async def test_many_jobs_go_and_their_records_are_read_once() -> None:
    """Read again for each hundred that go, it took a hundred times as long for ten times as many."""
    found, jobs = await tables()
    clock = SystemClock()
    catalog = Catalog(found, clock, local=True)
    async with asyncio.timeout(10), catalog.following():
        jobs.reads = 0
        retention = Retention(
            catalog, Settings(ctl_url="", data_url="", data_key="", store="", keep_jobs=KEPT), clock
        )
        assert await retention.take_away() == (JOBS - KEPT, 0)
        assert jobs.reads == 1
        kept = {each.value.id for each in await jobs.all() if each.value is not None}
        assert kept == {ended(number).id for number in range(JOBS - KEPT, JOBS)}
