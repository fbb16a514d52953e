"""One job from its pinned inputs to its output commit, on a real server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support import job_workers
from tests.support import jobs as support
from tests.support.job_workers import done, failed
from tests.support.jobs import Site, finished, hashes, lines
from tests.support.nats import TestServer

from trunkline.bus import topology
from trunkline.contracts import messages, records
from trunkline.contracts.messages import DatumTask, Outcome
from trunkline.contracts.states import DatumState, JobState
from trunkline.coordinator import beginning
from trunkline.storage import runs

P = "edges"


@pytest.fixture
async def site(nats_server: TestServer, tmp_path: Path) -> AsyncIterator[Site]:
    async with support.site(nats_server, tmp_path, P) as made:
        yield made


async def test_a_job_commits_what_its_datums_have_written(site: Site) -> None:
    contents = lines(150)
    job = await site.job(P, await site.commit("in", contents))
    async with job_workers.worker(site, P) as worker:
        (job,) = await finished(site, job)
    assert (job.state, job.total, job.listed_to) == (JobState.SUCCESS, 150, 150)
    assert job.counts == records.Counts(processed=150)
    assert sorted(task.index for task in worker.tasks) == list(range(150))
    assert await site.output(job) == hashes(contents)
    assert (await site.head(P), job.output) == (job.id, job.id)
    assert job.compacted
    await site.is_clean(job)


async def test_a_job_needs_no_scratch_file_to_know_its_outcomes(site: Site) -> None:
    """Where there is no room for one, they are read from the stream once more."""
    contents = lines(150)
    job = await site.job(P, await site.commit("in", contents))
    async with (
        job_workers.worker(site, P),
        support.process(site, scratch=site.folder / "missing") as process,
        asyncio.timeout(25),
    ):
        await process.runner.run(P, job.id)
    job = await site.record(job)
    assert job.state is JobState.SUCCESS
    assert job.counts == records.Counts(processed=150)
    assert await site.output(job) == hashes(contents)
    assert (await runs.open_run(site.store, job.outcomes)).count == 150


async def test_jobs_that_do_not_fit_into_an_assignment_together_have_their_turns(
    site: Site,
) -> None:
    """Each job's ticket holds its whole command. Three of them are more than a message may have."""
    commit = await site.commit("in", lines(3))
    jobs = [await site.job(P, commit, order=order, stdin=("x" * 400_000,)) for order in (1, 2, 3)]
    async with job_workers.worker(site, P):
        ended = await finished(site, *jobs)
    assert [each.state for each in ended] == [JobState.SUCCESS] * 3


async def test_a_job_without_datums_succeeds_with_an_empty_commit(site: Site) -> None:
    (job,) = await finished(site, await site.job(P, await site.commit("in", {})))
    assert (job.state, job.total, job.counts) == (JobState.SUCCESS, 0, records.Counts())
    assert await site.output(job) == {}
    assert job.reason == "no datums: in@master has no files"


async def test_a_job_whose_glob_matches_nothing_says_so_and_of_how_many_files(site: Site) -> None:
    (job,) = await finished(
        site, await site.job(P, await site.commit("in", lines(7)), glob="/*.csv")
    )
    assert (job.state, job.total) == (JobState.SUCCESS, 0)
    assert job.reason == "no datums: none of the 7 files of in@master matches the glob '/*.csv'"


async def test_what_an_earlier_job_has_done_is_skipped_and_still_in_the_output(site: Site) -> None:
    first = lines(200)
    second = {**first, "/f000003": "changed", "/new": "new"}
    async with job_workers.worker(site, P) as worker:
        await finished(site, await site.job(P, await site.commit("in", first)))
        worker.tasks.clear()
        job = await site.job(P, await site.commit("in", second), order=2)
        (job,) = await finished(site, job)
        assert sorted(task.inputs[0].path for task in worker.tasks) == ["/f000003", "/new"]
        assert job.counts == records.Counts(processed=2, skipped=199)
        assert await site.output(job) == hashes(second)

        worker.tasks.clear()
        job = await site.job(P, await site.commit("in", second), order=3)
        (job,) = await finished(site, job)
        assert worker.tasks == []
        assert job.counts == records.Counts(skipped=201)
        assert await site.output(job) == hashes(second)

        commit = await site.commit("in", second)
        job = await site.job(P, commit, order=4, reprocess_spec="every_job")
        (job,) = await finished(site, job)
    assert job.counts == records.Counts(processed=201)


async def test_a_failed_datum_fails_the_job_at_its_end_and_the_good_ones_are_skipped_next(
    site: Site,
) -> None:
    contents = lines(100)

    def work(task: DatumTask) -> Outcome:
        return failed(task) if task.inputs[0].path == "/f000007" else done(task)

    async with job_workers.worker(site, P, work):
        (job,) = await finished(site, await site.job(P, await site.commit("in", contents)))
    assert job.state is JobState.FAILURE
    assert job.counts == records.Counts(processed=99, failed=1)
    assert job.reason.startswith("1 of 100 datums failed: datum ")
    assert job.reason.endswith("(index 7, /f000007): exit code 1")
    assert await site.output(job) is None
    assert await site.head(P) == ""
    await site.is_clean(job)

    async with job_workers.worker(site, P) as worker:
        job = await site.job(P, await site.commit("in", contents), order=2)
        (job,) = await finished(site, job)
    assert [task.inputs[0].path for task in worker.tasks] == ["/f000007"]
    assert await site.output(job) == hashes(contents)


