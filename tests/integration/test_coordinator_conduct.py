"""Pipelines that are changed, stopped, started, run again and deleted, on a real server and a file store."""

import secrets
import time

import msgspec
from tests.support.front import Front, a_spec, jobs_are, until

from trunkline.bus.publishing import Window
from trunkline.contracts import api, messages, records, subjects
from trunkline.contracts.states import JobState, PipelineState
from trunkline.coordinator.tables import tables_of


async def words(front: Front) -> str:
    """Make a pipeline with a job at work, which no worker ever ends; return the job's id."""
    await front.get("repo.create", records.Repo, {"name": "in"})
    await front.get("pipeline.apply", records.Pipeline, a_spec("words", "in"))
    commit = await front.commit("in", "/a")
    await state_of(front, commit, JobState.RUNNING)
    return commit


async def state_of(front: Front, job: str, state: JobState, pipeline: str = "words") -> records.Job:
    """Wait until a job is in a state and, if that is its end, put away."""
    return await until(
        lambda: front.get("job.get", records.Job, {"pipeline": pipeline, "id": job}),
        lambda found: found.state is state and (not state.ended or found.compacted),
    )


async def test_a_stop_kills_what_runs_and_a_start_takes_it_up_with_what_came_meanwhile(
    front: Front,
) -> None:
    async with front.coordinator():
        first = await words(front)
        stopped = await front.get("pipeline.stop", records.Pipeline, {"name": "words"})
        assert stopped.state is PipelineState.STOPPED
        killed = await state_of(front, first, JobState.KILLED)
        assert (killed.reason, killed.halted) == ("its pipeline was stopped", True)
        second = await front.commit("in", "/b", parent=first)
        third = await front.commit("in", "/c", parent=second)
        await jobs_are(front, ("words", first))
        changed = await front.get(
            "pipeline.apply", records.Pipeline, a_spec("words", "in", datum_tries=9)
        )
        assert (changed.state, changed.version) == (PipelineState.STOPPED, 2)
        refused = await front.ask("pipeline.rerun", {"name": "words"})
        assert "is stopped: start it first" in refused.problems[0][1]
        for _ in range(2):
            await front.get("pipeline.start", records.Pipeline, {"name": "words"})
        jobs = await jobs_are(front, ("words", first), ("words", changed.set_id))
        assert {each.inputs[0].commit for each in jobs} == {first, third}
        kinds = {each.kind for each in await front.events("words")}
        assert {"pipeline-stopped", "pipeline-started"} <= kinds


async def test_what_a_killed_coordinator_was_told_its_successor_does(front: Front) -> None:
    """Each verb is one write, and the process dies right after it."""
    async with front.coordinator():
        first = await words(front)
    async with front.server.connect("coordinator") as ctl:
        pipelines = tables_of(ctl).pipelines

        async def write(**fields: object) -> None:
            entry = await pipelines.get("words")
            assert entry is not None
            assert entry.value is not None
            changed = msgspec.structs.replace(entry.value, **fields)
            await pipelines.update("words", changed, entry.revision)

        await write(state=PipelineState.STOPPED)
        async with front.coordinator():
            await state_of(front, first, JobState.KILLED)
        await write(state=PipelineState.RUNNING, starts=1)
        async with front.coordinator():
            (second,) = [each for each in await front.jobs() if each.id != first]
            assert second.inputs[0].commit == first
            await state_of(front, second.id, JobState.RUNNING)
        await write(version=2, oldest=2, since=2, set_id="5" * 32)
        async with front.coordinator():
            await state_of(front, second.id, JobState.KILLED)
            assert (await state_of(front, "5" * 32, JobState.RUNNING)).version == 2
            history = await front.get("pipeline.versions", list[records.Pipeline], {"key": "words"})
            assert [each.version for each in history] == [2, 1]


async def test_applied_now_a_version_kills_the_jobs_of_older_ones_and_begins_at_once(
    front: Front,
) -> None:
    async with front.coordinator():
        first = await words(front)
        second = await front.get(
            "pipeline.apply", records.Pipeline, a_spec("words", "in", datum_tries=5)
        )
        await state_of(front, second.set_id, JobState.RUNNING)
        await state_of(front, first, JobState.RUNNING)
        third = await front.get(
            "pipeline.apply-now", records.Pipeline, a_spec("words", "in", datum_tries=6)
        )
        for old in (first, second.set_id):
            killed = await state_of(front, old, JobState.KILLED)
            assert killed.reason == "version 3 of the pipeline has replaced it"
        await state_of(front, third.set_id, JobState.RUNNING)


async def test_each_version_can_be_looked_at_and_one_that_only_scales_sets_off_nothing(
    front: Front,
) -> None:
    async with front.coordinator():
        first = await words(front)
        for constant in (3, 4):
            scaled = a_spec("words", "in", parallelism_spec={"constant": constant})
            await front.get("pipeline.apply", records.Pipeline, scaled)
        await jobs_are(front, ("words", first))
        page = {"key": "words", "limit": 2}
        found = await front.get("pipeline.versions", list[records.Pipeline], page)
        assert [each.version for each in found] == [3, 2]
        old = await front.get("pipeline.get", api.PipelineView, {"name": "words", "version": 2})
        assert old.pipeline.spec is not None
        assert old.pipeline.spec.parallelism_spec.constant == 3
        reply = await front.ask("pipeline.get", {"name": "words", "version": 9})
        assert reply.code == "not-found"
        assert reply.problems[0][1] == "version 9 of pipeline 'words' does not exist"


