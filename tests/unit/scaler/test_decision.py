"""How many workers of which code, from the pipeline's record, its jobs and the nodes."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from trunkline.contracts import records, spec
from trunkline.contracts.states import JobState, PipelineState
from trunkline.scaler.core.decision import Decision, Gauge, decide
from trunkline.scaler.core.standby import Standby
from trunkline.scaler.ports import Node


def pipeline_spec(cmd: str = "new", **fields: Any) -> spec.PipelineSpec:
    values = {
        "name": "p",
        "transform": {"cmd": [cmd]},
        "input": {"pfs": {"repo": "r", "glob": "/*", "name": "r"}},
        **fields,
    }
    return msgspec.convert(values, spec.PipelineSpec)


def pipeline(state: PipelineState = PipelineState.RUNNING, **fields: Any) -> records.Pipeline:
    return records.Pipeline(name="p", state=state, version=2, spec=pipeline_spec(**fields))


def job(number: int, state: JobState, its: spec.PipelineSpec | None = None) -> records.Job:
    its = its or pipeline_spec()
    return records.Job(
        pipeline="p",
        id=f"{number:032x}",
        version=1,
        code_hash=spec.code_hash(its.transform),
        spec=its,
        salt="",
        order=number,
        inputs=(),
        state=state,
        created_ns=0,
    )


NODES = [Node(name=f"n{number}") for number in range(4)]
NEW = spec.code_hash(pipeline_spec().transform)
OLD_SPEC = pipeline_spec("old")
OLD = spec.code_hash(OLD_SPEC.transform)


def decided(
    record: records.Pipeline | None,
    jobs: Sequence[records.Job] = (),
    gauges: dict[int, Gauge] | None = None,
    *,
    state: Standby | None = None,
    now_s: float = 0.0,
) -> Decision:
    return decide(
        record,
        jobs,
        {f"{number:032x}": gauge for number, gauge in (gauges or {}).items()},
        NODES,
        standing_by=state or Standby(0, 0.0, cool_down_s=10),
        now_s=now_s,
    )


def test_a_plain_pipeline_keeps_its_cap_without_any_job() -> None:
    found = decided(pipeline())
    assert (found.cap, found.want, found.wants) == (4, 4, {NEW: 4})
    assert found.reason == "4 nodes x 1 = 4 workers"


def test_a_standby_pipeline_wants_what_its_jobs_have_left() -> None:
    record = pipeline(standby=True, parallelism_spec={"constant": 10})
    jobs = [job(1, JobState.RUNNING), job(2, JobState.LISTING)]
    gauges = {1: Gauge(pending=1, in_flight=1), 2: Gauge(pending=1)}
    found = decided(record, jobs, gauges)
    assert (found.cap, found.want) == (10, 3)
    assert found.reason == "standby: 2 pending, 1 in flight; at most constant 10"
    assert decided(record).want == 0


def test_a_standby_pipeline_does_not_sleep_while_a_job_waits() -> None:
    record = pipeline(standby=True)
    waiting = [job(1, JobState.WAITING)]
    for jobs, want in ((waiting, 1), ([], 0)):
        state = Standby(3, 0.0, cool_down_s=10)
        assert decided(record, jobs, state=state).want == 3
        assert decided(record, jobs, state=state, now_s=10.0).want == want


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (pipeline(PipelineState.STOPPED), "the pipeline is stopped"),
        (pipeline(PipelineState.DELETING), "the pipeline is being deleted"),
        (None, "the pipeline is gone"),
        (records.Pipeline(name="p", state=PipelineState.REFUSED), "the pipeline is gone"),
    ],
)
def test_what_does_not_run_wants_nobody(record: records.Pipeline | None, reason: str) -> None:
    found = decided(record, [job(1, JobState.RUNNING)], {1: Gauge(pending=5)})
    assert (found.want, found.wants, found.reason) == (0, {}, reason)


def test_a_refused_update_leaves_the_running_version_alone() -> None:
    assert decided(pipeline(PipelineState.REFUSED)).want == 4


def test_old_and_new_code_share_the_cap_while_old_jobs_live() -> None:
    jobs = [job(1, JobState.RUNNING, OLD_SPEC), job(2, JobState.LISTING)]
    found = decided(pipeline(), jobs, {1: Gauge(pending=100)})
    assert found.wants == {OLD: 3, NEW: 1}
    assert "3 of them for jobs of older code" in found.reason
    assert decided(pipeline(), jobs, {1: Gauge(in_flight=1)}).wants == {OLD: 1, NEW: 3}
    # nobody has looked yet what is left of it
    assert decided(pipeline(), jobs, {}).wants == {OLD: 3, NEW: 1}
    # nothing is pending, but the job has not ended: datums may have to be put back
    assert decided(pipeline(), jobs, {1: Gauge()}).wants == {OLD: 1, NEW: 3}


@pytest.mark.parametrize("state", [JobState.WAITING, JobState.MERGING, JobState.KILLING])
def test_old_code_is_kept_only_for_datums(state: JobState) -> None:
    found = decided(pipeline(), [job(1, state, OLD_SPEC)], {})
    assert found.wants == {NEW: 4}