async def test_datums_may_write_one_path_together_also_those_that_are_skipped(site: Site) -> None:
    texts = [f"{number} " for number in range(10)]
    contents = {f"/f{number:06}": text for number, text in enumerate(texts)}
    log = {path: await support.stored(site.store, "/log", text) for path, text in contents.items()}
    more = {**contents, "/f000004x": "4x "}
    log["/f000004x"] = await support.stored(site.store, "/log", "4x ")

    def work(task: DatumTask) -> Outcome:
        return done(task, [log[task.inputs[0].path]])

    async with job_workers.worker(site, P, work):
        given: dict[str, Any] = {"same_path": "concatenate"}
        first = await site.job(P, await site.commit("in", contents), **given)
        (first,) = await finished(site, first)
        second = await site.job(P, await site.commit("in", more), order=2, **given)
        (second,) = await finished(site, second)
    assert await site.output(first) == hashes({"/log": "".join(texts)})
    assert await site.output(second) == hashes({"/log": "".join([*texts[:5], "4x ", *texts[5:]])})
    assert second.counts == records.Counts(processed=1, skipped=10)


@pytest.mark.parametrize("same_path", ["fail", "concatenate"])
@pytest.mark.parametrize(("first", "second"), [("/tree", "/tree/leaf"), ("/t/a", "/t")])
async def test_a_file_where_another_datum_has_a_directory_fails_the_job_in_any_case(
    site: Site, first: str, second: str, same_path: str
) -> None:
    file = await support.stored(site.store, first, "x")

    def work(task: DatumTask) -> Outcome:
        return done(task, [msgspec.structs.replace(file, path=(first, second)[task.index])])

    async with job_workers.worker(site, P, work):
        commit = await site.commit("in", lines(2))
        (job,) = await finished(site, await site.job(P, commit, same_path=same_path))
    assert job.state is JobState.FAILURE
    assert "(index 0, /f000000)" in job.reason
    assert "(index 1, /f000001)" in job.reason


async def test_two_datums_that_write_one_path_fail_the_job_and_are_both_named(site: Site) -> None:
    file = await support.stored(site.store, "/same", "x")

    def work(task: DatumTask) -> Outcome:
        path = "/same" if task.index in (3, 5) else f"/own{task.index}"
        return done(task, [msgspec.structs.replace(file, path=path)])

    async with job_workers.worker(site, P, work):
        (job,) = await finished(site, await site.job(P, await site.commit("in", lines(10))))
    assert job.state is JobState.FAILURE
    assert "(index 3, /f000003)" in job.reason
    assert "(index 5, /f000005)" in job.reason
    assert job.counts.processed == 10
    assert await site.output(job) is None


@pytest.mark.parametrize("path", ["/../secret", "relative", "/a//b", "/nul\0"])
async def test_an_output_path_that_cannot_be_in_a_repo_fails_the_job(site: Site, path: str) -> None:
    file = msgspec.structs.replace(await support.stored(site.store, "/x", "x"), path=path)
    async with job_workers.worker(site, P, lambda task: done(task, [file])):
        (job,) = await finished(site, await site.job(P, await site.commit("in", lines(1))))
    assert job.state is JobState.FAILURE
    assert "cannot be used" in job.reason


async def test_outputs_that_say_to_be_larger_than_any_store_fail_the_job(site: Site) -> None:
    """1. A worker told files of 2**62 bytes each. 2. Their sum was larger than what a manifest's root can say. 3. The
    coordinator ended of it, and so did each one after it."""
    huge = msgspec.structs.replace(await support.stored(site.store, "/x", "x"), size=2**53)
    work = [msgspec.structs.replace(huge, path=f"/{number}") for number in range(6)]
    async with job_workers.worker(site, P, lambda task: done(task, work)):
        (job,) = await finished(site, await site.job(P, await site.commit("in", lines(1))))
    assert job.state is JobState.FAILURE
    assert "larger than any store" in job.reason


async def test_outputs_of_many_files_are_read_from_their_manifest(site: Site) -> None:
    contents = {f"/out/{number:05}": "x" for number in range(3000)}
    commit = await site.commit("elsewhere", contents)
    entry = await site.tables.commits.get(f"elsewhere.{commit}")
    assert entry is not None
    assert entry.value is not None
    manifest = entry.value.manifest

    def work(task: DatumTask) -> Outcome:
        return msgspec.structs.replace(done(task), files=None, manifest=manifest)

    async with job_workers.worker(site, P, work) as worker:
        job = await site.job(P, await site.commit("in", lines(40)), glob="/")
        (job,) = await finished(site, job)
    assert job.state is JobState.SUCCESS
    assert await site.output(job) == hashes(contents)
    (given,) = worker.tasks
    assert given.inputs[0].files is None
    assert given.inputs[0].span == messages.Span(first=0, count=40)


