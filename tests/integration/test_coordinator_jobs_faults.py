"""One job whose messages, records, server or store are not as they should be."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.support import job_workers
from tests.support import jobs as support
from tests.support.job_workers import done
from tests.support.jobs import Site, finished, hashes, lines
from tests.support.nats import TestServer
from tests.support.wards import ward

from trunkline.bus import topology
from trunkline.bus.publishing import Window
from trunkline.contracts import messages, records, subjects
from trunkline.contracts.messages import DatumTask, Outcome
from trunkline.contracts.states import JobState
from trunkline.storage import runs

P = "edges"


@pytest.fixture
async def site(nats_server: TestServer, tmp_path: Path) -> AsyncIterator[Site]:
    async with support.site(nats_server, tmp_path, P) as made:
        yield made


async def test_lost_messages_are_put_back_as_a_new_round(site: Site) -> None:
    job = await site.job(P, await site.commit("in", lines(100)))
    lost: list[int] = []

    def work(task: DatumTask) -> Outcome | None:
        return None if task.round == 1 and task.index in lost else done(task)

    lost += [3, 50, 99]
    async with (
        support.process(site) as process,
        job_workers.worker(site, P, work) as worker,
        asyncio.timeout(25),
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(process.runner.run(P, job.id), name="job")
        await process.jobs.until(P, lambda js: js[0].state is JobState.RUNNING)
        fold = process.folder.fold(P, job.id)
        while fold is None or fold.done < 97:
            await asyncio.sleep(0.02)
        await topology.purge(site.data, subjects.datums_stream(P), subjects.datums(ward(P), job.id))
        await running
    job = await site.record(job)
    assert job.state is JobState.SUCCESS
    assert sorted(task.index for task in worker.tasks if task.round > 1) == lost
    (event,) = await site.events(P, "repaired")
    assert "3 of the 100 datums" in event.text


async def test_a_consumer_that_is_missing_is_declared_again(site: Site) -> None:
    job = await site.job(P, await site.commit("in", lines(20)))
    async with (
        support.process(site) as process,
        asyncio.timeout(25),
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(process.runner.run(P, job.id), name="job")
        await process.jobs.until(P, lambda js: js[0].state is JobState.RUNNING)
        await topology.delete_job_consumer(site.data, P, job.id)
        async with job_workers.worker(site, P):
            await running
    assert (await site.record(job)).state is JobState.SUCCESS


async def test_a_record_that_cannot_be_right_ends_its_datum_and_not_the_job(site: Site) -> None:
    """1. A worker stores garbage as an outcome. 2. The stream refuses every other one. 3. The job
    must not wait for ever.
    """
    job = await site.job(P, await site.commit("in", lines(3)))
    async with site.server.connect_worker(P, "liar") as connection:
        liar = Window(connection)

        def work(task: DatumTask) -> Outcome | None:
            return None if task.index == 1 else done(task)

        async with (
            support.process(site) as process,
            job_workers.worker(site, P, work) as worker,
            asyncio.timeout(25),
            asyncio.TaskGroup() as tasks,
        ):
            running = tasks.create_task(process.runner.run(P, job.id), name="job")
            while len(worker.tasks) < 3:
                await asyncio.sleep(0.02)
            await liar.put(subjects.outcome(ward(P), job.id, 999, 1), b"no such datum")
            await liar.put(subjects.outcome(ward(P), job.id, 1, 1), b"garbage")
            await running
    job = await site.record(job)
    assert job.state is JobState.FAILURE
    assert "the worker's outcome cannot be used" in job.reason
    assert job.counts == records.Counts(processed=2, failed=1)
    (event,) = await site.events(P, "outcome-ignored")
    assert "no such datum" in event.text


async def test_an_outcome_of_a_datum_that_is_skipped_does_not_count(site: Site) -> None:
    """Nobody was asked for it; it may be there before the coordinator knows what is skipped."""
    contents = lines(10)
    async with job_workers.worker(site, P) as worker:
        await finished(site, await site.job(P, await site.commit("in", contents)))
        first = worker.tasks[0]
        job = await site.job(P, await site.commit("in", {**contents, "/new": "n"}), order=2)
        forged = msgspec.structs.replace(
            done(first, [await support.stored(site.store, "/forged", "x")]), job=job.id
        )
        async with site.server.connect_worker(P, "liar") as connection:
            subject = subjects.outcome(ward(P), job.id, first.index, 1)
            await Window(connection).put(subject, messages.encode(forged))
        (job,) = await finished(site, job)
    assert job.counts == records.Counts(processed=1, skipped=10)
    assert await site.output(job) == hashes({**contents, "/new": "n"})
    assert (await runs.open_run(site.store, job.outcomes)).count == 1


async def test_outcomes_that_come_after_a_jobs_end_are_swept(site: Site) -> None:
    job = await site.job(P, await site.commit("in", lines(2)))
    async with job_workers.worker(site, P):
        (job,) = await finished(site, job)
    subject = subjects.outcome(ward(P), job.id, 1, 1)
    async with (
        site.server.connect_worker(P, "late") as connection,
        support.process(site) as process,
    ):
        await Window(connection).put(subject, b"late")
        async with asyncio.timeout(10):
            while await site.held(subjects.OUTCOMES_STREAM, subject):
                await process.folder.sweep()
                await asyncio.sleep(0.02)


async def test_a_job_whose_input_commit_is_gone_fails_and_says_so(site: Site) -> None:
    (job,) = await finished(site, await site.job(P, "e" * 32))
    assert job.state is JobState.FAILURE
    assert "e" * 32 in job.reason


async def test_a_restart_of_the_server_in_the_middle_changes_nothing(site: Site) -> None:
    contents = lines(300)
    job = await site.job(P, await site.commit("in", contents))

    def work(task: DatumTask) -> Outcome | None:
        return done(task) if task.index < 100 or restarted.is_set() else None

    restarted = asyncio.Event()
    async with (
        support.process(site) as process,
        asyncio.timeout(28),
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(process.runner.run(P, job.id), name="job")
        async with job_workers.worker(site, P, work):
            while (fold := process.folder.fold(P, job.id)) is None or fold.done < 100:
                await asyncio.sleep(0.02)
        await site.server.restart()
        restarted.set()
        await topology.delete_job_consumer(site.data, P, job.id)  # frees what was held
        async with job_workers.worker(site, P, work):
            await running
    job = await site.record(job)
    assert (job.state, job.counts.processed) == (JobState.SUCCESS, 300)
    assert await site.output(job) == hashes(contents)
    await site.is_clean(job)


async def test_a_store_that_is_away_holds_a_job_up_and_no_more(site: Site) -> None:
    contents = lines(10)
    job = await site.job(P, await site.commit("in", contents))
    store, away = site.folder / "store", site.folder / "away"
    outcomes: list[int] = []

    def work(task: DatumTask) -> Outcome:
        outcomes.append(task.index)
        if len(outcomes) == 10:
            store.rename(away)
        return done(task)

    async with (
        support.process(site) as process,
        job_workers.worker(site, P, work),
        asyncio.timeout(25),
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(process.runner.run(P, job.id), name="job")
        await process.jobs.until(P, lambda js: js[0].state is JobState.MERGING)
        await asyncio.sleep(0.3)  # for a few tries
        assert not running.done()
        away.rename(store)
    job = await site.record(job)
    assert job.state is JobState.SUCCESS
    assert await site.output(job) == hashes(contents)
