"""From a spec that any NATS client publishes to the output commit of a DAG."""

import json
from typing import Any

import pytest
from nats.aio.client import Client as Plain
from tests.support import installation

from trunkline.contracts import api, errors, records


def copy(name: str, repo: str, **more: Any) -> dict[str, Any]:
    return {
        "pipeline": {"name": name},
        "transform": {"cmd": ["/bin/sh"], "stdin": [f'cp -R "$PFS/{repo}/." "$PFS/out/"']},
        "input": {"pfs": {"repo": repo, "glob": "/*"}},
        "parallelism_spec": {"constant": 1},
        **more,
    }


async def test_a_plain_client_publishes_a_spec_and_has_its_pipeline():
    async with installation.running() as here:
        await here.repo("in")
        plain = Plain()
        await plain.connect(here.stack.url)
        try:
            await plain.publish(
                "trunkline.pipelines.apply", json.dumps(copy("out1", "in")).encode()
            )
            await plain.publish(
                "trunkline.pipelines.apply", b"pipeline: {name: bad}\ntransform: 3\n"
            )
            await plain.publish("trunkline.pipelines.apply", b"\xff\x00 no spec at all")

            async def there():
                found = {
                    view.pipeline.name: view.pipeline
                    async for view in here.client.every("pipeline.list", api.PipelineView)
                }
                return found if {"out1", "bad"} <= set(found) else None

            found = await installation.until(there, what="both pipelines")
            assert found["out1"].state == "RUNNING"
            assert found["bad"].state == "REFUSED"
            paths = {path for path, _ in found["bad"].refusal.problems}
            assert {"$.transform", "$.input"} <= paths
            reply = await plain.request("trunkline.api.pipeline.list", b"")
            assert json.loads(reply.data)["ok"] is True
        finally:
            await plain.close()
        job = await here.put("in", {"/a": b"1"})
        await here.succeeded("out1", job)


async def test_a_diamond_runs_its_end_once_per_commit():
    async with installation.running() as here:
        await here.repo("in")
        await here.apply(copy("top", "in"))
        await here.apply(copy("left", "top"))
        await here.apply(copy("right", "top"))
        cat = 'cat "$PFS"/left/* "$PFS"/right/* >"$PFS/out/all"'
        both = [{"pfs": {"repo": side, "glob": "/"}} for side in ("left", "right")]
        await here.apply(
            copy("end", "left", input={"cross": both}, transform={"cmd": ["sh"], "stdin": [cat]})
        )
        for turn in range(2):
            commit = await here.put("in", {f"/f{turn}": b"%d" % turn})
            job = await here.succeeded("end", commit)
            assert [each.commit for each in job.inputs] == [commit, commit]
            written = b"".join(b"%d" % each for each in range(turn + 1)) * 2
            assert await here.content("end", commit) == {
                "/all": installation.hashlib.sha256(written).hexdigest()
            }
        assert len(await here.jobs("end")) == 2


async def test_one_datum_of_twenty_thousand_files_goes_in_and_out():
    contents = {f"/d{number % 100:02}/f{number:05}": b"%d\n" % number for number in range(20_000)}
    async with installation.running() as here:
        await here.repo("in")
        spec = copy("all", "in")
        spec["input"]["pfs"]["glob"] = "/"
        await here.apply(spec)
        job = await here.put("in", contents)
        ended = await here.succeeded("all", job, within_s=120)
        assert ended.total == 1
        found = await here.content("all", job)
        assert found == {
            path: installation.hashlib.sha256(data).hexdigest() for path, data in contents.items()
        }


async def test_two_datums_that_write_one_path_fail_the_job_naming_both():
    async with installation.running() as here:
        await here.repo("in")
        spec = copy("clash", "in")
        spec["transform"]["stdin"] = ['echo x >"$PFS/out/same"']
        await here.apply(spec)
        job = await here.put("in", {"/a": b"1", "/b": b"2"})
        ended = await here.ended("clash", job)
        assert ended.state == "FAILURE"
        assert "/same" in ended.reason


async def test_refusals_name_every_problem_and_change_nothing():
    async with installation.running() as here:
        await here.repo("in")
        spec = copy("bad", "nowhere")
        spec["parallelism_spec"] = {"constant": 1, "coefficient": 2.0}
        spec["datum_trys"] = 3
        spec["input"]["pfs"]["glob"] = "/[a"
        with pytest.raises(errors.RequestRefusedError) as refused:
            await here.apply(spec)
        paths = {path for path, _ in refused.value.problems}
        assert {"$.parallelism_spec", "$.datum_trys", "$.input.pfs.glob"} <= paths
        views = [view async for view in here.client.every("pipeline.list", api.PipelineView)]
        assert views == []
        await here.apply(copy("one", "in"))
        await here.apply(copy("two", "one"))
        with pytest.raises(errors.RequestRefusedError, match="cycle"):
            await here.apply(copy("one", "two"))


async def test_a_put_on_a_pipelines_repo_is_refused():
    async with installation.running() as here:
        await here.repo("in")
        await here.apply(copy("one", "in"))
        with pytest.raises(errors.RequestRefusedError, match="one"):
            await here.put("one", {"/a": b"1"})
        repos = [view async for view in here.client.every("repo.list", api.RepoView)]
        assert {view.repo.name for view in repos} == {"in", "one"}
        assert all(isinstance(view.repo, records.Repo) for view in repos)
