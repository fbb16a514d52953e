"""The coordinator on a real nats-server and a file store, asked by a plain NATS client."""

import asyncio
import os
from collections.abc import Sequence

import msgspec
import yaml
from tests.support.front import Front, a_spec, until
from tests.support.wards import ward

from trunkline.contracts import api, messages, records, subjects
from trunkline.contracts.states import JobState, PipelineState


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


async def test_many_requests_at_once_are_all_answered(front: Front) -> None:
    async def answered() -> None:
        # asked again before they are answered, they would only become more; what waited for too long says so
        while not (reply := await front.ask("status", try_s=60, within_s=60)).ok:
            assert reply.code == "unavailable"

    async with front.coordinator(requests=4):
        await front.pipelines()
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for _ in range(300):
                tasks.create_task(answered(), name="asked")


async def test_a_cycle_is_refused_by_its_name(front: Front) -> None:
    async with front.coordinator():
        await front.get("repo.create", records.Repo, {"name": "in"})
        await front.get("pipeline.apply", records.Pipeline, a_spec("a", "in"))
        await front.get("pipeline.apply", records.Pipeline, a_spec("b", "a"))
        reply = await front.ask("pipeline.apply", a_spec("a", "b"))
        assert reply.code == "invalid"
        assert "a -> b -> a" in reply.problems[0][1]


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
