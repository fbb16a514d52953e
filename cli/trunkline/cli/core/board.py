"""What `top` shows: jobs that run with their pace, workers, the scaler's word, the last failures.

Made of records and events only, so it is the same whoever asks, and after a restart of any service.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from trunkline.cli.core import explanations, pace, standing
from trunkline.cli.core.pace import Pace
from trunkline.contracts import api, messages, records
from trunkline.contracts.attempts import NO_FAILURE
from trunkline.contracts.states import JobState

FAILURES = 8
"""That are shown, the last ones."""

_PHASES = ("busy", "draining", "starting", "idle", "gone")
_WRONG = frozenset({"attempt", "reaped", "spec-refused", "repaired", "outcome-ignored", "remade"})


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """A job, and how far it is."""

    name: str
    state: JobState
    done: int
    total: int | None
    failed: int
    per_s: float
    """Datums that end in a second."""
    left_s: float | None
    """Seconds to go; None where that cannot be told."""
    for_s: float


class WorkerRow(msgspec.Struct, frozen=True, kw_only=True):
    """A worker, and what it is at."""

    name: str
    phase: str
    held: int
    at: str
    """The datum that it executes: the job, and the index."""
    for_s: float | None
    job: str = ""
    index: int | None = None


class ScalerRow(msgspec.Struct, frozen=True, kw_only=True):
    """How many workers a pipeline has and is to have, and why."""

    pipeline: str
    have: int
    want: int
    ready: int
    busy: int
    pending: int
    in_flight: int
    why: str
    problem: str

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do, and nothing changes."""
        return self.have == self.want and not (
            self.busy or self.pending or self.in_flight or self.problem
        )


class FailureRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something that went wrong."""

    ago_s: float
    text: str


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """All of it at one time."""

    name: str
    """`all pipelines`, or a pipeline's name."""
    at_ns: int
    jobs: tuple[JobRow, ...]
    workers: tuple[WorkerRow, ...]
    """Busy ones first; of many, idle ones are not among them."""
    scalers: tuple[ScalerRow, ...]
    """What has a problem first, then what works or scales; idle ones last."""
    failures: tuple[FailureRow, ...]


def going(looks: Pace, job: records.Job, now_s: float) -> tuple[float, float | None]:
    """Return a job's datums in a second and seconds to go, after one more look at it.

    What is skipped costs nothing, so it counts for what remains and not for the pace. Nobody can tell when a job ends that is
    not listed to its end, or whose datums all have ended: it merges, or waits for older ones to commit.
    """
    looks.look(now_s, job.counts.done - job.counts.skipped)
    if job.state.ended or not job.started_ns:
        return 0.0, None
    per_s = looks.per_s(job.started_ns / 1e9)
    remaining = None if job.total is None else job.total - job.counts.done
    return per_s, pace.left_s(remaining, per_s) if remaining else None


def is_failure(event: messages.Event) -> bool:
    """Return whether an event says that something went wrong."""
    match event.kind:
        case "job-changed":
            return any(f" is {state}" in event.text for state in JobState if state.bad)
        case "attempt":
            attempt = explanations.facts(event).get("attempt")
            return not isinstance(attempt, dict) or str(attempt.get("cause")) not in NO_FAILURE
        case _:
            return event.kind in _WRONG


def board(
    name: str,
    views: Sequence[api.PipelineView],
    jobs: Iterable[records.Job],
    failures: Sequence[messages.Event],
    *,
    now_ns: int,
    paces: Callable[[records.Job], tuple[float, float | None]],
) -> Board:
    """Return what there is to show.

    Args:
        name: What of.
        views: The pipelines.
        jobs: Their jobs, newest first.
        failures: Events that are failures, oldest first.
        now_ns: Wall clock.
        paces: Job -> datums in a second, and seconds to go.
    """
    wanted = {view.pipeline.name for view in views}
    found = [view.scaling for view in views if view.scaling is not None]
    rows = [
        job_row(each, now_ns, *paces(each))
        for each in jobs
        if each.pipeline in wanted and not each.state.ended
    ]
    rows.sort(key=lambda each: each.state is JobState.WAITING)
    workers = [_worker(each, scaling, now_ns) for scaling in found for each in scaling.workers]
    workers.sort(key=lambda each: (_order(each.phase), -(each.for_s or 0.0), each.name))
    last = [each for each in failures if each.pipeline in wanted or len(wanted) > 1][-FAILURES:]
    return Board(
        name=name,
        at_ns=now_ns,
        jobs=tuple(rows),
        workers=tuple(workers),
        scalers=tuple(sorted(map(_scaler, found), key=_rank)),
        failures=tuple(
            FailureRow(ago_s=(now_ns - each.at_ns) / 1e9, text=_named(each))
            for each in reversed(last)
        ),
    )


def job_row(job: records.Job, now_ns: int, per_s: float, left_s: float | None) -> JobRow:
    """Return how far a job is; one that has ended took as long as it did."""
    return JobRow(
        name=standing.short(job),
        state=job.state,
        done=job.counts.done,
        total=job.total,
        failed=job.counts.bad,
        per_s=per_s,
        left_s=left_s,
        for_s=((job.ended_ns or now_ns) - (job.started_ns or job.created_ns)) / 1e9,
    )


def _worker(view: records.WorkerView, scaling: records.Scaling, now_ns: int) -> WorkerRow:
    job = standing.short_name(scaling.pipeline, view.job) if view.job else ""
    return WorkerRow(
        name=view.name,
        phase=view.phase,
        held=view.held,
        at=f"{job} {view.index}" if job else "",
        for_s=(now_ns - view.since_ns) / 1e9 if view.since_ns else None,
        job=job,
        index=view.index,
    )


def _order(phase: str) -> int:
    return _PHASES.index(phase) if phase in _PHASES else len(_PHASES)


def _scaler(scaling: records.Scaling) -> ScalerRow:
    return ScalerRow(
        pipeline=scaling.pipeline,
        have=scaling.have,
        want=scaling.want,
        ready=scaling.ready,
        busy=scaling.busy,
        pending=scaling.pending,
        in_flight=scaling.in_flight,
        why=scaling.reason,
        problem=scaling.problem,
    )


def _rank(row: ScalerRow) -> tuple[bool, bool, str]:
    return (not row.problem, row.idle, row.pipeline)


def summed(rows: Sequence[ScalerRow]) -> ScalerRow:
    """Return one row for some that there is no room for."""
    idle = " idle" if all(each.idle for each in rows) else ""
    trouble = sum(bool(each.problem) for each in rows)

    def total(field: str) -> int:
        return sum(getattr(each, field) for each in rows)

    return ScalerRow(
        pipeline=f"{len(rows)} more{idle}",
        have=total("have"),
        want=total("want"),
        ready=total("ready"),
        busy=total("busy"),
        pending=total("pending"),
        in_flight=total("in_flight"),
        why="",
        problem=f"{trouble} of them cannot work" if trouble else "",
    )


def _named(event: messages.Event) -> str:
    return event.text if event.pipeline in event.text else f"{event.pipeline}: {event.text}"
