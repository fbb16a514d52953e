"""Whether a WAITING job may begin: its inputs are committed, still to come, or never will be."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from trunkline.contracts import records
from trunkline.contracts.states import JobState

Find = Callable[[str, str], records.Job | None]
"""(pipeline, id) -> that job, or None."""


@dataclass(frozen=True)
class Ready:
    """All inputs are committed: the job may start with them."""

    inputs: tuple[records.JobInput, ...]


@dataclass(frozen=True)
class Waits:
    """An input is still to come."""


@dataclass(frozen=True)
class Unrunnable:
    """An input will never come."""

    reason: str


def advance(job: records.Job, find: Find) -> Ready | Waits | Unrunnable:
    """Return what is to become of a WAITING job.

    Args:
        job: The job.
        find: Of the jobs that are known.
    """
    inputs: list[records.JobInput] = []
    waits = False
    for each in job.inputs:
        if not each.upstream or each.commit:
            inputs.append(each)
            continue
        maker = find(each.repo, job.id)
        if maker is None:
            return Unrunnable(f"the upstream job {each.repo}@{job.id} was deleted")
        if maker.state is JobState.SUCCESS:
            inputs.append(msgspec.structs.replace(each, commit=job.id))
        else:
            waits = True
    failed = _failed(job, find)
    if failed is not None:
        return Unrunnable(_why(failed, find))
    return Waits() if waits else Ready(tuple(inputs))


def _failed(job: records.Job, find: Find) -> records.Job | None:
    """Return the first of the jobs whose output a job has not got to end badly, if one has."""
    above = (find(each.repo, job.id) for each in job.awaited)
    bad = [each for each in above if each is not None and each.state.bad]
    return min(bad, key=lambda each: each.ended_ns, default=None)


def _why(above: records.Job, find: Find) -> str:
    """Return why nothing comes from a job above: what that lacks itself is told by what failed first, in whatever depth."""
    root, seen = above, {above.pipeline}
    while root.state is JobState.UNRUNNABLE:
        further = _failed(root, find)
        if further is None or further.pipeline in seen:
            break
        root = further
        seen.add(root.pipeline)
    since = "" if root is above else f", since {root.pipeline}@{root.id} is {root.state}"
    cause = f": {root.reason}" if root.reason else ""
    return f"the upstream job {above.pipeline}@{above.id} is {above.state}{since}{cause}"[:500]
