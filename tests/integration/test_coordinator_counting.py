"""What is counted of outcomes, over a change of who counts."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support import job_workers
from tests.support import jobs as support
from tests.support.job_workers import done
from tests.support.jobs import Process, Site, folded, lines
from tests.support.nats import TestServer
from tests.support.wards import ward

from trunkline.bus.publishing import Window
from trunkline.contracts import messages, subjects
from trunkline.contracts.messages import DatumTask, Outcome
from trunkline.runtime import metric_names as names

P = "edges"


@pytest.fixture
async def site(nats_server: TestServer, tmp_path: Path) -> AsyncIterator[Site]:
    async with support.site(nats_server, tmp_path, P) as made:
        yield made


def processed(process: Process) -> float:
    return sum(
        value
        for metric, labels, value in process.counting.counted()
        if metric is names.DATUMS and labels == (P, "processed") and isinstance(value, float | int)
    )


async def test_a_coordinator_counts_what_is_stored_from_its_start_on_and_folds_all(
    site: Site,
) -> None:
    """1. Three of five datums end. 2. Another coordinator begins, and folds them. 3. A fourth one ends."""
    late: list[DatumTask] = []

    def work(task: DatumTask) -> Outcome | None:
        if task.index < 3:
            return done(task)
        late.append(task)
        return None

    job = await site.job(P, await site.commit("in", lines(5)))
    async with (
        support.process(site) as first,
        job_workers.worker(site, P, work),
        asyncio.timeout(25),
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(first.runner.run(P, job.id), name="job")
        await folded(first, job, 3)
        assert processed(first) == 3
        while not late:
            await asyncio.sleep(0.01)
        running.cancel()
    async with (
        support.process(site) as second,
        asyncio.timeout(25),
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(second.runner.run(P, job.id), name="job")
        await folded(second, job, 3)
        assert processed(second) == 0
        task = late[0]
        subject = subjects.outcome(ward(P), job.id, task.index, task.generation)
        async with site.server.connect_worker(P) as connection:
            await Window(connection).put(subject, messages.encode(done(task)))
        await folded(second, job, 4)
        assert processed(second) == 1
        running.cancel()
