"""Jobs of one set that read each other's outputs."""

from collections.abc import Iterable
from typing import Any

from trunkline.contracts import records, spec
from trunkline.contracts.states import JobState

NOW = 1_000_000 * 10**9
ID = "ab" * 16


def job(name: str, state: JobState, *reads: str, **fields: Any) -> records.Job:
    inputs = tuple(
        records.JobInput(name=each, repo=each, branch="master", upstream=True) for each in reads
    )
    made = spec.PipelineSpec(
        name=name,
        transform=spec.Transform(cmd=("true",)),
        input=spec.Input(pfs=spec.PfsInput(repo="in", name="in", glob="/*")),
    )
    given = {"created_ns": NOW - 60 * 10**9, "order": 1, "ended_ns": 0, **fields}
    return records.Job(
        pipeline=name,
        id=ID,
        version=1,
        code_hash="c" * 16,
        salt="",
        spec=made,
        state=state,
        inputs=inputs,
        **given,
    )


def by_name(listed: Iterable[records.Job]) -> dict[str, records.Job]:
    return {each.pipeline: each for each in listed}


def layered(
    layers: int, wide: int, *, below: JobState, top: JobState, **fields: Any
) -> dict[str, records.Job]:
    """Each job reads all of the layer above; the first layer reads none."""
    found = [job(f"p0-{n}", top, ended_ns=NOW - n, **fields) for n in range(wide)]
    for layer in range(1, layers):
        above = [f"p{layer - 1}-{n}" for n in range(wide)]
        found += [job(f"p{layer}-{n}", below, *above, ended_ns=NOW + layer) for n in range(wide)]
    return by_name(found)