async def test_a_rerun_makes_one_job_however_often_it_is_asked_for(front: Front) -> None:
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        await front.get("pipeline.apply", records.Pipeline, a_spec("words", "in"))
        await front.get("pipeline.apply", records.Pipeline, a_spec("totals", "words"))
        first = await front.commit("in")
        await state_of(front, first, JobState.SUCCESS, "totals")
        again, once_more = secrets.token_hex(16), secrets.token_hex(16)
        for _ in range(2):
            body = {"name": "words", "id": again, "reprocess": True}
            job = await front.get("pipeline.rerun", records.Job, body)
            assert (job.id, job.reprocess) == (again, True)
        await state_of(front, again, JobState.SUCCESS, "totals")
        for _ in range(2):
            body = {"pipeline": "words", "job": first, "id": once_more}
            job = await front.get("job.rerun", records.Job, body)
            assert (job.id, job.rerun_of, job.inputs[0].commit) == (once_more, first, first)
        await state_of(front, once_more, JobState.SUCCESS, "totals")
        sets = [(name, job) for name in ("words", "totals") for job in (first, again, once_more)]
        await jobs_are(front, *sets)
        reply = await front.ask("job.rerun", {"pipeline": "words", "job": "9" * 32})
        assert reply.code == "not-found"


async def test_what_others_read_is_deleted_only_by_force_and_they_keep_its_files(
    front: Front,
) -> None:
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        await front.get("pipeline.apply", records.Pipeline, a_spec("words", "in"))
        await front.get("pipeline.apply", records.Pipeline, a_spec("totals", "words"))
        reply = await front.ask("pipeline.delete", {"name": "words"})
        assert "its output is read by totals" in reply.problems[0][1]
        await front.get("pipeline.delete", records.Pipeline, {"name": "words", "force": True})
        await until(front.pipelines, lambda there: "words" not in there)
        assert (await front.get("repo.get", api.RepoView, {"name": "words"})).repo.pipeline
        again = await front.get("pipeline.apply", records.Pipeline, a_spec("words", "in"))
        assert again.version == 1
        await front.commit("in")
        await until(
            front.jobs, lambda jobs: {each.pipeline for each in jobs} == {"words", "totals"}
        )


async def test_a_deletion_that_was_cut_off_anywhere_goes_on(front: Front) -> None:
    """The pipeline's own record is the last to go: whatever else is gone already, the rest follows."""
    async with front.coordinator():
        first = await words(front)
        second = a_spec("words", "in", datum_tries=9)
        await front.get("pipeline.apply", records.Pipeline, second)
    async with front.server.connect("coordinator") as ctl:
        tables = tables_of(ctl)
        entry = await tables.pipelines.get("words")
        assert entry is not None
        assert entry.value is not None
        going = msgspec.structs.replace(entry.value, state=PipelineState.DELETING)
        await tables.pipelines.update("words", going, entry.revision)
        await tables.jobs.delete(f"words.{first}")
        await tables.pipelines.delete("words.1")
        await tables.branches.delete("words.master")
        async with front.coordinator():
            await until(front.pipelines, lambda there: there == {})
        assert await tables.pipelines.all() == []
        assert await tables.jobs.all() == []
        assert [each.key for each in await tables.repos.all()] == ["in"]


async def test_the_scalers_last_decision_is_told_with_the_pipeline(front: Front) -> None:
    async with front.coordinator():
        await words(front)
        unknown = await front.get("pipeline.explain", api.Explained, {"name": "words"})
        assert (unknown.decision, unknown.scaling) == (None, None)
        async with front.server.connect("scaler") as scaler:
            for number in (1, 2):
                event = messages.Event(
                    kind="scaled", pipeline="words", at_ns=number, source="scaler", text=f"{number}"
                )
                subject = subjects.event("words", "scaled")
                await Window(scaler).put(subject, messages.encode(event))
        found = await front.get("pipeline.explain", api.Explained, {"name": "words"})
        assert found.decision is not None
        assert found.decision.text == "2"


async def test_events_are_asked_for_by_job_worker_and_time_and_followed_from_where_they_ended(
    front: Front,
) -> None:
    async with front.coordinator():
        await words(front)
        asked = {"key": "words", "limit": 500}
        first = await front.ask("event.list", asked)
        assert (first.more, first.next.count(".")) == (False, 1)
        about = {"job": "j1", "worker": "w1"}
        facts = {"drain": msgspec.Raw(b'["w2","w3"]')}
        async with front.server.connect("scaler") as scaler:
            for number, more in enumerate((about, {"job": "j2"}, {"facts": facts})):
                event = messages.Event(
                    kind="scaled",
                    pipeline="words",
                    at_ns=number,
                    source="scaler",
                    text=f"{number}",
                    **more,  # type: ignore[arg-type]
                )
                await Window(scaler).put(subjects.event("words", "scaled"), messages.encode(event))

        async def texts(**more: object) -> list[str]:
            body = {**asked, "after": first.next, **more}
            found = await front.get("event.list", list[messages.Event], body)
            return [each.text for each in found]

        assert await texts() == ["0", "1", "2"]
        assert await texts(job="j1") == await texts(worker="w1") == ["0"]
        assert await texts(worker="w2") == ["2"]
        assert await texts(worker="w") == []
        assert (await texts(last=1, after=""))[-1:] == ["2"]
        assert await texts(last=100, after="", job="j1") == ["0"]
        later = time.time_ns() + 3600 * 10**9
        assert await texts(last=100, after="", since_ns=later) == []
        assert await texts(after="", since_ns=later) == []
        assert {"0", "1", "2"} < set(await texts(after="", since_ns=later - 7200 * 10**9))
