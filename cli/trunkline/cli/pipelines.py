"""Verbs on pipelines."""

import click

from trunkline.cli import render, session, specs
from trunkline.cli.options import Asked
from trunkline.client.client import Client
from trunkline.contracts import api, records


def apply(asked: Asked, files: tuple[str, ...], *, publish: bool) -> None:
    """Send each spec of each file; the first refused one ends it, with all of its problems."""

    async def body(client: Client) -> None:
        applied = []
        for file in files:
            for spec in specs.documents(file):
                if publish:
                    await client.publish_spec(spec)
                    click.echo("stored; `trunkline list pipelines` shows what became of it")
                else:
                    applied.append(await _apply(asked, client, spec))
        if applied and not render.records(asked, applied):
            for pipeline in applied:
                click.echo(f"pipeline {pipeline.name}: version {pipeline.version}")

    session.run(asked, body)


async def _apply(asked: Asked, client: Client, spec: bytes) -> records.Pipeline:
    pipeline = await client.call("pipeline.apply", spec, records.Pipeline)
    if pipeline.ignored and asked.output == "table":
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
        headings = ("name", "version", "state", "workers", "last job", "job state", "updated")
        render.table(headings, [_row(view) for view in found])
        for view in found:
            refusal = view.pipeline.refusal
            for path, text in refusal.problems if refusal else ():
                click.echo(f"{view.pipeline.name}: REFUSED: {path}: {text}")

    session.run(asked, body)


def _row(view: api.PipelineView) -> tuple[object, ...]:
    pipeline, scaling, job = view.pipeline, view.scaling, view.last_job
    return (
        pipeline.name,
        pipeline.version or "-",
        "REFUSED" if pipeline.refusal else pipeline.state,
        f"{scaling.ready}/{scaling.want}" if scaling else "-",
        job.id[:12] if job else "-",
        job.state if job else "-",
        render.age(pipeline.updated_ns),
    )


def inspect(asked: Asked, name: str) -> None:
    """Show a pipeline with what the scaler says of it."""

    async def body(client: Client) -> None:
        view = await client.call("pipeline.get", api.Named(name=name), api.PipelineView)
        render.record(asked, view)

    session.run(asked, body)


def delete(asked: Asked, name: str) -> None:
    """Delete a pipeline."""

    async def body(client: Client) -> None:
        pipeline = await client.call("pipeline.delete", api.Named(name=name), records.Pipeline)
        render.done(asked, pipeline, f"pipeline {name} is being deleted")

    session.run(asked, body)


def tick(asked: Asked, name: str) -> None:
    """Let a pipeline's cron inputs tick now."""

    async def body(client: Client) -> None:
        made = await client.call("pipeline.tick", api.Named(name=name), api.Ticked)
        told = "\n".join(f"{each.repo}@{each.id}" for each in made.commits)
        render.done(asked, made, told)

    session.run(asked, body)
