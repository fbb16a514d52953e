"""From a spec that any NATS client publishes to the output commit of a DAG."""

import json
from typing import Any

import pytest
from nats.aio.client import Client as Plain
from tests.support import installation

from trunkline.cli import explaining
from trunkline.contracts import api, errors, records


def copy(name: str, repo: str, **more: Any) -> dict[str, Any]:
    return {
        "pipeline": {"name": name},
        "transform": {"cmd": ["/bin/sh"], "stdin": [f'cp -R "$PFS/{repo}/." "$PFS/out/"']},
        "input": {"pfs": {"repo": repo, "glob": "/*"}},
        "parallelism_spec": {"constant": 1},
        **more,
    }


async def test_a_plain_client_publishes_a_spec_and_has_its_pipeline(here):
    await here.repo("plain-in")
    plain = Plain()
    await plain.connect(here.stack.url)
    try:
        await plain.publish(
            "trunkline.pipelines.apply", json.dumps(copy("out1", "plain-in")).encode()
        )
        await plain.publish("trunkline.pipelines.apply", b"pipeline: {name: ill}\ntransform: 3\n")
        await plain.publish("trunkline.pipelines.apply", b"\xff\x00 no spec at all")

        async def there():
            found = {
                view.pipeline.name: view.pipeline
                async for view in here.client.every("pipeline.list", api.PipelineView)
            }
            return found if {"out1", "ill"} <= set(found) else None

        found = await installation.until(there, what="both pipelines")
        assert found["out1"].state == "RUNNING"
        assert found["ill"].state == "REFUSED"
        paths = {path for path, _ in found["ill"].refusal.problems}
        assert {"$.transform", "$.input"} <= paths
        reply = await plain.request("trunkline.api.pipeline.list", b"")
        assert json.loads(reply.data)["ok"] is True
    finally:
        await plain.close()
    job = await here.put("plain-in", {"/a": b"1"})
    await here.succeeded("out1", job)


async def test_a_diamond_runs_its_end_once_per_commit(here):
    await here.repo("diamond-in")
    await here.apply(copy("top", "diamond-in"))
    await here.apply(copy("left", "top"))
    await here.apply(copy("right", "top"))
    cat = 'cat "$PFS"/left/* "$PFS"/right/* >"$PFS/out/all"'
    both = [{"pfs": {"repo": side, "glob": "/"}} for side in ("left", "right")]
    await here.apply(
        copy("end", "left", input={"cross": both}, transform={"cmd": ["sh"], "stdin": [cat]})
    )
    for turn in range(2):
        commit = await here.put("diamond-in", {f"/f{turn}": b"%d" % turn})
        job = await here.succeeded("end", commit)
        assert [each.commit for each in job.inputs] == [commit, commit]
        written = b"".join(b"%d" % each for each in range(turn + 1)) * 2
        assert await here.content("end", commit) == {
            "/all": installation.hashlib.sha256(written).hexdigest()
        }
    assert len(await here.jobs("end")) == 2


@pytest.mark.parametrize("count", [4_000, pytest.param(20_000, marks=pytest.mark.slow)])
async def test_one_datum_of_thousands_of_files_goes_in_and_out(here, count):
    contents = {f"/d{number % 100:02}/f{number:05}": b"%d\n" % number for number in range(count)}
    await here.repo(f"large{count}")
    spec = copy(f"all{count}", f"large{count}")
    spec["input"]["pfs"]["glob"] = "/"
    await here.apply(spec)
    job = await here.put(f"large{count}", contents)
    ended = await here.succeeded(f"all{count}", job, within_s=120)
    assert ended.total == 1
    found = await here.content(f"all{count}", job)
    assert found == {
        path: installation.hashlib.sha256(data).hexdigest() for path, data in contents.items()
    }


async def test_two_datums_that_write_one_path_fail_the_job_naming_both(here):
    await here.repo("clash-in")
    spec = copy("clash", "clash-in")
    spec["transform"]["stdin"] = ['echo x >"$PFS/out/same"']
    await here.apply(spec)
    job = await here.put("clash-in", {"/a": b"1", "/b": b"2"})
    ended = await here.ended("clash", job)
    assert ended.state == "FAILURE"
    assert "/same" in ended.reason


async def test_refusals_name_every_problem_and_change_nothing(here):
    await here.repo("bad-in")
    spec = copy("bad", "nowhere")
    spec["parallelism_spec"] = {"constant": 1, "coefficient": 2.0}
    spec["datum_trys"] = 3
    spec["input"]["pfs"]["glob"] = "/[a"
    with pytest.raises(errors.RequestRefusedError) as refused:
        await here.apply(spec)
    paths = {path for path, _ in refused.value.problems}
    assert {"$.parallelism_spec", "$.datum_trys", "$.input.pfs.glob"} <= paths
    with pytest.raises(errors.RequestRefusedError, match="bad"):
        await here.client.call("pipeline.get", api.Named(name="bad"), api.PipelineView)
    await here.apply(copy("one", "bad-in"))
    await here.apply(copy("two", "one"))
    with pytest.raises(errors.RequestRefusedError, match="cycle"):
        await here.apply(copy("one", "two"))


async def test_a_put_on_a_pipelines_repo_is_refused(here):
    await here.repo("put-in")
    await here.apply(copy("taken", "put-in"))
    with pytest.raises(errors.RequestRefusedError, match="taken"):
        await here.put("taken", {"/a": b"1"})
    repos = [view async for view in here.client.every("repo.list", api.RepoView)]
    assert {view.repo.name for view in repos} >= {"put-in", "taken"}
    assert all(isinstance(view.repo, records.Repo) for view in repos)


async def test_a_job_behind_others_and_one_whose_upstream_fails_are_explained(here, tmp_path):
    """1. Two workers are held by a job each: the third waits behind both. 2. All fail: so does what reads them."""
    script = f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo no luck; exit 7"
    slow = {"cmd": ["/bin/sh", "-c", script]}
    await here.repo("explained-in")
    two = {"constant": 2}
    await here.apply(
        copy("upper", "explained-in", transform=slow, datum_tries=1, parallelism_spec=two)
    )
    await here.apply(copy("lower", "upper"))
    first = await here.put("explained-in", {"/a": b"1"})
    await here.runs("upper", first)
    second = await here.put("explained-in", {"/b": b"2"})
    await here.runs("upper", second)
    third = await here.put("explained-in", {"/c": b"3"})

    async def behind() -> Any:
        found = await explaining.explanation(here.client, f"upper@{third}")
        told = next((each for each in found.reasons if each.kind == "behind-job"), None)
        return told if told is not None and "2 other jobs" in told.why else None

    reason = await installation.until(behind, what="a job behind two others")
    assert "at which all 2 busy workers are" in reason.why
    for other in (first, second):
        assert f"1 at upper@{other[:12]} (older, 0 of " in reason.why
    assert f"`trunkline stop job upper@{first[:12]}`" in reason.remedy
    assert "which allows 2" in reason.remedy
    (tmp_path / "go").touch()
    await here.ended("lower", third)
    explained = await explaining.explanation(here.client, f"lower@{third}")
    assert [each.kind for each in explained.reasons] == ["upstream-failed"]
    assert f"upper@{third[:12]} is FAILURE: datum" in explained.reasons[0].why
    assert "it printed last: 'no luck'" in explained.reasons[0].why
    assert [each.kind for each in explained.events] == ["job-created", "job-changed"]
