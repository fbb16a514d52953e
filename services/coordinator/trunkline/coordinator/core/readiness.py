"""Whether a WAITING job may begin: its inputs are committed, still to come, or never will be."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from trunkline.contracts import records
from trunkline.contracts.states import JobState


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


def advance(
    job: records.Job, find: Callable[[str, str], records.Job | None]
) -> Ready | Waits | Unrunnable:
    """Return what is to become of a WAITING job.

    Args:
        job: The job.
        find: (pipeline, id) -> that job, or None.
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
        elif maker.state.ended:
            told = f": {maker.reason}" if maker.reason else ""
            return Unrunnable(f"the upstream job {each.repo}@{job.id} is {maker.state}{told}"[:500])
        else:
            waits = True
    return Waits() if waits else Ready(tuple(inputs))
