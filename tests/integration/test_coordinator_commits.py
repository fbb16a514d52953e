"""Commits and ticks, the jobs that they set off, and what may be deleted, asked by a plain NATS client."""

import secrets

import pytest
from tests.support.front import Front, a_spec, jobs_are, until

from trunkline.bus import jetstream
from trunkline.contracts import api, messages, records, subjects
from trunkline.contracts.states import JobState
from trunkline.storage import manifests


async def test_a_commit_moves_its_branch_once_and_a_late_one_is_a_conflict(front: Front) -> None:
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        first = await front.commit("in", "/a", "/b")
        written = await front.manifest("/c")
        body = {
            "repo": "in",
            "branch": "master",
            "id": secrets.token_hex(16),
            "parent": "",
            "manifest": written.manifest,
            "files": 1,
            "size": 0,
        }
        assert (await front.ask("commit.finish", body)).code == "conflict"
        second = await front.get("commit.finish", records.Commit, {**body, "parent": first})
        again = await front.get("commit.finish", records.Commit, {**body, "parent": first})
        assert again == second
        assert (await front.ask("commit.finish", {**body, "parent": second.id})).code == "exists"
        third = await front.commit("in", "/d", parent=second.id)
        repeated = await front.get("commit.finish", records.Commit, {**body, "parent": first})
        assert repeated == second, "an answer that was lost is given again, also later"
        listed = await front.get("commit.list", list[records.Commit], {"key": "in"})
        assert [each.id for each in listed] == [third, second.id, first]
        page = await front.ask("commit.list", {"key": "in", "limit": 2})
        assert page.more
        rest = await front.get(
            "commit.list", list[records.Commit], {"key": "in", "after": page.next}
        )
        assert [each.id for each in rest] == [first]


async def test_a_commit_is_refused_unless_its_manifest_is_what_it_says(front: Front) -> None:
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        await front.get("pipeline.apply", records.Pipeline, a_spec("words", "in"))
        written = await front.manifest("/c")
        evil = await manifests.write(
            front.store, [messages.File(path="/../etc", size=0, sha256="e" * 64)]
        )
        no_manifest = await front.store.put(b"nothing of the kind")
        good = {
            "repo": "in",
            "branch": "master",
            "id": secrets.token_hex(16),
            "parent": "",
            "manifest": written.manifest,
            "files": 1,
            "size": 0,
        }
        for change, code in (
            ({"files": 2}, "invalid"),
            ({"size": 7}, "invalid"),
            ({"manifest": evil.manifest}, "invalid"),
            ({"manifest": no_manifest}, "invalid"),
            ({"manifest": "../../../etc/passwd"}, "invalid"),
            ({"manifest": written.manifest[:-4] + "0000"}, "invalid"),
            ({"id": "short"}, "invalid"),
            ({"repo": "nowhere"}, "not-found"),
            ({"branch": "nowhere"}, "not-found"),
            ({"repo": "words"}, "invalid"),
        ):
            reply = await front.ask("commit.finish", {**good, **change})
            assert (change, reply.ok, reply.code) == (change, False, code), reply
        assert await front.get("commit.list", list[records.Commit], {"key": "in"}) == []
        await front.get("commit.finish", records.Commit, good)


async def test_a_commit_sets_off_the_chain_and_a_new_version_a_set_of_its_own(front: Front) -> None:
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        await front.get("pipeline.apply", records.Pipeline, a_spec("words", "in"))
        await front.get("pipeline.apply", records.Pipeline, a_spec("totals", "words"))
        commit = await front.commit("in", "/a")
        jobs = await jobs_are(front, ("words", commit), ("totals", commit))
        totals = next(each for each in jobs if each.pipeline == "totals")
        assert totals.state is JobState.WAITING
        assert totals.inputs[0].upstream
        changed = a_spec("words", "in", datum_tries=9)
        own = (await front.get("pipeline.apply", records.Pipeline, changed)).set_id
        await jobs_are(
            front, ("words", commit), ("totals", commit), ("words", own), ("totals", own)
        )
        await front.get("job.stop", records.Job, {"pipeline": "words", "id": commit})
        ended = await until(
            lambda: front.get("job.get", records.Job, {"pipeline": "totals", "id": commit}),
            lambda job: job.state.ended,
        )
        assert ended.state is JobState.UNRUNNABLE
        assert f"words@{commit} is KILLED" in ended.reason


