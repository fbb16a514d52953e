"""How users' containers end, and what the scaler makes of it; on the whole installation."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tests.cluster.whole import Whole
from tests.support import installation

from trunkline.cli import explaining
from trunkline.cli.core.explanations import Explanation
from trunkline.contracts import api, errors, records
from trunkline.contracts.attempts import Ledger
from trunkline.contracts.states import Cause, DatumState, JobState
from trunkline.runtime.clock import SystemClock

pytestmark = pytest.mark.asyncio(loop_scope="module")

HUNGRY = "test -e /pfs/in/bad || { cp /pfs/in/* /pfs/out; exit; }; tail /dev/zero"
LIMITS: Any = {"resource_limits": {"memory": "64Mi"}}
CONTENTS = {"/a": b"a", "/bad": b"b", "/c": b"c"}


@pytest.fixture
async def whole_ooms(installed: Whole) -> AsyncIterator[None]:
    """Out of memory is the whole container, as on nodes with control groups of version 2."""
    installed.kubelet.terms.whole_ooms = True
    yield
    installed.kubelet.terms.whole_ooms = False


async def bad(installed: Whole, pipeline: str, job: str) -> api.DatumView:
    """Return what is known of the datum of `/bad`, the second one."""
    (found,) = [each for each in await installed.datums(pipeline, job) if each.index == 1]
    return found


def said(found: Explanation, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines that a user sees."""
    capsys.readouterr()
    explaining.show(found, SystemClock().wall_ns())
    return capsys.readouterr().out.splitlines()


@pytest.mark.usefixtures("whole_ooms")
async def test_a_datum_that_uses_up_its_containers_memory_fails_after_its_tries(
    installed: Whole, capsys: pytest.CaptureFixture[str]
) -> None:
    """1. It takes its container along, twice in one pod. 2. That one backs off, and is replaced. 3. The
    third time is the last one, and says what it was. The others are charged nothing.
    """
    await installed.add_nodes(1)
    repo = await installed.new_repo("files")
    pipeline = await installed.pipeline("hungry", HUNGRY, repo=repo, datum_tries=3, **LIMITS)
    await installed.workers(pipeline, 1)
    first = {each.metadata.uid for each in await installed.pods_of(pipeline)}
    job = await installed.put(repo, CONTENTS)
    ended = await installed.ended(pipeline, job, within_s=90)
    assert ended.state is JobState.FAILURE
    # the command's own end may be seen a moment before its container's
    assert "oom " in ended.reason or "out of memory" in ended.reason
    assert (ended.counts.processed, ended.counts.failed) == (2, 1)
    view = await bad(installed, pipeline, job)
    assert view.state == DatumState.FAILED
    assert view.outcome is not None
    assert [each.cause for each in view.outcome.history] == [Cause.OOM] * 3
    found = await explaining.explanation(installed.client, f"{pipeline}@{job}")
    assert [each.kind for each in found.reasons] == ["oom"]
    _, why, remedy, *_ = said(found, capsys)
    assert why.startswith("why: datum 1 is FAILED: it was killed for want of memory 3 times, on ")
    assert "; its limit is 64 MiB" in why
    assert ", input /bad)" in why
    assert remedy.startswith("  what to do: raise `resource_limits.memory` in the spec")
    others = [
        each for each in await installed.attempts(pipeline, job) if each.cause is not Cause.OOM
    ]
    assert {each.cause for each in others} <= {Cause.DONE}
    assert first != {each.metadata.uid for each in await installed.pods_of(pipeline)}


@pytest.mark.usefixtures("whole_ooms")
async def test_a_scaler_that_was_away_still_finds_out_what_a_container_ended_of(
    installed: Whole,
) -> None:
    await installed.add_nodes(1)
    repo = await installed.new_repo("files")
    pipeline = await installed.pipeline("hungry", HUNGRY, repo=repo, datum_tries=1, **LIMITS)
    await installed.workers(pipeline, 1)
    installed.scaler.kill()
    job = await installed.put(repo, CONTENTS)

    async def lost() -> bool:
        with contextlib.suppress(errors.RequestRefusedError, ValueError):
            view = await bad(installed, pipeline, job)
            ledger = msgspec.json.decode(view.attempts, type=Ledger | None)
            return (
                any(each.cause is Cause.CONTAINER_LOST for each in ledger.attempts)
                if ledger
                else False
            )
        return False

    await installation.until(lost, what="a container that is lost")
    installed.scaler.start()
    ended = await installed.ended(pipeline, job, within_s=90)
    assert ended.state is JobState.FAILURE
    view = await bad(installed, pipeline, job)
    assert view.outcome is not None
    assert view.outcome.state is DatumState.FAILED
    assert view.outcome.history[-1].cause is Cause.OOM
    assert {each.cause for each in view.outcome.history[:-1]} <= {Cause.CONTAINER_LOST}


