"""The coordinator on a real nats-server and a file store, asked by a plain NATS client."""

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
import yaml
from tests.support.front import Front, a_spec, jobs_are, until
from tests.support.wards import DATA_KEY, ward

from trunkline.bus import jetstream
from trunkline.contracts import api, messages, records, subjects
from trunkline.contracts.states import JobState, PipelineState
from trunkline.coordinator import service
from trunkline.storage import manifests

pytestmark = pytest.mark.timeout(60)


async def test_a_plain_client_without_a_body_gets_an_answer(front: Front) -> None:
    async with front.coordinator():
        assert await front.pipelines() == {}
        status = await front.get("status", api.Status)
        assert status.durability == "file: file R1"
        assert status.server
        reply = await front.ask("no.such.verb")
        assert (reply.ok, reply.code) == (False, "invalid")


async def test_a_spec_that_was_requested_is_there_at_once_and_the_same_again_is_no_version(
    front: Front,
) -> None:
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        first = await front.get("pipeline.apply", records.Pipeline, a_spec("words", "in"))
        again = await front.get("pipeline.apply", records.Pipeline, a_spec("words", "in"))
        assert (first.version, again) == (1, first)
        changed = a_spec("words", "in", datum_tries=7)
        assert (await front.get("pipeline.apply", records.Pipeline, changed)).version == 2
        repo = await front.get("repo.get", api.RepoView, {"name": "words"})
        assert repo.repo.pipeline
        assert [each.name for each in repo.branches] == ["master"]


async def test_all_problems_of_a_requested_spec_are_in_the_reply_and_nothing_is_stored(
    front: Front,
) -> None:
    async with front.coordinator():
        bad = {
            "pipeline": {"name": "no dots.please"},
            "transform": {"cmd": []},
            "input": {"pfs": {"repo": "in", "glob": "/["}},
            "parallelism_spec": {"constant": 1, "coefficient": 1},
            "imput": {},
        }
        reply = await front.ask("pipeline.apply", bad)
        assert reply.code == "invalid"
        paths = {path for path, _ in reply.problems}
        assert paths >= {
            "$.pipeline.name",
            "$.transform.cmd",
            "$.input.pfs.glob",
            "$.parallelism_spec",
            "$.imput",
        }
        reply = await front.ask("pipeline.apply", a_spec("words", "nowhere"))
        assert [path for path, _ in reply.problems] == ["$.input.pfs.repo"]
        assert await front.pipelines() == {}


async def test_specs_that_were_published_before_there_was_a_coordinator_are_taken_in_order(
    front: Front,
) -> None:
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
    await front.user.publish(
        "trunkline.pipelines.apply", yaml.safe_dump(a_spec("words", "in")).encode()
    )
    for tries in range(2, 9):
        spec = msgspec.json.encode(a_spec("totals", "words", datum_tries=tries))
        await front.user.publish("trunkline.pipelines.apply", spec)
    await front.user.flush()
    async with front.coordinator():
        found = await until(front.pipelines, lambda all_: all_.get("totals", None) is not None)
        found = await until(front.pipelines, lambda all_: all_["totals"].version == 7)
        assert found["words"].version == 1
        spec_in_force = found["totals"].spec
        assert spec_in_force is not None
        assert spec_in_force.datum_tries == 8


async def test_a_published_spec_that_is_refused_shows_with_its_problems_and_hurts_nothing(
    front: Front,
) -> None:
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        await front.get("pipeline.apply", records.Pipeline, a_spec("words", "in"))
        for bad in (
            a_spec("words", "in", datum_tries=0),
            a_spec("other", "nowhere"),
        ):
            await front.user.publish("trunkline.pipelines.apply", msgspec.json.encode(bad))
        found = await until(front.pipelines, lambda all_: "other" in all_)
        assert found["other"].state is PipelineState.REFUSED
        assert found["words"].state is PipelineState.RUNNING
        assert found["words"].version == 1
        for name, path in (("words", "$.datum_tries"), ("other", "$.input.pfs.repo")):
            refusal = found[name].refusal
            assert refusal is not None
            assert [where for where, _ in refusal.problems] == [path]
            events = await until(lambda name=name: front.events(name), bool)  # type: ignore[misc]
            assert any(each.kind == "spec-refused" and path in each.text for each in events)
        await front.get("pipeline.delete", records.Pipeline, {"name": "other"})
        await until(front.pipelines, lambda all_: set(all_) == {"words"})


async def test_poison_is_told_once_and_does_not_loop(front: Front) -> None:
    poison = [
        os.urandom(600 * 1024),
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b"{]",
        b"words",
        b"a: &a [*a]",
    ]
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        for each in poison:
            await front.user.publish("trunkline.pipelines.apply", each)
        await front.user.publish(
            "trunkline.pipelines.apply", msgspec.json.encode(a_spec("words", "in"))
        )
        found = await until(front.pipelines, bool)
        assert set(found) == {"words"}
        told = await until(
            lambda: front.events("unnamed"), lambda events: len(events) >= len(poison)
        )
        assert len(told) == len(poison)
        async with front.server.connect("coordinator") as ctl:
            info = await ctl.js_api("STREAM.INFO.TL_COMMANDS")
        assert info["state"]["messages"] == 0


