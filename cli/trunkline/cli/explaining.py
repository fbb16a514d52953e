"""Why a pipeline has as many workers as it has: the scaler's last decision, with its inputs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import msgspec

from trunkline.cli import render, session
from trunkline.cli.options import Asked
from trunkline.client.client import Client
from trunkline.contracts import api, records


def explain(asked: Asked, pipeline: str) -> None:
    """Print the decision; what is seen by now below it."""

    async def body(client: Client) -> None:
        found = await client.call("pipeline.explain", api.Named(name=pipeline), api.Explained)
        if asked.output != "table":
            render.record(asked, found)
            return
        for line in explained(found):
            click.echo(line)

    session.run(asked, body)


def explained(found: api.Explained) -> Iterator[str]:
    """Yield the lines that explain a pipeline's workers."""
    pipeline, decision, scaling = found.pipeline, found.decision, found.scaling
    yield f"{pipeline.name}: version {pipeline.version}, {pipeline.state}"
    if decision is not None:
        facts = {key: msgspec.json.decode(raw) for key, raw in decision.facts.items()}
        yield f"decided {render.age(decision.at_ns)} ago: {facts.get('reason') or decision.text}"
        yield from _inputs(facts)
        yield from _begun(facts)
    elif scaling is None:
        yield "the scaler has decided nothing about it yet"
    if scaling is not None:
        yield from _now(scaling)


def _inputs(facts: Mapping[str, Any]) -> Iterator[str]:
    nodes = msgspec.convert(facts.get("nodes", ()), tuple[records.Node, ...])
    counted = [node.name for node in nodes if node.eligible]
    yield f"  nodes: {len(counted)} of {len(nodes)} count{_named(counted)}"
    for node in nodes:
        if not node.eligible:
            yield f"    not {node.name}: {node.why_not or 'not eligible'}"
    yield f"  work: {facts.get('pending', 0)} pending, {facts.get('in_flight', 0)} in flight"
    before = facts.get("wanted_before")
    was = "" if before is None else f" (before: {before})"
    yield f"  workers: cap {facts.get('cap')}, have {facts.get('have')}, want {facts.get('want')}{was}"
    wants = facts.get("wants", {})
    if len(wants) > 1:
        yield from (f"    {want} of code {code}" for code, want in wants.items())


def _begun(facts: Mapping[str, Any]) -> Iterator[str]:
    for verb in ("create", "drain"):
        if names := facts.get(verb):
            yield f"  {verb}: {', '.join(names)}"
    if problem := facts.get("problem"):
        yield f"  problem: {problem}"


def _now(scaling: records.Scaling) -> Iterator[str]:
    yield (
        f"now: {scaling.have} of {scaling.want} workers, {scaling.busy} busy; "
        f"{scaling.pending} pending, {scaling.in_flight} in flight"
    )
    if scaling.problem:
        yield f"  problem: {scaling.problem}"


def _named(names: Sequence[str], most: int = 10) -> str:
    if not names:
        return ""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f": {', '.join(names[:most])}{more}"
