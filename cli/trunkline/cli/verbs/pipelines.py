"""Verbs about pipelines and their workers."""

import click

from trunkline.cli import options
from trunkline.cli.options import asking, example, listing
from trunkline.cli.verbs import completing
from trunkline.cli.verbs.groups import delete, get, inspect, list_, main, rerun, start, stop


@main.command(
    epilog=example("trunkline apply -f pipeline.json", "trunkline apply -f pipeline.yaml --dry-run")
)
@options.spec_files
@click.option("--publish", is_flag=True, help="Publish it only: stored also while nobody answers.")
@click.option("--now", is_flag=True, help="Kill the jobs of older versions; they finish otherwise.")
@options.reprocess
@click.option("--dry-run", is_flag=True, help="Only say what they would do.")
@asking
def apply(
    asked: options.Asked,
    files: tuple[str, ...],
    *,
    publish: bool,
    now: bool,
    reprocess: bool,
    dry_run: bool,
) -> None:
    """Create pipelines, or give them a new version."""
    from trunkline.cli import pipelines, planning

    if dry_run:
        planning.show(asked, files, now=now, reprocess=reprocess)
        return
    if publish and (now or reprocess):
        option = "--now" if now else "--reprocess"
        told = f"a spec that is only published cannot be applied {option}"
        raise click.UsageError(told)
    pipelines.apply(asked, files, publish=publish, now=now, reprocess=reprocess)


@main.command(epilog=example("trunkline validate -f pipeline.json"))
@options.spec_files
@options.printing
def validate(asked: options.Asked, files: tuple[str, ...]) -> None:
    """Check specs without an installation; exit with 1 if one is not valid."""
    from trunkline.cli import specs

    specs.validate(asked, files)


@options.both(
    get,
    list_,
    "pipelines",
    epilog=example("trunkline list pipelines", "trunkline list pipelines words -o wide"),
)
@click.argument("name", required=False, shell_complete=completing.pipelines)
@click.option("--history", metavar="NAME", help="The versions of this one: as `list versions`.")
@listing
def list_pipelines(asked: options.Asked, name: str | None, history: str | None) -> None:
    """List pipelines, those with a refused spec too."""
    from trunkline.cli import pipelines, versions

    if history:
        versions.list_versions(asked, history)
    else:
        pipelines.list_pipelines(asked, name)


@options.both(get, list_, "versions", epilog=example("trunkline list versions words"))
@click.argument("pipeline", shell_complete=completing.pipelines)
@listing
def list_versions(asked: options.Asked, pipeline: str) -> None:
    """List the versions of a pipeline, newest first, with what each one changed."""
    from trunkline.cli import versions

    versions.list_versions(asked, pipeline)


@options.both(get, list_, "workers", epilog=example("trunkline list workers words"))
@click.argument("pipeline", required=False, shell_complete=completing.pipelines)
@listing
def list_workers(asked: options.Asked, pipeline: str | None) -> None:
    """List workers and what they do."""
    from trunkline.cli import workers

    workers.list_workers(asked, pipeline or "")


@options.both(get, list_, "events", epilog=example("trunkline list events words --limit 20"))
@click.argument("pipeline", required=False, shell_complete=completing.pipelines)
@listing
def list_events(asked: options.Asked, pipeline: str | None) -> None:
    """List why things happened."""
    from trunkline.cli import workers

    workers.list_events(asked, pipeline or "")


@inspect.command("pipelines", epilog=example("trunkline inspect pipeline words --version 2"))
@click.argument("name", shell_complete=completing.pipelines)
@click.option("--version", type=click.IntRange(1), help="As it was then.")
@asking
def inspect_pipeline(asked: options.Asked, name: str, version: int | None) -> None:
    """Show a pipeline: its spec, its state, its scaling and why."""
    from trunkline.cli import pipelines

    pipelines.inspect(asked, name, version or 0)