async def test_hostile_requests_are_refused_each_with_a_reason(front: Front) -> None:
    async with front.coordinator():
        for verb, body, code in (
            ("pipeline.get", b"\xff\x00", "invalid"),
            ("pipeline.get", b"[" * 200_000, "invalid"),
            ("pipeline.get", {"name": "../../x"}, "invalid"),
            ("pipeline.get", {"name": "nobody"}, "not-found"),
            ("pipeline.list", {"limit": 0}, "invalid"),
            ("job.list", {"after": "x"}, "invalid"),
            ("repo.create", {"name": "a.b"}, "invalid"),
            ("repo.create", {"name": "x" * 700_000}, "invalid"),
            ("branch.create", {"repo": "no", "branch": "b"}, "not-found"),
            ("commit.get", {"repo": "no", "ref": "*"}, "not-found"),
            ("datum.list", {"pipeline": "p", "job": ">"}, "invalid"),
            ("log.page", {"pipeline": "*"}, "invalid"),
            ("event.list", {"after": "1.2.3"}, "invalid"),
            ("nodes.set", {"count": -1}, "invalid"),
            ("pipeline.apply", os.urandom(800 * 1024), "invalid"),
        ):
            reply = await front.ask(verb, body)
            assert (verb, reply.ok, reply.code) == (verb, False, code), reply
            assert len(str(reply.problems)) < 5000
        assert (await front.get("status", api.Status)).ready


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
            await service.tables_of(ctl).jobs.create(f"words.{job.id}", job)
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


async def test_many_requests_at_once_are_all_answered(front: Front) -> None:
    async with front.coordinator(requests=4):
        await front.pipelines()
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(front.ask("status")) for _ in range(300)]
        assert all(each.result().ok for each in asked)


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


async def test_a_cycle_is_refused_by_its_name(front: Front) -> None:
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        await front.get("pipeline.apply", records.Pipeline, a_spec("a", "in"))
        await front.get("pipeline.apply", records.Pipeline, a_spec("b", "a"))
        reply = await front.ask("pipeline.apply", a_spec("a", "b"))
        assert reply.code == "invalid"
        assert "a -> b -> a" in reply.problems[0][1]


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
        tables = service.tables_of(ctl)
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


async def test_nodes_are_set_in_local_mode_only(front: Front) -> None:
    async with front.coordinator():
        assert (await front.ask("nodes.get")).code == "not-found"
        await front.get("nodes.set", records.Nodes, {"count": 4})
        assert await front.get("nodes.get", records.Nodes) == records.Nodes(count=4)
    async with front.coordinator(local=False):
        reply = await front.ask("nodes.set", {"count": 4})
        assert reply.code == "invalid"
        assert "Kubernetes" in reply.problems[0][1]


async def test_datums_show_as_waiting_and_as_running_while_a_worker_claims_them(
    front: Front,
) -> None:
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        await front.get("pipeline.apply", records.Pipeline, a_spec("words", "in"))
        commit = await front.commit("in", *(f"/{number:03}" for number in range(150)))
        named = {"pipeline": "words", "id": commit}
        await until(
            lambda: front.get("job.get", records.Job, named),
            lambda job: job.state is JobState.RUNNING,
        )
        held = messages.Held(job=commit, sequence=3, index=2, generation=1, executing=True)
        claim = messages.Claim(worker="w1", incarnation="i", code_hash="c", slots=1, held=(held,))
        async with front.server.connect_worker("words") as worker:
            await worker.publish(subjects.claims(ward("words"), "w1"), messages.encode(claim))
            await worker.flush()
        page = {"pipeline": "words", "job": commit}

        async def running() -> Sequence[api.DatumView]:
            return await front.get(
                "datum.list", list[api.DatumView], {**page, "states": ["RUNNING"]}
            )

        assert [each.index for each in await until(running, bool)] == [2]
        reply = await front.ask("datum.list", page)
        views = msgspec.json.decode(reply.result, type=list[api.DatumView])
        assert [each.index for each in views] == list(range(100))
        assert (reply.more, reply.next) == (True, "99")
        reply = await front.ask("datum.list", {**page, "after": 99})
        views = msgspec.json.decode(reply.result, type=list[api.DatumView])
        assert [each.index for each in views] == list(range(100, 150))
        assert not reply.more
        assert {each.state for each in views} == {"WAITING"}


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


async def test_a_published_message_may_hold_several_specs_and_each_has_its_own_fate(
    front: Front,
) -> None:
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        several = [
            a_spec("first", "in"),
            a_spec("bad", "in", datumTries=0),
            a_spec("first", "in", salt="again"),
            a_spec("last", "first"),
        ]
        await front.user.publish("trunkline.pipelines.apply", msgspec.json.encode(several))
        found = await until(front.pipelines, lambda all_: "last" in all_)
        assert (found["first"].version, found["last"].version) == (1, 1)
        assert found["first"].spec is not None
        assert found["first"].spec.salt == ""
        assert found["bad"].state is PipelineState.REFUSED
        refused = [each for each in await front.events() if each.kind == "spec-refused"]
        assert [each.pipeline for each in refused] == ["bad", "first"]
        assert "same message" in refused[1].text
        reply = await front.ask("pipeline.apply", several)
        assert reply.problems == (("$", "it holds 4 specs where one is expected"),)
