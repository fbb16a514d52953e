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
from trunkline.coordinator.folding import TOLD
from trunkline.runtime import metric_names as names
from trunkline.runtime.metrics import Metric

P = "edges"


@pytest.fixture
async def site(nats_server: TestServer, tmp_path: Path) -> AsyncIterator[Site]:
    async with support.site(nats_server, tmp_path, P) as made:
        yield made


def counted(process: Process, metric: Metric, *labels: str) -> float:
    return sum(
        value
        for each, of, value in process.counting.counted()
        if each is metric and of == (P, *labels) and isinstance(value, float | int)
    )


def processed(process: Process) -> float:
    return counted(process, names.DATUMS, "processed")


async def nonsense(site: Site, job: str, count: int) -> None:
    """Have outcomes stored of datums that the job does not have."""
    async with site.server.connect_worker(P) as connection:
        for index in range(10**6, 10**6 + count):
            subject = subjects.outcome(ward(P), job, index, 1)
            await Window(connection).put(subject, b"{}")


async def ignored(process: Process, count: int) -> None:
    """Return once so many outcomes were counted that count for nothing."""
    while counted(process, names.OUTCOMES_IGNORED) < count:
        await asyncio.sleep(0.01)


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


async def test_what_counts_for_nothing_is_counted_whole_and_by_one_leader(site: Site) -> None:
    """1. More of it comes than is told of. 2. Another coordinator folds all that. 3. Some more comes."""
    job = await site.job(P, await site.commit("in", lines(2)))
    much = TOLD + 2
    async with (
        support.process(site) as first,
        asyncio.timeout(25),
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(first.runner.run(P, job.id), name="job")
        while first.folder.fold(P, job.id) is None:
            await asyncio.sleep(0.01)
        await nonsense(site, job.id, much)
        await ignored(first, much)
        running.cancel()
    async with (
        support.process(site) as second,
        job_workers.worker(site, P, lambda task: None if task.index else done(task)),
        asyncio.timeout(25),
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(second.runner.run(P, job.id), name="job")
        await folded(second, job, 1)  # which was stored after all of that
        assert counted(second, names.OUTCOMES_IGNORED) == 0
        running.cancel()


async def test_what_is_stored_while_a_jobs_runner_is_to_begin_again_is_counted_once(
    site: Site,
) -> None:
    """1. One of four datums ends. 2. The runner ends. 3. Two end. 4. It begins again. 5. The last one ends."""
    tasks_: list[DatumTask] = []
    job = await site.job(P, await site.commit("in", lines(4)))

    async def end(*indexes: int) -> None:
        async with site.server.connect_worker(P) as connection:
            for task in (each for each in tasks_ if each.index in indexes):
                subject = subjects.outcome(ward(P), job.id, task.index, task.generation)
                await Window(connection).put(subject, messages.encode(done(task)))

    async with (
        support.process(site) as process,
        job_workers.worker(site, P, tasks_.append),
        asyncio.timeout(25),
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(process.runner.run(P, job.id), name="job")
        while len(tasks_) < 4:
            await asyncio.sleep(0.01)
        await end(0)
        await folded(process, job, 1)
        running.cancel()
        while process.folder.fold(P, job.id) is not None:
            await asyncio.sleep(0.01)
        await end(1, 2)
        running = tasks.create_task(process.runner.run(P, job.id), name="job")
        await folded(process, job, 3)
        assert processed(process) == 3
        await end(3)
        while processed(process) < 4:
            await asyncio.sleep(0.01)
        await running
        assert processed(process) == 4
