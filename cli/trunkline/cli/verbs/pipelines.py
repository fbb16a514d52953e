"""Verbs about pipelines and their workers."""

import click

from trunkline.cli import options
from trunkline.cli.options import asking, listing
from trunkline.cli.verbs.groups import delete, get, inspect, list_, main


@main.command()
@options.spec_files
@click.option("--publish", is_flag=True, help="Publish it only: stored also while nobody answers.")
@asking
def apply(asked: options.Asked, files: tuple[str, ...], *, publish: bool) -> None:
    """Create pipelines, or give them a new version."""
    from trunkline.cli import pipelines

    pipelines.apply(asked, files, publish=publish)


@main.command()
@options.spec_files
@options.printing
def validate(asked: options.Asked, files: tuple[str, ...]) -> None:
    """Check specs without an installation; exit with 1 if one is not valid."""
    from trunkline.cli import specs

    specs.validate(asked, files)


@options.both(get, list_, "pipelines")
@click.argument("name", required=False)
@listing
def list_pipelines(asked: options.Asked, name: str | None) -> None:
    """List pipelines, those with a refused spec too."""
    from trunkline.cli import pipelines

    pipelines.list_pipelines(asked, name)


@options.both(get, list_, "workers")
@click.argument("pipeline", required=False)
@listing
def list_workers(asked: options.Asked, pipeline: str | None) -> None:
    """List workers and what they do."""
    from trunkline.cli import workers

    workers.list_workers(asked, pipeline or "")


@options.both(get, list_, "events")
@click.argument("pipeline", required=False)
@listing
def list_events(asked: options.Asked, pipeline: str | None) -> None:
    """List why things happened."""
    from trunkline.cli import workers

    workers.list_events(asked, pipeline or "")


@inspect.command("pipelines")
@click.argument("name")
@asking
def inspect_pipeline(asked: options.Asked, name: str) -> None:
    """Show a pipeline: its spec, its state, its scaling and why."""
    from trunkline.cli import pipelines

    pipelines.inspect(asked, name)


@inspect.command("workers")
@click.argument("name")
@asking
def inspect_worker(asked: options.Asked, name: str) -> None:
    """Show a worker."""
    from trunkline.cli import workers

    workers.inspect_worker(asked, name)


@main.command()
@click.argument("pipeline")
@asking
def tick(asked: options.Asked, pipeline: str) -> None:
    """Let a pipeline's cron inputs tick now, whatever their schedules say."""
    from trunkline.cli import pipelines

    pipelines.tick(asked, pipeline)


@delete.command("pipelines")
@click.argument("name")
@asking
def delete_pipeline(asked: options.Asked, name: str) -> None:
    """Delete a pipeline; its jobs are stopped."""
    from trunkline.cli import pipelines

    pipelines.delete(asked, name)
