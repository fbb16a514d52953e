"""A coordinator that was stopped or killed, and what the next one makes of it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from tests.support.front import Front, a_spec, jobs_are, until
from tests.support.wards import DATA_KEY

from trunkline.contracts import api, records
from trunkline.contracts.states import JobState, PipelineState
from trunkline.coordinator.tables import tables_of


async def test_jobs_that_memory_has_lost_are_listed_shown_and_not_made_again(front: Front) -> None:
    """The first job is the only one that has read the input's head, and the version's own."""
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        await front.commit("in")
        await front.get("pipeline.apply", records.Pipeline, a_spec("words", "in"))
        (first,) = await until(front.jobs, lambda jobs: jobs and jobs[0].compacted)
    elsewhere = (records.JobInput(name="in", repo="in", branch="master", commit="e" * 32),)
    async with front.server.connect("coordinator") as ctl:
        for number in range(2, 250):
            job = msgspec.structs.replace(
                first, id=f"{number:032x}", order=number, created_ns=first.created_ns + number
            )
            job = msgspec.structs.replace(job, inputs=elsewhere)
            await tables_of(ctl).jobs.create(f"words.{job.id}", job)
    async with front.coordinator(resync_s=0.05):
        page = await front.ask("job.list", {"key": "words", "limit": 500})
        listed = msgspec.json.decode(page.result, type=list[records.Job])
        assert page.more
        while page.more:
            page = await front.ask("job.list", {"key": "words", "limit": 500, "after": page.next})
            listed += msgspec.json.decode(page.result, type=list[records.Job])
        assert [job.order for job in listed] == list(range(249, 0, -1))
        assert (
            await front.get("job.get", records.Job, {"pipeline": "words", "id": first.id})
        ) == first
        datums = await front.ask("datum.list", {"pipeline": "words", "job": first.id})
        assert (datums.ok, bytes(datums.result)) == (True, b"[]")
        events = await front.events("words")
        assert len([each for each in events if each.kind == "job-created"]) == 1


async def test_a_coordinator_that_comes_back_goes_on_where_it_was(front: Front) -> None:
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        await front.get("pipeline.apply", records.Pipeline, a_spec("words", "in"))
        commit = await front.commit("in", "/a", "/b")
    async with front.coordinator(resync_s=600):  # its first round has to do
        await jobs_are(front, ("words", commit))
        await front.server.restart()
        assert (await front.get("repo.create", records.Repo, {"name": "more"})).name == "more"


async def test_what_a_killed_coordinator_left_half_done_is_made_at_the_next_start(
    front: Front,
) -> None:
    """A spec and a commit whose first write was the last before the end."""
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        await front.get("pipeline.apply", records.Pipeline, a_spec("words", "in"))
        commit = await front.commit("in", "/a")
    async with front.server.connect("coordinator") as ctl:
        tables = tables_of(ctl)
        words = await tables.pipelines.get("words")
        assert words is not None
        assert words.value is not None
        assert words.value.spec is not None
        spec = msgspec.structs.replace(words.value.spec, name="late")
        late = msgspec.structs.replace(words.value, name="late", spec=spec, set_id="5" * 32)
        await tables.pipelines.create("late", late)
        branch = await tables.branches.get("in.master")
        assert branch is not None
        assert branch.value is not None
        old = await tables.commits.get(f"in.{commit}")
        assert old is not None
        assert old.value is not None
        new = msgspec.structs.replace(old.value, id="7" * 32, parent=commit)
        await tables.commits.create(f"in.{new.id}", new)
        moved = msgspec.structs.replace(branch.value, head=new.id)
        await tables.branches.update("in.master", moved, branch.revision)
    async with front.coordinator():
        repo = await front.get("repo.get", api.RepoView, {"name": "late"})
        assert repo.repo.pipeline
        await jobs_are(front, ("words", commit), ("words", new.id), ("late", "5" * 32))


@asynccontextmanager
async def process(front: Front) -> AsyncIterator[asyncio.subprocess.Process]:
    environ = {
        **os.environ,
        "TRUNKLINE_CTL_URL": front.server.url("coordinator"),
        "TRUNKLINE_DATA_URL": front.server.url("coordinator-data"),
        "TRUNKLINE_DATA_KEY": DATA_KEY,
        "TRUNKLINE_STORE": front.store_url,
    }
    command = (sys.executable, "-m", "trunkline.coordinator")
    started = await asyncio.create_subprocess_exec(*command, env=environ)
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def test_a_process_killed_at_any_instant_of_a_storm_of_specs_loses_and_doubles_none(
    front: Front,
) -> None:
    async with process(front) as running:
        await front.get("repo.create", records.Repo, {"name": "in"})
        await front.commit("in")
        for number in range(15):
            spec = a_spec(f"p{number:02}", f"p{number - 1:02}" if number else "in")
            await front.user.publish("trunkline.pipelines.apply", msgspec.json.encode(spec))
        await until(front.pipelines, lambda all_: len(all_) >= 3)
        running.kill()
    async with process(front) as running:
        await until(front.pipelines, lambda all_: len(all_) >= 8)
        running.kill()
    async with process(front) as running:
        found = await until(front.pipelines, lambda all_: len(all_) == 15)
        assert {each.version for each in found.values()} == {1}
        assert {each.state for each in found.values()} == {PipelineState.RUNNING}
        jobs = await until(
            front.jobs,
            lambda jobs: (
                {each.pipeline for each in jobs} == set(found)
                and all(each.state.ended for each in jobs)
            ),
        )
        assert {each.state for each in jobs} == {JobState.SUCCESS}
        running.terminate()
        assert await running.wait() == 0
