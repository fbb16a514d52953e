"""The record of a job as the coordinator keeps it, for tests that look at a few of its fields."""

from typing import Any

import msgspec

from trunkline.contracts import records, spec
from trunkline.contracts.states import JobState


def job_record(pipeline: str, job: str, state: JobState, **fields: Any) -> records.Job:
    """Return a first job without inputs of version 1, but for these fields."""
    made = records.Job(
        pipeline=pipeline,
        id=job,
        version=1,
        code_hash="c",
        spec=spec.PipelineSpec(
            name=pipeline,
            transform=spec.Transform(cmd=("true",)),
            input=spec.Input(pfs=spec.PfsInput(repo="in", glob="/*")),
        ),
        salt="",
        order=1,
        inputs=(),
        state=state,
        created_ns=0,
    )
    return msgspec.structs.replace(made, **fields)