async def test_an_empty_commit_runs_through_the_whole_chain(front: Front) -> None:
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        await front.get("pipeline.apply", records.Pipeline, a_spec("words", "in"))
        await front.get("pipeline.apply", records.Pipeline, a_spec("totals", "words"))
        commit = await front.commit("in")
        jobs = await until(
            front.jobs, lambda jobs: len(jobs) == 2 and all(each.state.ended for each in jobs)
        )
        assert {each.state for each in jobs} == {JobState.SUCCESS}
        made = await front.get("commit.get", records.Commit, {"repo": "totals"})
        assert (made.id, made.files) == (commit, 0)


async def test_what_is_in_use_is_not_deleted_and_what_is_deleted_is_gone(front: Front) -> None:
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        await front.get("pipeline.apply", records.Pipeline, a_spec("words", "in"))
        await front.get("pipeline.apply", records.Pipeline, a_spec("totals", "words"))
        for verb, name in (
            ("pipeline.delete", "words"),
            ("repo.delete", "in"),
            ("repo.delete", "words"),
        ):
            reply = await front.ask(verb, {"name": name})
            assert (reply.ok, reply.code) == (False, "invalid"), reply
        commit = await front.commit("in", "/a")
        for name in ("totals", "words"):
            await front.get("pipeline.delete", records.Pipeline, {"name": name})
            await until(front.pipelines, lambda all_, name=name: name not in all_)  # type: ignore[misc]
        assert await front.jobs() == []
        repos = await front.get("repo.list", list[api.RepoView])
        assert [each.repo.name for each in repos] == ["in"], "nothing was committed to the others"
        async with front.server.connect("coordinator-data") as data:
            for name in ("totals", "words"):
                with pytest.raises(jetstream.JetStreamError, match="not found"):
                    await data.js_api(f"STREAM.INFO.{subjects.datums_stream(name)}")
        await front.get("pipeline.apply", records.Pipeline, a_spec("words", "in"))
        jobs = await until(front.jobs, bool)
        assert jobs[0].inputs[0].commit == commit
        assert jobs[0].id != commit


async def test_a_cron_input_ticks_by_itself_and_when_it_is_told_to(front: Front) -> None:
    cron = {"cron": {"name": "tick", "spec": "@every 1s"}}
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        both = {"cross": [{"pfs": {"repo": "in", "glob": "/*"}}, cron]}
        await front.get("pipeline.apply", records.Pipeline, a_spec("words", "in", input=both))
        head = {"repo": "words_tick", "branch": "master"}

        async def ticks() -> dict[str, int]:
            return (await front.get("branch.get", records.Branch, head)).ticks

        (first,) = (await ticks()).values()
        await until(ticks, lambda found: found["words.tick"] >= first + 2)
        assert await front.jobs() == [], "there is nothing in the other input yet"
        await front.commit("in", "/a")
        (job,) = await until(front.jobs, bool)
        assert [each.repo for each in job.inputs] == ["in", "words_tick"]
        told = await front.get("pipeline.tick", api.Ticked, {"name": "words"})
        jobs = await until(
            front.jobs, lambda found: any(each.id == told.commits[0].id for each in found)
        )
        assert len({each.id for each in jobs}) == len(jobs)
        taken = a_spec("other", "in", input={"cron": {**cron["cron"], "repo": "words"}})
        reply = await front.ask("pipeline.apply", taken)
        assert "is a pipeline's output" in reply.problems[0][1]
        assert (await front.ask("repo.delete", {"name": "words_tick"})).code == "invalid"
        assert (await front.ask("pipeline.tick", {"name": "in"})).code == "not-found"
    async with front.coordinator():
        found = await ticks()
        await until(ticks, lambda now: now["words.tick"] > found["words.tick"])
        await front.get("pipeline.delete", records.Pipeline, {"name": "words"})
        await until(front.pipelines, lambda all_: not all_)
        repos = await front.get("repo.list", list[api.RepoView])
        assert [each.repo.name for each in repos] == ["in"]
