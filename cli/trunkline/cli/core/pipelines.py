"""Why a pipeline has as many workers as it has, and what its newest job waits for."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from trunkline.cli.core import explanations, jobs, missing_workers, standing
from trunkline.cli.core.explanations import Explanation, Reason, named, since
from trunkline.contracts import messages, records
from trunkline.contracts.states import JobState, PipelineState
from trunkline.contracts.wording import counted


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a pipeline."""

    pipeline: records.Pipeline
    now_ns: int
    scaling: records.Scaling | None = None
    decision: messages.Event | None = None
    """The scaler's last."""
    job: jobs.Facts | None = None
    """Its newest one."""
    events: tuple[messages.Event, ...] = ()
    """Of late, oldest first."""


def explain(facts: Facts) -> Explanation:
    """Return why a pipeline is as it is."""
    pipeline, scaling = facts.pipeline, facts.scaling
    text = f"pipeline {pipeline.name}, version {pipeline.version}, is {pipeline.state}"
    if scaling is not None:
        text += f": {scaling.have} of {counted(scaling.want, 'worker')}, {scaling.busy} busy"
        text += f"; {counted(scaling.pending, 'datum')} waiting, {scaling.in_flight} in flight"
    return Explanation(
        what="pipeline",
        name=pipeline.name,
        standing=text,
        reasons=tuple(_reasons(facts)),
        details=tuple(decided(facts)),
        events=facts.events,
    )


def _reasons(facts: Facts) -> Iterator[Reason]:
    pipeline, scaling = facts.pipeline, facts.scaling
    missing = list(missing_workers.reasons(pipeline, scaling))
    yield from missing
    if pipeline.refusal and pipeline.state is not PipelineState.REFUSED:
        yield missing_workers.refused(pipeline)
    if facts.job is not None and not _went_well(facts.job.job):
        yield from _newest(facts.job, {each.kind for each in missing})
    if pipeline.state is PipelineState.STOPPED:
        return  # it is why there are no workers, and is said
    if (down := _scaled_down(facts)) is not None:
        yield down
    if scaling is not None:
        left_out = [each for each in scaling.nodes if not each.eligible]
        yield Reason(
            kind="workers",
            why=f"it is to have {scaling.want} of at most {counted(scaling.cap, 'worker')}: {scaling.reason}",
            remedy=_more(left_out) if pipeline.state is PipelineState.RUNNING else "",
        )


def _went_well(job: records.Job) -> bool:
    """Return whether there is nothing to be said of a job: one without any datum succeeds as well."""
    return job.state is JobState.SUCCESS and job.total != 0


def _newest(job: jobs.Facts, told: Collection[str]) -> Iterator[Reason]:
    """Yield why the newest job is as it is, if that is not what was told of its pipeline."""
    first = next(jobs.reasons(job), None)
    if first is not None and first.kind not in ("at-work", "queued", *told):
        stands = standing.of(job.job, job.now_ns)
        yield Reason(kind=first.kind, why=f"its newest {stands}: {first.why}", remedy=first.remedy)


def _more(left_out: list[records.Node]) -> str:
    if not left_out:
        return ""
    return f"{named(each.name for each in left_out)} would count, too, without what is said of them below"


def _scaled_down(facts: Facts) -> Reason | None:
    """Return why there are fewer workers than before, if the last change of their number was that."""
    for event in reversed(facts.events):
        said = explanations.facts(event)
        before, want = said.get("wanted_before"), said.get("want")
        if event.kind != "scaled" or not isinstance(before, int) or not isinstance(want, int):
            continue
        if before == want:
            continue
        if before < want:
            return None
        ago = since(event.at_ns, facts.now_ns)
        victims = named(explanations.strings(said.get("drain")))
        drained = f"; drained: {victims}" if victims else ""
        return Reason(
            kind="scaled-down",
            why=f"{ago} ago it was scaled down from {before} to {counted(want, 'worker')}: {said.get('reason')}{drained}",
            remedy=missing_workers.back(facts.pipeline, said),
        )
    return None


def decided(facts: Facts) -> Iterator[str]:
    """Yield the lines of the last decision, with all that it was made of."""
    if facts.decision is None:
        return
    said = explanations.facts(facts.decision)
    ago = since(facts.decision.at_ns, facts.now_ns)
    yield f"decided {ago} ago: {said.get('reason') or facts.decision.text}"
    nodes = msgspec.convert(said.get("nodes", ()), tuple[records.Node, ...])
    counting = [node.name for node in nodes if node.eligible]
    told = f": {named(counting, 10)}" if counting else ""
    count = said.get("eligible", len(counting))
    yield f"  nodes: {count} of {len(nodes) + said.get('more_nodes', 0)} count{told}"
    for node in nodes:
        if not node.eligible:
            yield f"    not {node.name}: {node.why_not or 'not eligible'}"
    yield f"  work then: {said.get('pending', 0)} pending, {said.get('in_flight', 0)} in flight"
    before = said.get("wanted_before")
    was = "" if before is None else f" (before: {before})"
    had = f"there were {said.get('have')} of at most {said.get('cap')}"
    yield f"  workers then: {had}, {said.get('want')} wanted{was}"
    wants = said.get("wants", {})
    if len(wants) > 1:
        yield from (f"    {want} of code {code}" for code, want in wants.items())
    yield from _begun(said)


def _begun(said: Mapping[str, Any]) -> Iterator[str]:
    for verb in ("create", "drain"):
        if names := explanations.strings(said.get(verb)):
            yield f"  {verb}: {', '.join(names)}"
    if problem := said.get("problem"):
        yield f"  problem: {problem}"
