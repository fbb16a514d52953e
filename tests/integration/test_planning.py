"""Dry runs of specs, asked for over NATS of a whole coordinator."""

from typing import Any

import msgspec
import pytest
from tests.support.front import Front, a_spec

from trunkline.contracts import api, messages, records
from trunkline.coordinator import planning
from trunkline.storage import manifests


async def planned(front: Front, *specs: dict[str, Any]) -> list[api.Plan]:
    body = msgspec.json.encode(specs[0] if len(specs) == 1 else specs)
    return await front.get("pipeline.plan", list[api.Plan], body)


async def put(front: Front, repo: str, **sizes: int) -> None:
    """Commit files of these sizes; their contents are nowhere."""
    await front.get("repo.create", records.Repo, {"name": repo})
    files = [
        messages.File(path=f"/{name}", size=size, sha256="a" * 64, object=f"objects/aa/{'a' * 64}")
        for name, size in sorted(sizes.items())
    ]
    written = await manifests.write(front.store, files)
    body = {
        "repo": repo,
        "branch": "master",
        "id": f"{len(repo):032x}",
        "parent": "",
        **msgspec.structs.asdict(written),
    }
    await front.get("commit.finish", records.Commit, body)


async def test_a_dry_run_counts_and_makes_nothing(front: Front) -> None:
    async with front.coordinator():
        await front.get("nodes.set", records.Nodes, {"count": 6})
        await put(front, "in", a=3, b=4, c=5)
        wanted = a_spec("p", "in", parallelism_spec={"coefficient": 0.5})
        (plan,) = await planned(front, wanted)
        assert (plan.version, plan.changed, plan.runs, plan.cut) == (1, True, True, False)
        assert (plan.datums, plan.bytes, plan.skipped, plan.workers) == (3, 12, 0, 3)
        assert [(each.paths, each.size) for each in plan.first] == [("/a", 3), ("/b", 4), ("/c", 5)]
        assert await front.pipelines() == {}
        assert await front.jobs() == []
        await front.get("pipeline.apply", records.Pipeline, wanted)
        (plan,) = await planned(front, wanted)
        assert (plan.version, plan.changed, plan.runs) == (1, False, False)


async def test_a_dry_run_tells_what_would_be_run_again_and_killed(front: Front) -> None:
    async with front.coordinator():
        await put(front, "in", a=3, b=4)
        wanted = a_spec("p", "in")
        await front.get("pipeline.apply", records.Pipeline, wanted)
        text = msgspec.json.encode(wanted).decode()

        async def plan_as(specs: str, **options: bool) -> api.Plan:
            request = {"specs": specs, **options}
            (plan,) = await front.get("pipeline.plan-as", list[api.Plan], request)
            return plan

        as_it_is = await plan_as(text, now=True)
        assert (as_it_is.changed, as_it_is.runs, as_it_is.kills) == (False, False, 0)
        anew = await plan_as(text, reprocess=True)
        assert (anew.version, anew.changed, anew.runs) == (2, True, True)
        assert (anew.datums, anew.skipped, anew.kills) == (2, 0, 0)
        assert (await plan_as(text, reprocess=True, now=True)).kills == 1
        assert (await plan_as(text)).runs is False
        told = {"specs": msgspec.json.encode({**wanted, "salt": "mine"}).decode()}
        refused = await front.ask("pipeline.plan-as", {**told, "reprocess": True})
        assert [path for path, _ in refused.problems] == ["$.salt"]


async def test_specs_that_build_on_each_other_are_planned_together(front: Front) -> None:
    async with front.coordinator():
        await put(front, "in", a=1)
        first, second = await planned(front, a_spec("p", "in"), a_spec("q", "p"))
        assert (first.datums, first.warnings) == (1, ())
        assert second.datums == 0
        assert "p@master has no commit yet" in second.warnings[0]


async def test_all_that_is_wrong_with_any_spec_is_told_at_once(front: Front) -> None:
    async with front.coordinator():
        bad = [a_spec("p", "nowhere"), a_spec("q", "elsewhere")]
        reply = await front.ask("pipeline.plan", msgspec.json.encode(bad))
        assert [path for path, _ in reply.problems] == [
            "$[0].input.pfs.repo",
            "$[1].input.pfs.repo",
        ]


async def test_a_listing_that_is_too_long_is_cut_and_says_so(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "MOST", 1000)
    async with front.coordinator():
        await put(front, "in", **{f"f{number:03}": 1 for number in range(100)})
        leaf = {"pfs": {"repo": "in", "glob": "/*"}}
        cross = [{"pfs": {**leaf["pfs"], "name": name}} for name in ("x", "y")]
        (plan,) = await planned(front, {**a_spec("p", "in"), "input": {"cross": cross}})
        assert plan.cut
        assert 1000 <= plan.datums < 2000
        assert len(plan.first) == planning.SHOWN
