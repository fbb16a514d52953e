"""Nodes and workers that go in the middle of a job, on a whole installation: what becomes of their datums."""

import time

import pytest
from tests.cluster.whole import Whole
from tests.support import gates
from tests.support.gates import Gate
from tests.support.installation import until

from trunkline.contracts import records
from trunkline.contracts.states import Cause
from trunkline.scaler.kubernetes import pods

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def busy(installed: Whole, pipeline: str, *but: str) -> records.WorkerView:
    """Return a worker that executes a datum, and is none of these."""

    async def look() -> records.WorkerView | None:
        scaling = await installed.seen(pipeline)
        found = [
            each for each in scaling.workers if each.index is not None and each.name not in but
        ]
        return found[0] if found else None

    return await until(look, what=f"a busy worker of {pipeline}")


async def node_of(installed: Whole, pipeline: str, worker: str) -> str:
    found = await installed.pods_of(pipeline)
    names = {each.metadata.annotations[pods.WORKER]: each.spec.node_name for each in found}
    return str(names[worker])


async def test_datums_of_a_node_that_goes_run_elsewhere_at_once(installed: Whole) -> None:
    """Of three workers on three nodes one executes a datum. 1. Its node goes NotReady: another one begins it.
    2. The node of that one is removed: the third begins it. Nobody is charged.
    """
    await installed.add_nodes(3)
    repo = await installed.new_repo("texts")
    pipeline = await installed.pipeline(
        "slow",
        f"{gates.of_job(installed.gates, '*')}; cp /pfs/in/* /pfs/out",
        repo=repo,
        parallelism_spec={"constant": 3},
        datum_tries=1,
    )
    await installed.workers(pipeline, 3)
    job = await installed.put(repo, {"/a": b"a"})
    gone: list[str] = []
    for how in ("not ready", "removed"):
        worker = await busy(installed, pipeline, *gone)
        node = await node_of(installed, pipeline, worker.name)
        at_ns = time.time_ns()
        if how == "removed":
            await installed.kubelet.remove_node(node)
        else:
            await installed.kubelet.nodes[node].not_ready()
        gone.append(worker.name)
        heir = await busy(installed, pipeline, *gone)
        print(f"node {how}: begun elsewhere after {(heir.since_ns - at_ns) / 1e6:.0f} ms")
    Gate(installed.gates / job).open()
    await installed.succeeded(pipeline, job)
    tries = await installed.attempts(pipeline, job)
    assert tries[-1].cause is Cause.DONE
    assert {each.cause for each in tries[:-1]} <= {Cause.NODE_LOST, Cause.WORKER_LOST}
    assert len({each.worker for each in tries}) == len(tries) == 3


async def test_scale_in_from_twenty_to_five_attempts_no_datum_twice_though_the_scaler_is_killed(
    installed: Whole,
) -> None:
    """1. Twenty are at work. 2. Five are wanted; the first ones drain. 3. The scaler is killed, and started again."""
    await installed.add_nodes(5)
    repo = await installed.new_repo("texts")
    script = f"{gates.of_job(installed.gates, '*')}; cp /pfs/in/* /pfs/out"

    async def want(count: int) -> str:
        parallelism = {"constant": count}
        return await installed.pipeline("slow", script, repo=repo, parallelism_spec=parallelism)

    pipeline = await want(20)
    await installed.workers(pipeline, 20, within_s=90)
    contents = {f"/{number}": b"x" for number in range(80)}
    job = await installed.put(repo, contents)

    async def all_at_work() -> bool:
        scaling = await installed.seen(pipeline)
        return sum(each.index is not None for each in scaling.workers) == 20

    await until(all_at_work, what="twenty busy workers")
    await want(5)

    async def drains() -> bool:
        return b'"worker is to drain"' in installed.scaler.said

    await until(drains, what="a worker that drains")
    installed.scaler.kill()
    installed.scaler.start()
    Gate(installed.gates / job).open()
    await installed.workers(pipeline, 5, within_s=60)
    await installed.succeeded(pipeline, job)
    datums = await installed.datums(pipeline, job)
    tries = [each.outcome.history for each in datums if each.outcome is not None]
    assert len(tries) == len(contents)
    again = [each for each in tries if len(each) > 1 or {one.cause for one in each} - {Cause.DONE}]
    assert again == []
    assert await installed.content(pipeline) == await installed.content(repo)