@inspect.command("workers", epilog=example("trunkline inspect worker words-26843f77-0"))
@click.argument("name", shell_complete=completing.workers)
@asking
def inspect_worker(asked: options.Asked, name: str) -> None:
    """Show a worker."""
    from trunkline.cli import workers

    workers.inspect_worker(asked, name)


@main.command(
    epilog=example(
        "trunkline explain words",
        "trunkline explain words@3f2a",
        "trunkline explain words@3f2a 17",
        "trunkline explain words-26843f77-0",
    )
)
@click.argument("what", metavar="PIPELINE|JOB|WORKER", shell_complete=completing.anything)
@click.argument("datum", required=False)
@asking
def explain(asked: options.Asked, what: str, datum: str | None) -> None:
    """Say why something waits, why it failed, or why there are so many workers: and what to do.

    PIPELINE is the pipeline itself, with its newest job; PIPELINE@ID is a job; with DATUM, it is one of that
    job's (of the newest one for a plain PIPELINE). Events are looked for among the pipeline's newest 5,000.
    """
    from trunkline.cli import explaining

    explaining.explain(asked, what, datum or "")


@main.command(epilog=example("trunkline top", "trunkline top words --once"))
@click.argument("pipeline", required=False, shell_complete=completing.pipelines)
@click.option(
    "--once", is_flag=True, help="Only once; also when piped, or with -o json and others."
)
@click.option("--every", type=options.SECONDS, default="1s", help="Between looks, such as 1s.")
@asking
def top(asked: options.Asked, pipeline: str | None, *, once: bool, every: float) -> None:
    """Watch jobs with their pace, workers and what they are at, the scaler, and the last failures."""
    from trunkline.cli import topping

    topping.top(asked, pipeline or "", once=once, every_s=every)


@stop.command("pipelines", epilog=example("trunkline stop pipeline words"))
@click.argument("name", shell_complete=completing.pipelines)
@asking
def stop_pipeline(asked: options.Asked, name: str) -> None:
    """Stop a pipeline: its jobs are killed, its workers go, and no commit sets off a job."""
    from trunkline.cli import pipelines

    pipelines.stop(asked, name)


@start.command("pipelines", epilog=example("trunkline start pipeline words"))
@click.argument("name", shell_complete=completing.pipelines)
@asking
def start_pipeline(asked: options.Asked, name: str) -> None:
    """Start a pipeline that was stopped; one job catches up on the newest inputs."""
    from trunkline.cli import pipelines

    pipelines.start(asked, name)


@rerun.command("pipelines", epilog=example("trunkline rerun pipeline words --reprocess"))
@click.argument("name", shell_complete=completing.pipelines)
@options.reprocess
@asking
def rerun_pipeline(asked: options.Asked, name: str, *, reprocess: bool) -> None:
    """Run a pipeline again on the newest inputs: what is not done, or everything."""
    from trunkline.cli import pipelines

    pipelines.rerun(asked, name, reprocess=reprocess)


@main.command(epilog=example("trunkline tick nightly"))
@click.argument("pipeline", shell_complete=completing.pipelines)
@asking
def tick(asked: options.Asked, pipeline: str) -> None:
    """Let a pipeline's cron inputs tick now, whatever their schedules say."""
    from trunkline.cli import pipelines

    pipelines.tick(asked, pipeline)


@delete.command(
    "pipelines",
    epilog=example("trunkline delete pipeline words", "trunkline delete pipeline --all"),
)
@click.argument("name", required=False, shell_complete=completing.pipelines)
@click.option("--all", "everything", is_flag=True, help="All pipelines.")
@click.option("--force", is_flag=True, help="Also if others read its output.")
@asking
def delete_pipeline(
    asked: options.Asked, name: str | None, *, everything: bool, force: bool
) -> None:
    """Delete a pipeline; its jobs are killed, and what it has committed stays."""
    from trunkline.cli import pipelines

    if everything == bool(name):
        raise click.UsageError("name a pipeline, or say --all")
    if name:
        pipelines.delete(asked, name, force=force)
    else:
        pipelines.delete_all(asked)
