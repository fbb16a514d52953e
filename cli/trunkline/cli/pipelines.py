"""Verbs on pipelines."""

import secrets
from collections.abc import Sequence

import msgspec

from trunkline.cli import render, saying, session, specs
from trunkline.cli.options import Asked
from trunkline.client.client import Client
from trunkline.contracts import api, records, spec
from trunkline.contracts.states import PipelineState


def apply(
    asked: Asked, files: tuple[str, ...], *, publish: bool, now: bool, reprocess: bool
) -> None:
    """Send each spec of each file; the first refused one ends it, with all of its problems."""

    async def body(client: Client) -> None:
        applied = []
        for file in files:
            for document in specs.documents(file):
                if publish:
                    await client.publish_spec(document)
                    saying.say("stored; `trunkline list pipelines` shows what became of it")
                else:
                    applied.append(
                        await _apply(asked, client, document, now=now, reprocess=reprocess)
                    )
        if applied and not render.records(asked, applied):
            for pipeline in applied:
                saying.say(f"pipeline {pipeline.name}: version {pipeline.version}")

    session.run(asked, body)


async def _apply(
    asked: Asked, client: Client, document: bytes, *, now: bool, reprocess: bool
) -> records.Pipeline:
    verb, request = ("pipeline.apply-now" if now else "pipeline.apply"), document
    if reprocess:
        text = document.decode("utf-8", "replace")
        anew = api.PipelineReprocess(spec=text, salt=secrets.token_hex(16), now=now)
        verb, request = "pipeline.reprocess", msgspec.json.encode(anew)
    pipeline = await client.call(verb, request, records.Pipeline)
    if pipeline.ignored and asked.for_people:
        fields = ", ".join(pipeline.ignored)
        render.warn(f"pipeline {pipeline.name}: without effect in this installation: {fields}")
    return pipeline


def list_pipelines(asked: Asked, name: str | None) -> None:
    """List all pipelines, or the one of this name; below it, why its last spec was refused."""

    async def body(client: Client) -> None:
        if name:
            found = [await client.call("pipeline.get", api.Named(name=name), api.PipelineView)]
        else:
            listed = client.every("pipeline.list", api.PipelineView, page=100)
            found = await render.gathered(asked, listed)
        if render.records(asked, found):
            return
        headings = (
            *("name", "version", "state", "workers", "last job", "job state", "updated"),
            *("busy", "pending", "in flight", "image", "why so many workers"),
        )
        render.table(asked, headings, [_row(view) for view in found], wide=5)
        for view in found:
            refusal = view.pipeline.refusal
            for path, text in refusal.problems if refusal else ():
                saying.say(f"{view.pipeline.name}: REFUSED: {path}: {text}")

    session.run(asked, body)


def _row(view: api.PipelineView) -> tuple[object, ...]:
    pipeline, scaling, job = view.pipeline, view.scaling, view.last_job
    return (
        pipeline.name,
        pipeline.version or "-",
        state(view),
        f"{scaling.have}/{scaling.want}" if scaling else "-",
        job.id[:12] if job else "-",
        job.state if job else "-",
        render.age(pipeline.updated_ns),
        scaling.busy if scaling else "-",
        scaling.pending if scaling else "-",
        scaling.in_flight if scaling else "-",
        pipeline.spec.transform.image if pipeline.spec else "-",
        scaling.reason if scaling else "-",
    )


def state(view: api.PipelineView) -> str:
    """Return what a pipeline does, with what the scaler knows of it."""
    pipeline, scaling = view.pipeline, view.scaling
    if pipeline.refusal:
        return "REFUSED"
    if pipeline.state is not PipelineState.RUNNING or pipeline.spec is None or scaling is None:
        return pipeline.state
    if scaling.problem:
        return "CRASHING"
    return "STANDBY" if pipeline.spec.standby and not scaling.want else pipeline.state


def inspect(asked: Asked, name: str, version: int) -> None:
    """Show a pipeline with what the scaler says of it, or one of its versions."""

    async def body(client: Client) -> None:
        request = api.PipelineNamed(name=name, version=version)
        view = await client.call("pipeline.get", request, api.PipelineView)
        render.record(asked, view.pipeline if version else view)

    session.run(asked, body)


def stop(asked: Asked, name: str) -> None:
    """Stop a pipeline."""

    async def body(client: Client) -> None:
        pipeline = await client.call("pipeline.stop", api.Named(name=name), records.Pipeline)
        render.done(asked, pipeline, f"pipeline {name} is stopped")

    session.run(asked, body)


def start(asked: Asked, name: str) -> None:
    """Start a pipeline that was stopped."""

    async def body(client: Client) -> None:
        pipeline = await client.call("pipeline.start", api.Named(name=name), records.Pipeline)
        render.done(asked, pipeline, f"pipeline {name} is started")

    session.run(asked, body)


def rerun(asked: Asked, name: str, *, reprocess: bool) -> None:
    """Run a pipeline again on the newest inputs."""

    async def body(client: Client) -> None:
        request = api.PipelineRerun(name=name, reprocess=reprocess, id=secrets.token_hex(16))
        job = await client.call("pipeline.rerun", request, records.Job)
        render.done(asked, job, f"{job.pipeline}@{job.id}")

    session.run(asked, body)


def delete(asked: Asked, name: str, *, force: bool) -> None:
    """Delete a pipeline."""

    async def body(client: Client) -> None:
        request = api.PipelineDelete(name=name, force=force)
        pipeline = await client.delete("pipeline.delete", request, records.Pipeline)
        render.gone(asked, pipeline, f"pipeline {name} is being deleted")

    session.run(asked, body)


def delete_all(asked: Asked) -> None:
    """Delete all pipelines, readers before what they read, so that none has to be forced."""

    async def body(client: Client) -> None:
        listed = client.every("pipeline.list", api.PipelineView, page=100)
        there = [each.pipeline for each in await render.gathered(asked, listed)]
        by_name = {each.name: each for each in there}
        gone = []
        for name in readers_first(there):
            request = api.PipelineDelete(name=name)
            deleted = await client.delete("pipeline.delete", request, records.Pipeline)
            gone.append(deleted or by_name[name])
        if not render.records(asked, gone):
            for pipeline in gone:
                saying.say(f"pipeline {pipeline.name} is being deleted")

    session.run(asked, body)


def readers_first(pipelines: Sequence[records.Pipeline]) -> list[str]:
    """Return the names of pipelines, each before those whose output it reads."""
    reads = {
        each.name: {leaf.repo for leaf in spec.inputs(each.spec.input)} if each.spec else set()
        for each in pipelines
    }
    ordered: list[str] = []
    while reads:
        read = set[str]().union(*reads.values())
        free = sorted(name for name in reads if name not in read) or sorted(reads)
        ordered += free
        for name in free:
            del reads[name]
    return ordered


def tick(asked: Asked, name: str) -> None:
    """Let a pipeline's cron inputs tick now."""

    async def body(client: Client) -> None:
        made = await client.call("pipeline.tick", api.Named(name=name), api.Ticked)
        if not render.one(asked, made):
            for each in made.commits:
                saying.say(f"{each.repo}@{each.id}")

    session.run(asked, body)
