"""What becomes of a pipeline beside its spec: stopped, started, run again; and which jobs that kills.

*Stopped.* State STOPPED: from then on the pipeline makes no jobs, has no workers, and what it had begun is
killed (`doomed`). What it would have read meanwhile is seen when it is started: one job on the newest heads,
unless it had read just these (`jobsets`). Downstream nothing waits for it.

*Run again.* On the heads: the version gets another set of its own (`Pipeline.set_id`). On the inputs of an
older job: a record that bears them. Both run the code that the pipeline has now, skip what is done unless
they are told to skip nothing, and commit at the end like any other job.

All of it is said by one record, so whatever follows is made, or made again, from what is stored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from trunkline.contracts import errors, records, spec
from trunkline.contracts.states import JobState, PipelineState
from trunkline.coordinator.core import jobsets

STOPPED = "its pipeline was stopped"
DELETED = "the pipeline was deleted"


class NotNowError(errors.TrunklineError):
    """A pipeline or a job is in no state for what was asked."""

    def __init__(self, kind: str, name: str, reason: str, remedy: str) -> None:
        super().__init__(f"{kind} {name!r} {reason}: {remedy}")
        self.kind, self.name, self.reason, self.remedy = kind, name, reason, remedy


def stopped(current: records.Pipeline) -> records.Pipeline:
    """Return the record of a pipeline that is to stop."""
    _need_spec(current)
    return msgspec.structs.replace(current, state=PipelineState.STOPPED)


def started(current: records.Pipeline) -> records.Pipeline:
    """Return the record of a pipeline that is to go on; one that runs stays as it is."""
    _need_spec(current)
    if current.state is not PipelineState.STOPPED:
        return current
    return msgspec.structs.replace(current, state=PipelineState.RUNNING, starts=current.starts + 1)


def run_again(
    current: records.Pipeline,
    heads: jobsets.Heads,
    identifier: str,
    *,
    reprocess: bool,
    traceparent: str = "",
) -> records.Pipeline:
    """Return the record of a pipeline that is to have a job of this id on the heads."""
    wanted = _need_running(current)
    for leaf in spec.inputs(wanted.input):
        if not heads.get((leaf.repo, leaf.branch)):
            reason = f"has no commit on its input {leaf.repo}@{leaf.branch} yet"
            raise NotNowError("pipeline", current.name, reason, "the first one sets off a job")
    return msgspec.structs.replace(
        current, set_id=identifier, reprocess=reprocess, traceparent=traceparent
    )


def job_again(
    pipeline: records.Pipeline,
    job: records.Job,
    others: Iterable[records.Job],
    identifier: str,
    now_ns: int,
    *,
    reprocess: bool,
) -> records.Job:
    """Return the record of a job on the inputs of another one.

    Args:
        pipeline: Its pipeline.
        job: The one that is run again.
        others: The pipeline's jobs, the newest one at least.
        identifier: The id of the new job.
        now_ns: The wall clock.
        reprocess: Whether to skip nothing.
    """
    wanted = _need_running(pipeline)
    name = f"{job.pipeline}@{job.id}"
    if not job.state.ended:
        raise NotNowError("job", name, f"is {job.state}", "stop it, or wait for its end, first")
    if any(not each.commit for each in job.inputs):
        reason = "never got its inputs, since a job upstream has failed"
        raise NotNowError("job", name, reason, "run that one again; this one follows")
    reads = [(each.name, each.repo, each.branch) for each in job.inputs]
    if reads != [
        (leaf.name or leaf.repo, leaf.repo, leaf.branch) for leaf in spec.inputs(wanted.input)
    ]:
        reason = f"has other inputs than version {pipeline.version} of its pipeline"
        remedy = f"apply the spec of version {job.version} again, or `rerun pipeline`"
        raise NotNowError("job", name, reason, remedy)
    inputs = tuple(msgspec.structs.replace(each, upstream=False) for each in job.inputs)
    order = max((each.order for each in others), default=0) + 1
    of_heads = jobsets.Wanted(pipeline.name, identifier, order, inputs, reprocess)
    return msgspec.structs.replace(jobsets.record(of_heads, pipeline, now_ns), rerun_of=job.id)


@dataclass(frozen=True)
class Doomed:
    """A job that is to be killed."""

    pipeline: str
    id: str
    reason: str
    halted: bool = False


def doomed(pipelines: Mapping[str, records.Pipeline], jobs: Iterable[records.Job]) -> list[Doomed]:
    """Return the jobs that must not go on; said again until they have ended."""
    found = []
    for job in jobs:
        pipeline = pipelines.get(job.pipeline)
        if pipeline is None or job.state.ended or job.state is JobState.KILLING or job.committing:
            continue
        if pipeline.state is PipelineState.DELETING:
            found.append(Doomed(job.pipeline, job.id, DELETED))
        elif pipeline.state is PipelineState.STOPPED:
            found.append(Doomed(job.pipeline, job.id, STOPPED, halted=True))
        elif job.version < pipeline.oldest:
            reason = f"version {pipeline.oldest} of the pipeline has replaced it"
            found.append(Doomed(job.pipeline, job.id, reason))
    return found


def _need_spec(pipeline: records.Pipeline) -> spec.PipelineSpec:
    if pipeline.spec is None:
        raise NotNowError(
            "pipeline", pipeline.name, "has never had a spec that was taken", "apply one"
        )
    if pipeline.state is PipelineState.DELETING:
        raise NotNowError(
            "pipeline", pipeline.name, "is being deleted", "apply it again once it is gone"
        )
    return pipeline.spec


def _need_running(pipeline: records.Pipeline) -> spec.PipelineSpec:
    wanted = _need_spec(pipeline)
    if pipeline.state is PipelineState.STOPPED:
        raise NotNowError("pipeline", pipeline.name, "is stopped", "start it first")
    return wanted
