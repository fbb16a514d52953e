"""How many workers of which code one pipeline is to have: everything taken together."""

from collections.abc import Mapping, Sequence

import msgspec

from trunkline.contracts import records, spec
from trunkline.contracts.states import JobState, PipelineState
from trunkline.scaler.core import parallelism, standby
from trunkline.scaler.core.plan import shares
from trunkline.scaler.core.standby import Load, Reason, Standby
from trunkline.scaler.ports import Node


class Gauge(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of one job."""

    pending: int = 0
    in_flight: int = 0


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted, and why."""

    cap: int
    want: int
    wants: dict[str, int]
    """Code hash -> workers; the sum is `want`."""
    load: Load
    reason: str
    kind: Reason
    """The same, to count by."""
    again_in_s: float | None = None
    """When the same inputs would give another decision; None: never."""


_TO_COME = (JobState.WAITING, JobState.LISTING)
_AT_WORK = (JobState.LISTING, JobState.RUNNING)
_STOPPED = {PipelineState.STOPPED: "stopped", PipelineState.DELETING: "being deleted"}


def decide(
    pipeline: records.Pipeline | None,
    jobs: Sequence[records.Job],
    gauges: Mapping[str, Gauge],
    nodes: Sequence[Node],
    *,
    standing_by: Standby,
    now_s: float,
    default_coefficient: float = 1.0,
    max_workers: int = 1000,
) -> Decision:
    """Return what a pipeline wants now.

    Args:
        pipeline: Its record; None when it is gone.
        jobs: Those of its jobs that have not ended, oldest first.
        gauges: Job id -> what is left of it, for jobs that have a consumer.
        nodes: All nodes of the cluster.
        standing_by: The pipeline's needs over time; used if it is a standby pipeline.
        now_s: A clock that never goes back.
        default_coefficient: For a spec that says nothing.
        max_workers: The installation's limit.
    """
    load = Load(
        pending=sum(gauges[job.id].pending for job in jobs if job.id in gauges),
        in_flight=sum(gauges[job.id].in_flight for job in jobs if job.id in gauges),
        to_come=any(job.state in _TO_COME for job in jobs),
    )
    if pipeline is None or pipeline.spec is None or pipeline.state in _STOPPED:
        state = _STOPPED[pipeline.state] if pipeline and pipeline.spec else "gone"
        reason = f"the pipeline is {state}"
        return Decision(cap=0, want=0, wants={}, load=load, reason=reason, kind=Reason.STOPPED)
    cap = parallelism.cap(
        pipeline.spec.parallelism_spec, nodes, default=default_coefficient, most=max_workers
    )
    waits = pipeline.spec.standby
    want = standing_by.want(cap, load, now_s) if waits else standby.plain(cap)
    current = spec.code_hash(pipeline.spec.transform)
    wants = shares(want.workers, current, _needs_of_old(jobs, gauges, current, want.workers))
    reason = want.why
    if older := want.workers - wants[current]:
        reason += f"; {older} of them for jobs of older code"
    return Decision(
        cap=cap.workers,
        want=want.workers,
        wants=wants,
        load=load,
        reason=reason,
        kind=want.reason,
        again_in_s=want.again_in_s,
    )


def _needs_of_old(
    jobs: Sequence[records.Job], gauges: Mapping[str, Gauge], current: str, want: int
) -> dict[str, int]:
    """Return code hash -> workers that jobs of former code need: one at least while they run.

    A job of which nobody knows yet what is left may need all: draining is one way.
    """
    needs: dict[str, int] = {}
    for job in jobs:
        if job.state in _AT_WORK and job.code_hash != current:
            gauge = gauges.get(job.id, Gauge(pending=want))
            need = max(1, gauge.pending + gauge.in_flight)
            needs[job.code_hash] = needs.get(job.code_hash, 0) + need
    return needs
