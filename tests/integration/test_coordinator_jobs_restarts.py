"""Datums that are worked on once more while their job runs, and jobs that take too long."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.support import job_workers
from tests.support import jobs as support
from tests.support.crash_points import Faults
from tests.support.job_workers import done, failed
from tests.support.jobs import CLOCK, Process, Site, folded, hashes, lines, stored
from tests.support.nats import TestServer
from tests.support.wards import ward

from trunkline.contracts import messages, records, subjects
from trunkline.contracts.messages import Assignment, DatumTask, Outcome
from trunkline.contracts.states import JobState
from trunkline.coordinator import restarting
from trunkline.coordinator.core.restarts import RestartRefusedError
from trunkline.coordinator.tables import job_key

P = "edges"


@pytest.fixture
async def site(nats_server: TestServer, tmp_path: Path) -> AsyncIterator[Site]:
    async with support.site(nats_server, tmp_path, P) as made:
        yield made


async def restart(process: Process, job: records.Job, wanted: dict[int, int]) -> records.Job:
    current = await process.jobs.get(P, job.id)
    assert current is not None
    return await restarting.ask(process.jobs, process.outcomes, current, wanted)


async def test_what_a_restarted_datum_did_before_does_not_count_and_its_new_outcome_does(
    site: Site,
) -> None:
    """One has failed, one has ended well, and one is in a worker's hands when they are restarted."""
    contents = lines(5)
    anew = await stored(site.store, "/f000002", "anew")
    late: list[Outcome] = []

    def work(task: DatumTask) -> Outcome | None:
        if task.generation == 1 and task.index == 3:
            late.append(done(task))
            return None
        if task.generation == 1 and task.index == 1:
            return failed(task)
        return done(task, [anew] if (task.index, task.generation) == (2, 2) else None)

    job = await site.job(P, await site.commit("in", contents))
    async with (
        support.process(site) as process,
        job_workers.worker(site, P, work) as worker,
        asyncio.timeout(25),
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(process.runner.run(P, job.id), name="job")
        await folded(process, job, 4)
        wanted = {1: 2, 2: 2, 3: 2}
        assert await restart(process, job, wanted) == await restart(process, job, wanted)
    job = await site.record(job)
    assert (job.state, job.reason) == (JobState.SUCCESS, "")
    assert job.counts == records.Counts(processed=5)
    assert await site.output(job) == {**hashes(contents), "/f000002": anew.sha256}
    generations = [(each.index, each.generation) for each in worker.tasks]
    assert sorted(generations) == [(0, 1), (1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (4, 1)]
    async with support.process(site) as process:
        after = await process.outcomes.page(job, None, after=-1, limit=9)
    assert [each.generation for each in after] == [1, 2, 2, 2, 1]
    assert len(late) == 1


async def test_workers_are_told_which_generation_counts(site: Site) -> None:
    job = await site.job(P, await site.commit("in", lines(3)))

    async def told() -> dict[str, int]:
        subject = subjects.assignments(ward(P))
        last = await site.data.last(subjects.ASSIGNMENTS_STREAM, subject)
        assert last is not None
        assignment = messages.decode(subject, last.data, Assignment)
        return assignment.jobs[0].generations

    async with support.process(site) as process, asyncio.timeout(25), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(process.runner.run(P, job.id), name="job")
        await process.jobs.until(P, lambda jobs: jobs[0].state is JobState.RUNNING)
        await restart(process, job, {1: 2})
        while await told() != {"1": 2}:
            await asyncio.sleep(0.01)
        running.cancel()


async def test_a_skipped_datum_and_an_ended_job_are_refused_and_nothing_changes(
    site: Site,
) -> None:
    contents = lines(3)
    first = await site.job(P, await site.commit("in", contents))
    async with support.process(site) as process, asyncio.timeout(25):
        async with job_workers.worker(site, P):
            await process.runner.run(P, first.id)
        with pytest.raises(RestartRefusedError, match="rerun"):
            await restart(process, first, {1: 2})
        more = await site.commit("in", {**contents, "/g": "g"})
        job = await site.job(P, more, order=2)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(process.runner.run(P, job.id), name="job")
            await process.jobs.until(P, lambda jobs: jobs[-1].state is JobState.RUNNING)
            with pytest.raises(RestartRefusedError, match="datum 1 is skipped"):
                await restart(process, job, {1: 2, 3: 2})
            running.cancel()
    assert (await site.record(job)).generations == {}


async def test_a_job_that_takes_too_long_is_killed_and_says_why(site: Site) -> None:
    job = await site.job(P, await site.commit("in", lines(3)), job_timeout_s=0.3)
    async with (
        support.process(site) as process,
        job_workers.worker(site, P, lambda task: done(task) if task.index else None),
        asyncio.timeout(25),
    ):
        await process.runner.run(P, job.id)
    job = await site.record(job)
    assert (job.state, job.reason) == (JobState.KILLED, "its job_timeout of 0.3 s is over")
    assert job.ended_ns - job.started_ns >= 0.3e9
    assert await site.output(job) is None
    await site.is_clean(job)


async def test_a_job_whose_time_was_over_while_nobody_looked_is_killed_at_once(site: Site) -> None:
    job = await site.job(P, await site.commit("in", lines(3)), job_timeout_s=60.0)
    past = msgspec.structs.replace(job, started_ns=CLOCK.wall_ns() - 61 * 10**9)
    await site.tables.jobs.put(job_key(P, job.id), past)
    async with (
        support.process(site) as process,
        job_workers.worker(site, P) as worker,
        asyncio.timeout(25),
    ):
        await process.runner.run(P, job.id)
    assert (await site.record(job)).state is JobState.KILLED
    assert worker.tasks == []


async def test_a_datum_that_is_restarted_in_the_moment_of_its_jobs_failure_still_counts(
    site: Site,
) -> None:
    """The job is judged by its record as it is then, not by what was known a moment before.

    1. The last datum fails, and the coordinator is about to write FAILURE into the job's record.
    2. Meanwhile the datum is restarted: the record is still RUNNING.
    3. The failure does not come to be; the job goes on with the new generation.
    """

    def work(task: DatumTask) -> Outcome:
        return failed(task) if task.generation == 1 else done(task)

    job = await site.job(P, await site.commit("in", lines(1)))
    key = job_key(P, job.id)

    async def meanwhile(effect: str) -> None:
        entry = await site.tables.jobs.get(key)
        assert entry is not None
        assert entry.value is not None
        if effect == f"update {key}" and entry.value.state is JobState.RUNNING:
            faults.meanwhile = None
            changed = msgspec.structs.replace(entry.value, generations={"0": 2})
            await site.tables.jobs.update(key, changed, entry.revision)

    faults = Faults(meanwhile=meanwhile)
    async with support.process(site, faults=faults) as process, job_workers.worker(site, P, work):
        async with asyncio.timeout(25):
            await process.runner.run(P, job.id)
    assert faults.meanwhile is None
    job = await site.record(job)
    assert (job.state, job.counts) == (JobState.SUCCESS, records.Counts(processed=1))
