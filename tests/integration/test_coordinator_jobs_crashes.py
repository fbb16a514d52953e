"""A coordinator that dies at any instant of a job, and its successor.

Each effect of the back half has a point before and one after it (`crash_points.Faults`). The stories are
told once without a fault, to count the points, and then again for each point: the process dies there,
another one is made from nothing, and what it leaves must be what the undisturbed run leaves.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support import job_workers
from tests.support import jobs as support
from tests.support.crash_points import CrashError, Faults
from tests.support.job_workers import done, failed
from tests.support.jobs import Site, hashes, lines
from tests.support.nats import TestServer
from tests.support.wards import ward

from trunkline.bus import topology
from trunkline.contracts import records, subjects
from trunkline.contracts.messages import DatumTask, Outcome
from trunkline.contracts.states import JobState
from trunkline.coordinator import beginning, restarting
from trunkline.storage import runs

BEFORE = lines(70, "before")
"""Two windows."""
AFTER = {**BEFORE, "/f000001": "changed", "/f000068": "changed"}
"""Skipped but for one datum in each window."""


@pytest.fixture
async def site(nats_server: TestServer, tmp_path: Path) -> AsyncIterator[Site]:
    async with support.site(nats_server, tmp_path) as made:
        yield made


async def driven(site: Site, job: records.Job, faults: Faults) -> None:
    """Run a job to its end in one coordinator, or to where that dies."""
    async with support.process(site, faults=faults) as process, asyncio.timeout(20):
        await process.runner.run(job.pipeline, job.id)


async def twice(site: Site, job: records.Job, at: int) -> str:
    """Run a job in a coordinator that dies at a point, then in another one; return the point."""
    faults = Faults(at)
    with contextlib.suppress(CrashError):
        try:
            await driven(site, job, faults)
        except BaseExceptionGroup as group:
            _, rest = group.split(CrashError)
            assert rest is None, rest.exceptions
    await driven(site, job, Faults())
    return faults.trace[-1]


Story = Callable[[Site, str, int | None], Awaitable[list[str]]]
"""Plays on a pipeline of its own, dying at a point; returns the names of the points, if it was not to die."""


async def story_of_success(site: Site, pipeline: str, at: int | None) -> list[str]:
    log = {path: await support.stored(site.store, "/log", path) for path in AFTER}

    def work(task: DatumTask) -> Outcome:
        files = [file for each in task.inputs for file in each.files or ()]
        return done(task, [*files, log[files[0].path]])

    given: dict[str, Any] = {"same_path": "concatenate"}
    first = await site.job(pipeline, await site.commit("in", BEFORE), **given)
    async with job_workers.worker(site, pipeline, work) as worker:
        await driven(site, first, Faults())
        worker.tasks.clear()
        job = await site.job(pipeline, await site.commit("in", AFTER), order=2, **given)
        points = await played(site, job, at)
        job = await site.record(job)
    assert job.state is JobState.SUCCESS, job.reason
    assert (job.total, job.listed_to) == (70, 70)
    assert job.counts == records.Counts(processed=2, skipped=68)
    assert {task.index for task in worker.tasks} == {1, 68}
    assert await site.output(job) == hashes({**AFTER, "/log": "".join(sorted(AFTER))})
    assert (await site.head(pipeline), job.output) == (job.id, job.id)
    await put_away(site, job, 2)
    return points


async def story_of_failure(site: Site, pipeline: str, at: int | None) -> list[str]:
    def work(task: DatumTask) -> Outcome:
        return failed(task) if task.index == 1 else done(task)

    job = await site.job(pipeline, await site.commit("in", lines(3)))
    async with job_workers.worker(site, pipeline, work):
        points = await played(site, job, at)
    job = await site.record(job)
    assert job.state is JobState.FAILURE
    assert job.reason.endswith("(index 1, /f000001): exit code 1")
    assert job.counts == records.Counts(processed=2, failed=1)
    assert await site.output(job) is None
    await put_away(site, job, 1)
    return points


async def story_of_a_kill(site: Site, pipeline: str, at: int | None) -> list[str]:
    job = await site.job(pipeline, await site.commit("in", lines(3)))
    async with support.process(site) as process, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(process.runner.run(pipeline, job.id), name="job")
        async with job_workers.worker(
            site, pipeline, lambda task: done(task) if task.index else None
        ):
            async with asyncio.timeout(20):
                while (fold := process.folder.fold(pipeline, job.id)) is None or fold.done < 2:
                    await asyncio.sleep(0.01)
            running.cancel()
    await job_workers.tried(site, job, 0, "w1")
    await job_workers.tried(site, job, 1, "w1")
    async with support.process(site) as process:
        await process.jobs.kill(pipeline, job.id, "told to")
    points = await played(site, job, at)
    job = await site.record(job)
    assert (job.state, job.reason) == (JobState.KILLED, "told to")
    assert await site.output(job) is None
    await put_away(site, job, 1)
    archive = await runs.open_run(site.store, job.outcomes)
    assert archive.count == 2
    async with support.process(site) as process:
        ledgers = await process.outcomes.ledgers(job, range(3))
    assert ledgers.keys() == {0}, "of the datum that has no outcome to tell of its attempts"
    assert b"user-exit" in ledgers[0]
    return points


async def story_of_a_restart(site: Site, pipeline: str, at: int | None) -> list[str]:
    """The record asks for a new outcome of a datum that had ended, and of one that had not."""
    work = partial(_but, 1)
    job = await site.job(pipeline, await site.commit("in", lines(2)))
    async with support.process(site) as process, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(process.runner.run(pipeline, job.id), name="job")
        async with job_workers.worker(site, pipeline, work):
            async with asyncio.timeout(20):
                while (fold := process.folder.fold(pipeline, job.id)) is None or fold.done < 1:
                    await asyncio.sleep(0.01)
            running.cancel()
            await asyncio.wait([running])
            await restarting.ask(
                process.jobs, process.outcomes, await site.record(job), {0: 2, 1: 2}
            )
    async with job_workers.worker(site, pipeline, work) as worker:
        points = await played(site, job, at)
    job = await site.record(job)
    assert (job.state, job.reason) == (JobState.SUCCESS, "")
    assert job.counts == records.Counts(processed=2)
    assert {(each.index, each.generation) for each in worker.tasks} >= {(0, 2), (1, 2)}
    assert await site.output(job) == hashes(lines(2))
    await put_away(site, job, 1)
    return points


def _but(index: int, task: DatumTask) -> Outcome | None:
    """Work on all but the first generation of a datum."""
    return done(task) if task.index != index or task.generation > 1 else None


async def played(site: Site, job: records.Job, at: int | None) -> list[str]:
    """Run the job with a crash at the point, or without one; return the names of the points then."""
    if at is not None:
        await twice(site, job, at)
        return []
    faults = Faults()
    await driven(site, job, faults)
    return faults.trace


async def put_away(site: Site, job: records.Job, jobs: int) -> None:
    """Assert that the job is settled, and is in the done index once."""
    assert job.compacted
    assert job.outcomes
    await site.is_clean(job)
    index = await site.done(job.pipeline)
    assert len(index.jobs) == len(set(index.jobs)) == len(index.runs) == jobs
    again = await site.begin(await site.job(job.pipeline, job.inputs[0].commit, begin=False))
    assert again.done_runs == index.runs
    assert beginning.may_begin(again, [])


async def test_a_job_whose_output_is_on_the_branch_succeeds_whatever_is_lost_by_then(
    site: Site,
) -> None:
    """Merged again, it would wait for outcomes that are gone, or fail with its output committed.

    1. The branch moves to the output; the coordinator dies before the record says SUCCESS.
    2. The outcomes, and the run that a look at the skipped datums needs, are lost.
    3. The next coordinator finds the output on the branch.
    """
    await site.server.declare("edges")
    first = await site.job("edges", await site.commit("in", BEFORE))
    async with job_workers.worker(site, "edges"):
        await driven(site, first, Faults())
        job = await site.job("edges", await site.commit("in", AFTER), order=2)
        with pytest.raises(BaseExceptionGroup) as died:
            await driven(site, job, Faults("after update edges.master"))
        assert died.group_contains(CrashError, depth=None)
    job = await site.record(job)
    assert (job.state, job.committing, job.output) == (JobState.MERGING, True, "")
    outcomes = subjects.outcomes_of(ward("edges"), job.id)
    await topology.purge(site.data, subjects.OUTCOMES_STREAM, outcomes)
    for window in job.skipped:
        (site.folder / "store" / window.run).unlink()
    await driven(site, job, Faults())
    job = await site.record(job)
    assert (job.state, job.reason, job.output) == (JobState.SUCCESS, "", job.id)
    assert job.counts == records.Counts(processed=2, skipped=68)
    assert await site.output(job) == hashes(AFTER)
    await put_away(site, job, 2)


async def test_a_job_whose_outcomes_are_lost_while_it_merges_fails_and_says_so(site: Site) -> None:
    """1. It is merging, and the coordinator dies. 2. Somebody deletes its outcomes."""
    await site.server.declare("edges")
    job = await site.job("edges", await site.commit("in", BEFORE))
    async with job_workers.worker(site, "edges"):
        with pytest.raises(BaseExceptionGroup) as died:
            await driven(site, job, Faults("before update edges.master"))
        assert died.group_contains(CrashError, depth=None)
    outcomes = subjects.outcomes_of(ward("edges"), job.id)
    await topology.purge(site.data, subjects.OUTCOMES_STREAM, outcomes)
    await driven(site, job, Faults())
    job = await site.record(job)
    assert job.state is JobState.FAILURE
    assert "does not exist; run the job again" in job.reason


# Just before an effect nothing is left that was not there just after the one before, unless something
# else went on meanwhile: so most of what can be found is found by the latter.
@pytest.mark.timeout(240)
@pytest.mark.parametrize("moment", ["after", pytest.param("before", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "story", [story_of_success, story_of_failure, story_of_a_kill, story_of_a_restart]
)
async def test_a_crash_at_any_instant_changes_nothing_of_what_is_left(
    site: Site, story: Story, moment: str
) -> None:
    await site.server.declare("whole")
    points = await story(site, "whole", None)
    assert len(points) > 20
    for at, point in enumerate(points):
        if at and not point.startswith(moment):
            continue
        pipeline = f"crash{at}"
        await site.server.declare(pipeline)
        await story(site, pipeline, at)
