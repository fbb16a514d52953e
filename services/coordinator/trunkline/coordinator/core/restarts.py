"""Which datums of a running job may be worked on once more, and what the job's record says then.

A restart raises a datum's generation. The outcome of a former generation, should there be one, does
not count any more, and neither does its ledger; its message is dropped by whoever holds it.
"""

from collections.abc import Collection, Mapping

import msgspec

from trunkline.contracts import errors, records
from trunkline.contracts.states import JobState

MOST = 2000
"""Datums of a job that may be restarted: the record, and what workers are told, name each of them."""

_OPEN = frozenset({JobState.LISTING, JobState.RUNNING})


class RestartRefusedError(errors.TrunklineError):
    """A datum cannot be restarted; the text names the remedy."""

    def __init__(self, job: records.Job, why: str) -> None:
        super().__init__(f"datums of {job.pipeline}@{job.id} cannot be restarted: {why}")
        self.pipeline, self.id, self.why = job.pipeline, job.id, why


def check(job: records.Job) -> None:
    """Raise RestartRefusedError unless datums of the job may be restarted in its state."""
    if job.state.ended or job.state is JobState.KILLING:
        remedy = f"run it again with `trunkline rerun job {job.pipeline}@{job.id}`"
        raise RestartRefusedError(job, f"it is {job.state}; {remedy}")
    if job.state is JobState.WAITING:
        raise RestartRefusedError(job, "it is WAITING: none of its datums has begun")
    if job.state not in _OPEN:
        raise RestartRefusedError(job, f"it is {job.state}: all of its datums have ended well")


def raised(
    job: records.Job, wanted: Mapping[int, int], skipped: Collection[int]
) -> records.Job | None:
    """Return the record with these generations; None if it has them already.

    Args:
        job: The record as it is now.
        wanted: Index -> the generation that the datum is to have at least. So a request that is
            repeated since its answer was lost restarts nothing twice.
        skipped: Those of the indexes whose datums the job has skipped.

    Raises:
        RestartRefusedError: one of them cannot be restarted, so none is.
    """
    newer = {
        str(index): generation
        for index, generation in wanted.items()
        if generation > job.generations.get(str(index), 1)
    }
    if not newer:
        return None
    check(job)
    for index in sorted(wanted):
        if not 0 <= index < job.listed_to:
            raise RestartRefusedError(job, f"datum {index} is not listed (yet)")
        if index in skipped:
            raise RestartRefusedError(
                job,
                f"datum {index} is skipped; stop the job, then run everything again with"
                f" `trunkline rerun job --reprocess {job.pipeline}@{job.id}`",
            )
        if wanted[index] > job.generations.get(str(index), 1) + 1:
            raise RestartRefusedError(job, f"datum {index} has no generation {wanted[index] - 1}")
    generations = {**job.generations, **newer}
    if len(generations) > MOST:
        remedy = "stop the job and run it again"
        raise RestartRefusedError(job, f"more than {MOST} would be restarted; {remedy}")
    return msgspec.structs.replace(job, generations=generations)


def due(job: records.Job, put: Mapping[str, int]) -> dict[int, int]:
    """Return index -> generation of the restarts in a record that `put` does not have."""
    return {
        int(index): generation
        for index, generation in job.generations.items()
        if put.get(index) != generation
    }
