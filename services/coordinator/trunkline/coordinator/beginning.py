"""The step from WAITING to LISTING, which pins what a job's skipping is decided against.

The record gets the inputs' commits, the done index's revision and its runs (none, if the spec says
`reprocess_spec: every_job`, or the job is a rerun that was asked to) in the one change that lets the listing begin. So a listing that is made
again takes the same decisions, whatever other jobs have put into the index since. A job that begins while
an earlier one still runs skips less; one that would begin just when an earlier one has ended waits until
that one's outcomes are in the index.
"""

from collections.abc import Iterable, Sequence

import msgspec

from trunkline.bus.ports import Table
from trunkline.contracts import records
from trunkline.contracts.states import JobState
from trunkline.coordinator.jobs import JobStore


def may_begin(job: records.Job, unsettled: Iterable[records.Job]) -> bool:
    """Whether no earlier job of the pipeline has ended without its outcomes being put away yet."""
    return not any(
        each.state.ended
        for each in unsettled
        if each.pipeline == job.pipeline and each.order < job.order
    )


def repeats(job: records.Job) -> bool:
    """Whether a job runs what is done, too."""
    return job.reprocess or job.spec.reprocess_spec != "until_success"


async def begin(
    jobs: JobStore,
    done: Table[records.DoneIndex],
    job: records.Job,
    inputs: Sequence[records.JobInput],
    now_ns: int,
) -> records.Job:
    """Let a WAITING job begin with these inputs; a job in any other state is returned as it is."""
    entry = await done.get(job.pipeline)
    index = records.DoneIndex() if entry is None or entry.value is None else entry.value

    def begun(old: records.Job) -> records.Job | None:
        if old.state is not JobState.WAITING:
            return None
        return msgspec.structs.replace(
            old,
            state=JobState.LISTING,
            inputs=tuple(inputs),
            done_runs=() if repeats(old) else index.runs,
            started_ns=now_ns,
        )

    return await jobs.change(job.pipeline, job.id, begun)