async def problem(installed: Whole, pipeline: str, *words: str) -> None:
    """Return once the pipeline's record names what is wrong with its workers."""

    async def look() -> bool:
        scaling = await installed.scaling(pipeline)
        return scaling is not None and all(word in scaling.problem for word in words)

    await installation.until(look, what=f"a problem with {', '.join(words)}")


async def test_a_job_that_no_node_tolerates_says_so_and_runs_once_one_does(
    installed: Whole, capsys: pytest.CaptureFixture[str]
) -> None:
    [node] = await installed.add_nodes(
        1, taints=[{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}]
    )
    repo = await installed.new_repo("files")
    pipeline = await installed.pipeline("picky", "cp /pfs/in/* /pfs/out", repo=repo)
    job = await installed.put(repo, CONTENTS)
    await problem(installed, pipeline, "Unschedulable")
    found = await explaining.explanation(installed.client, f"{pipeline}@{job}")
    assert found.reasons[0].kind == "no-node"
    _, why, remedy, *_ = said(found, capsys)
    assert why.startswith("why: ")
    assert f"for the workers of {pipeline}: " in why
    assert f"{node.name}: taint dedicated=gpu:NoSchedule" in why
    assert remedy.startswith("  what to do: ")
    assert '"tolerations": [{"key": "dedicated", "value": "gpu"' in remedy
    tolerates: Any = {"key": "dedicated", "operator": "Equal", "value": "gpu"}
    await installed.pipeline("picky", "cp /pfs/in/* /pfs/out", repo=repo, tolerations=[tolerates])
    await installed.succeeded(pipeline, job)


async def test_what_keeps_pods_from_coming_up_is_named_and_a_corrected_spec_mends_it(
    installed: Whole,
) -> None:
    """1. An image that is not there. 2. Another one, once the job that waits for the first is stopped; but more cores than a node has. 3. Fewer cores:
    the pod is replaced, and that very job succeeds.
    """
    await installed.add_nodes(1)
    repo = await installed.new_repo("files")
    script = "cp /pfs/in/* /pfs/out"
    pipeline = await installed.pipeline(
        "mended", script, repo=repo, transform={"cmd": ["sh", "-c", script], "image": "nope:1"}
    )
    first = await installed.put(repo, CONTENTS)
    await problem(installed, pipeline, "ImagePullBackOff", "nope:1")
    await installed.pipeline("mended", script, repo=repo, resource_requests={"cpu": 1000})
    await problem(installed, pipeline, "ImagePullBackOff", "`apply --now`")
    stop = api.JobNamed(pipeline=pipeline, id=first)
    await installed.client.call("job.stop", stop, records.Job)
    await problem(installed, pipeline, "Unschedulable", "Insufficient cpu")
    (job,) = [each for each in await installed.jobs(pipeline) if not each.state.ended]
    await installed.pipeline("mended", script, repo=repo)
    await installed.succeeded(pipeline, job.id)
    await installed.workers(pipeline, 1)


async def test_an_agent_that_cannot_start_is_named_and_pods_follow_the_scalers_settings(
    installed: Whole,
) -> None:
    """As after an upgrade that was wrong, and one that mends it."""
    await installed.add_nodes(1)
    repo = await installed.new_repo("files")
    await installed.restart_scaler(TRUNKLINE_WORKER_ENVIRON='{"TRUNKLINE_ACK_WAIT_S": "long"}')
    pipeline = await installed.pipeline("copies", "cp /pfs/in/* /pfs/out", repo=repo)
    await problem(installed, pipeline, "CrashLoopBackOff", "agent")
    await installed.restart_scaler()
    await installed.workers(pipeline, 1, within_s=60)
    job = await installed.put(repo, CONTENTS)
    await installed.succeeded(pipeline, job)