async def test_a_killed_job_leaves_nothing_and_what_it_did_is_skipped_next(site: Site) -> None:
    contents = lines(100)
    job = await site.job(P, await site.commit("in", contents))

    def work(task: DatumTask) -> Outcome | None:
        return done(task) if task.index < 30 else None

    async with (
        support.process(site) as process,
        job_workers.worker(site, P, work),
        asyncio.timeout(25),
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(process.runner.run(P, job.id), name="job")
        while (fold := process.folder.fold(P, job.id)) is None or fold.done < 30:
            await asyncio.sleep(0.02)
        await process.jobs.kill(P, job.id, "told to stop")
        await running
    job = await site.record(job)
    assert (job.state, job.reason) == (JobState.KILLED, "told to stop")
    assert job.counts == records.Counts(processed=30)
    assert await site.output(job) is None
    await site.is_clean(job)

    async with job_workers.worker(site, P) as worker:
        (job,) = await finished(site, await site.job(P, await site.commit("in", contents), order=2))
    assert (job.counts.skipped, len(worker.tasks)) == (30, 70)
    assert await site.output(job) == hashes(contents)


async def test_jobs_of_a_pipeline_commit_in_their_order(site: Site) -> None:
    first = await site.job(P, await site.commit("in", lines(30, "one")), order=1)
    second = await site.job(P, await site.commit("in", lines(30, "two")), order=2)
    held = asyncio.Event()

    async with support.process(site) as process, asyncio.timeout(25), asyncio.TaskGroup() as tasks:
        tasks.create_task(process.runner.run(P, first.id), name="first")
        tasks.create_task(process.runner.run(P, second.id), name="second")

        def work(task: DatumTask) -> Outcome | None:
            return done(task) if task.job == second.id or held.is_set() else None

        async with job_workers.worker(site, P, work):
            await process.jobs.until(
                P, lambda js: any(j.id == second.id and j.state is JobState.MERGING for j in js)
            )
            assert await site.head(P) == ""
        held.set()
        async with job_workers.worker(site, P, work):
            await topology.delete_job_consumer(site.data, P, first.id)  # frees what was held
            await process.jobs.until(P, lambda js: not js)
    assert await site.head(P) == second.id
    one, two = await site.record(first), await site.record(second)
    assert one.ended_ns < two.ended_ns
    entry = await site.tables.commits.get(f"{P}.{second.id}")
    assert entry is not None
    assert entry.value is not None
    assert entry.value.parent == first.id


async def test_datums_are_shown_the_same_while_the_job_runs_and_after(site: Site) -> None:
    contents = lines(90)
    async with job_workers.worker(site, P):
        await finished(site, await site.job(P, await site.commit("in", contents)))
    more = {**contents, **{f"/g{number}": "g" for number in range(10)}}
    job = await site.job(P, await site.commit("in", more), order=2)

    def work(task: DatumTask) -> Outcome | None:
        path = task.inputs[0].path
        return failed(task) if path == "/g3" else None if path == "/g9" else done(task)

    async with support.process(site) as process:
        page = process.outcomes.page
        async with (
            asyncio.timeout(25),
            asyncio.TaskGroup() as tasks,
            job_workers.worker(site, P, work),
        ):
            tasks.create_task(process.runner.run(P, job.id), name="job")
            while (fold := process.folder.fold(P, job.id)) is None or fold.done < 99:
                await asyncio.sleep(0.02)
            job = await site.record(job)
            live = await page(job, fold, after=-1, limit=200)
            bad = await page(job, fold, after=-1, limit=9, states=[DatumState.FAILED])
            await process.jobs.kill(P, job.id, "")
        ended = await site.record(job)
        after = await page(ended, None, after=-1, limit=200)
        some = await page(ended, None, after=94, limit=3)
        still = await page(ended, None, after=-1, limit=9, states=[DatumState.FAILED])
    assert [each.index for each in live] == list(range(99))
    assert live == after
    assert some == after[95:98]
    assert bad == still
    assert [each.index for each in bad] == [93]
    assert {each.state for each in live[:90]} == {DatumState.SKIPPED}


async def test_a_job_begins_when_what_earlier_ones_did_can_be_found(site: Site) -> None:
    first = await site.job(P, await site.commit("in", lines(2)), order=1)
    second = await site.job(P, await site.commit("in", lines(2)), order=2, begin=False)
    assert beginning.may_begin(second, [first])  # it runs: no reason to wait
    ended = msgspec.structs.replace(first, state=JobState.SUCCESS)
    assert not beginning.may_begin(second, [ended])
    assert beginning.may_begin(first, [msgspec.structs.replace(second, state=JobState.SUCCESS)])
