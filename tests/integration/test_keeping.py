"""Collections and deletions, asked for over NATS of a whole coordinator."""

import asyncio
import os
import time
from pathlib import Path

from tests.support import job_workers
from tests.support import jobs as support
from tests.support.front import Front, a_spec, until
from tests.support.jobs import Site

from trunkline.bus import topology
from trunkline.contracts import api, records
from trunkline.contracts.messages import DatumTask, Outcome
from trunkline.contracts.states import JobState
from trunkline.coordinator.tables import commit_key, tables_of
from trunkline.storage import manifests


async def collected(front: Front, **request: bool) -> api.Collection:
    report = await front.get("gc.start", api.Collection, request)
    async with asyncio.timeout(20):
        while not report.ended_ns:
            await asyncio.sleep(0.02)
            report = await front.get("gc.get", api.Collection)
    return report


def age(folder: Path) -> None:
    """Let days pass for all that is stored."""
    at = time.time() - 3 * 86_400  # noqa: TID251 - what the file system dates by
    for path in folder.glob("objects/*/*"):
        os.utime(path, (at, at))


async def test_a_deleted_repo_is_swept_once_it_is_old_and_nothing_else_is(
    front: Front, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    async with front.coordinator():
        for repo in ("in", "other"):
            await front.get("repo.create", records.Repo, {"name": repo})
        first = await front.commit("in", "/a")
        await front.commit("in", "/a", "/b", parent=first)
        await front.commit("other", "/c")
        objects = len(list(store.glob("objects/*/*")))
        age(store)
        assert (await collected(front)).removed == 0
        await front.get("repo.delete", records.Repo, {"name": "in"})
        would = await collected(front, dry_run=True)
        assert (would.objects, would.needed, would.dry_run) == (objects, 2, True)
        assert would.removed == objects - 2
        assert len(list(store.glob("objects/*/*"))) == objects
        did = await collected(front)
        assert (did.removed, did.removed_bytes) == (would.removed, would.removed_bytes)
        assert len(list(store.glob("objects/*/*"))) == 2
        assert (await front.get("commit.get", records.Commit, {"repo": "other"})).files == 1


async def test_nothing_is_swept_while_what_others_hang_on_cannot_be_read(
    front: Front, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    async with front.coordinator():
        for repo in ("in", "other"):
            await front.get("repo.create", records.Repo, {"name": repo})
            await front.commit(repo, f"/{repo}")
        await front.get("repo.delete", records.Repo, {"name": "other"})
        commit = await front.get("commit.get", records.Commit, {"repo": "in"})
        (store / commit.manifest).unlink()
        age(store)
        report = await collected(front)
        assert (report.removed, len(report.damaged)) == (0, 1)
        assert "--despite-damage" in report.problem
        report = await collected(front, despite_damage=True)
        assert (report.removed, report.problem) == (3, "")


async def test_a_job_may_be_deleted_once_a_newer_one_stands_for_its_pipeline(
    front: Front,
) -> None:
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        await front.get("pipeline.apply", records.Pipeline, a_spec("p", "in"))
        commits = [await front.commit("in", "/a")]
        refused = await front.ask("job.delete", {"pipeline": "p", "id": commits[0]})
        assert "stop it first" in refused.problems[0][1]
        await stopped(front, commits[0])
        refused = await front.ask("job.delete", {"pipeline": "p", "id": commits[0]})
        assert "newest input" in refused.problems[0][1]
        commits.append(await front.commit("in", "/a", "/b", parent=commits[0]))
        await stopped(front, commits[1])
        await front.get("job.delete", records.Job, {"pipeline": "p", "id": commits[0]})
    async with front.coordinator():
        assert [each.id for each in await front.jobs("p")] == commits[1:]


async def test_old_jobs_and_commits_go_by_themselves_beyond_what_is_set(front: Front) -> None:
    async with front.coordinator(keep_jobs=2, keep_every_s=0.1):
        await front.get("repo.create", records.Repo, {"name": "in"})
        await front.get("pipeline.apply", records.Pipeline, a_spec("p", "in"))
        parent, made = "", []
        for number in range(5):
            parent = await front.commit("in", f"/{number}", parent=parent)
            await stopped(front, parent)
            made.append(parent)
        kept = await until(lambda: front.jobs("p"), lambda jobs: len(jobs) == 2)
        assert {each.id for each in kept} == set(made[-2:])
        commits = await front.get("commit.list", list[records.Commit], {"key": "in"})
        assert len(commits) == 5


async def test_a_branch_is_deleted_unless_it_is_read(front: Front) -> None:
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        await front.get("pipeline.apply", records.Pipeline, a_spec("p", "in"))
        await front.commit("in", "/a")
        refused = await front.ask("branch.delete", {"repo": "in", "branch": "master"})
        assert "read by p" in refused.problems[0][1]
        await front.get("branch.create", records.Branch, {"repo": "in", "branch": "side"})
        await front.commit("in", "/b", branch="side")
        await front.get("branch.delete", records.Branch, {"repo": "in", "branch": "side"})
        view = await front.get("repo.get", api.RepoView, {"name": "in"})
        assert [each.name for each in view.branches] == ["master"]


async def test_a_head_that_is_lost_is_told_with_what_helps_and_that_does_help(
    front: Front,
) -> None:
    """1. A pipeline reads a branch. 2. Its head's record is lost, as with a server that kept it in memory. 3. Who
    commits on top is told. 4. The branch is deleted although it is read, and filled again, and a job comes of it.
    """
    async with front.coordinator(), front.server.connect("coordinator") as hand:
        await front.get("repo.create", records.Repo, {"name": "in"})
        await front.get("pipeline.apply", records.Pipeline, a_spec("p", "in"))
        head = await front.commit("in", "/a")
        await tables_of(hand).commits.delete(commit_key("in", head))
        told = await front.ask("commit.get", {"repo": "in", "ref": head})
        assert "`trunkline delete branch in@master`" in told.problems[0][1]
        await front.get("branch.delete", records.Branch, {"repo": "in", "branch": "master"})
        again = await front.commit("in", "/a")
        await until(lambda: front.jobs("p"), lambda jobs: any(each.id == again for each in jobs))


async def test_what_a_job_makes_while_an_earlier_one_runs_for_days_is_in_its_commit(
    front: Front, tmp_path: Path
) -> None:
    """1. A job has all its outcomes; its files are to be put together. 2. An earlier job runs on, for days.
    3. A collection. 4. The earlier job ends, and the later one commits.

    It was merged before it waited, and nothing named what the merge had made: its commit named files
    that the collection had removed.
    """
    held = asyncio.Event()
    async with (
        front.server.connect("coordinator") as ctl,
        front.server.connect("coordinator-data") as data,
        front.coordinator(repair_quiet_s=0.2),
    ):
        site = Site(front.server, ctl, data, tmp_path)
        await front.get("repo.create", records.Repo, {"name": "in"})
        spec = a_spec("p", "in", same_path="concatenate")
        await front.get("pipeline.apply", records.Pipeline, spec)
        first = await front.commit("in", "/a", "/b")
        second = await front.commit("in", "/c", "/d", parent=first)
        pieces = {path: await support.stored(site.store, "/log", path) for path in ("/c", "/d")}

        def work(task: DatumTask) -> Outcome | None:
            if task.job == first and not held.is_set():
                return None
            return job_workers.done(task, [pieces[task.inputs[0].path]])

        async def becomes(job: str, state: JobState) -> None:
            await until(
                lambda: front.jobs("p"),
                lambda jobs: (job, state) in {(j.id, j.state) for j in jobs},
            )

        async with job_workers.worker(site, "p", work):
            await becomes(second, JobState.MERGING)
        age(tmp_path / "store")
        await collected(front)
        pieces |= {path: await support.stored(site.store, "/log", path) for path in ("/a", "/b")}
        held.set()
        async with job_workers.worker(site, "p", work):
            await topology.delete_job_consumer(data, "p", first)  # frees what was held
            await becomes(second, JobState.SUCCESS)
        assert not (await collected(front)).problem
        for job, text in ((first, b"/a/b"), (second, b"/c/d")):
            entry = await site.tables.commits.get(commit_key("p", job))
            assert entry is not None
            assert entry.value is not None
            (log,) = [file async for file in manifests.read(site.store, entry.value.manifest)]
            assert b"".join([piece async for piece in site.store.read(log)]) == text


async def stopped(front: Front, job: str) -> None:
    """Stop a job of `p`, and wait until nothing is left to be done for it."""
    await front.get("job.stop", records.Job, {"pipeline": "p", "id": job})
    await until(
        lambda: front.jobs("p"), lambda jobs: any(j.id == job and j.compacted for j in jobs)
    )
