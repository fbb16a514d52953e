"""The number of workers follows the specs, the nodes and, with standby, the work."""

from pathlib import Path
from typing import Any

from tests.support import gates, installation
from tests.support.gates import Gate

from trunkline.cli import explaining

NAP: dict[str, Any] = {
    "transform": {"cmd": ["/bin/sh"], "stdin": ['cp "$PFS"/in/* "$PFS/out/"']},
    "input": {"pfs": {"repo": "in", "glob": "/*"}},
}


def held(home: Path) -> dict[str, Any]:
    """Return a pipeline whose datums all wait at the gate of their job."""
    lines = [gates.of_job(home, "*"), *NAP["transform"]["stdin"]]
    return {**NAP, "pipeline": {"name": "nap"}, "transform": {"cmd": ["/bin/sh"], "stdin": lines}}


TEN_NODES_GIVE: dict[str, tuple[dict[str, Any], int]] = {
    "half": ({"parallelism_spec": {"coefficient": 0.5}}, 5),
    "double": ({"parallelism_spec": {"coefficient": 2.0}}, 20),
    "plain": ({}, 10),
    "three": ({"parallelism_spec": {"constant": 3}}, 3),
}


async def test_a_spec_and_ten_nodes_give_the_number_of_workers():
    async with installation.running(nodes=10) as here:
        await here.repo("in")
        for name, (parallelism, _) in TEN_NODES_GIVE.items():
            await here.apply({**NAP, "pipeline": {"name": name}, **parallelism})
        for name, (_, count) in TEN_NODES_GIVE.items():
            scaling = await here.workers(name, count)
            assert scaling.cap == scaling.want == count
            assert "10 nodes" in scaling.reason or name == "three"


async def test_workers_follow_the_nodes_at_once(record_property):
    async with installation.running(nodes=10) as here:
        await here.repo("in")
        await here.apply(held(here.home))
        first = await here.workers("nap", 10)
        await here.nodes(4)
        fewer = await here.workers("nap", 4)
        assert {w.name for w in fewer.workers} <= {w.name for w in first.workers}
        # With more datums than workers the new ones pull at once.
        job = await here.put("in", {f"/f{number:03}": b"x" for number in range(40)})
        await Gate(here.home / job).reached(4)
        changed_ns = installation.SystemClock().wall_ns()
        await here.nodes(10)
        again = await here.pulling("nap", 10)
        stayed = {w.name: w.created_ns for w in fewer.workers}
        assert all(w.created_ns == stayed[w.name] for w in again.workers if w.name in stayed), (
            "a worker that stays is not restarted"
        )
        new = [w for w in again.workers if w.created_ns > changed_ns]
        assert len(new) == 6
        pulled_s = max((w.pulled_ns - changed_ns) / 1e9 for w in new)
        created_s = max((w.created_ns - changed_ns) / 1e9 for w in new)
        record_property("created_s", created_s)
        print(
            f"nodes 4 -> 10: created within {created_s:.3f} s, first pull within {pulled_s:.3f} s"
        )
        Gate(here.home / job).open()
        ended = await here.succeeded("nap", job)
        assert ended.counts.processed == 40


async def test_standby_runs_as_many_workers_as_datums_and_then_none():
    async with installation.running(
        nodes=1, settings={"TRUNKLINE_STANDBY_COOL_DOWN_S": "1"}
    ) as here:
        await here.repo("in")
        await here.apply({**held(here.home), "standby": True, "parallelism_spec": {"constant": 10}})
        await here.workers("nap", 0)
        most = 3
        job = await here.put("in", {f"/f{number}": b"x" for number in range(3)})
        await here.workers("nap", 3)
        Gate(here.home / job).open()

        async def at_work():
            nonlocal most
            scaling = await here.seen("nap")
            most = max(most, scaling.have)
            return (await here.job("nap", job)).state.ended

        await installation.until(at_work, what="the end of the job")
        assert most == 3
        assert (await here.succeeded("nap", job)).counts.processed == 3
        await here.workers("nap", 0)


async def test_scaling_in_drains_idle_workers_and_never_a_busy_one_before():
    async with installation.running(nodes=6) as here:
        await here.repo("in")
        await here.apply(held(here.home))
        await here.workers("nap", 6)
        job = await here.put("in", {f"/f{number}": b"x" for number in range(2)})

        async def busy():
            scaling = await here.seen("nap")
            names = {each.name for each in scaling.workers if each.phase == "busy"}
            return names if len(names) == 2 else None

        at_work = await installation.until(busy, what="two busy workers")
        await here.nodes(3)
        after = await here.workers("nap", 3)
        assert at_work <= {each.name for each in after.workers}
        [code] = {each.code_hash[:8] for each in after.workers}
        gone = {f"nap-{code}-{each}" for each in range(6)} - {each.name for each in after.workers}
        for what in (gone.pop(), "nap"):
            explained = await explaining.explanation(here.client, what)
            down = [each for each in explained.reasons if each.kind == "scaled-down"]
            assert "from 6 to 3 workers: 3 nodes x 1 = 3 workers" in down[0].why
        Gate(here.home / job).open()
        await here.succeeded("nap", job)
        for view in await here.datums("nap", job):
            assert view.outcome is not None
            assert view.outcome.attempts == 1
