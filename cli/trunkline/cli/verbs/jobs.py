"""Verbs about jobs and their datums."""

import click

from trunkline.cli import options
from trunkline.cli.options import asking, example, listing
from trunkline.cli.verbs import completing
from trunkline.cli.verbs.groups import delete, get, inspect, list_, main, rerun, restart, stop


@options.both(
    get,
    list_,
    "jobs",
    epilog=example("trunkline list jobs words", "trunkline list jobs -o name --limit 1"),
)
@click.argument("pipeline", required=False, shell_complete=completing.pipelines)
@click.option("--pipeline", "-p", "whole", metavar="PIPELINE", help="The same as PIPELINE.")
@listing
def list_jobs(asked: options.Asked, pipeline: str | None, whole: str | None) -> None:
    """List jobs, of one pipeline or of all."""
    from trunkline.cli import jobs

    jobs.list_jobs(asked, options.one_of(pipeline, whole))


@options.both(
    get,
    list_,
    "datums",
    epilog=example(
        "trunkline list datums words --state FAILED", "trunkline list datums -f pipeline.json"
    ),
)
@click.argument("job", required=False, shell_complete=completing.jobs)
@click.option("--state", "states", multiple=True, help="Only these: FAILED, SKIPPED, RUNNING, ...")
@click.option(
    "--file",
    "-f",
    "spec",
    type=click.Path(),
    metavar="FILE",
    help="The first ones that a spec would make.",
)
@listing
def list_datums(
    asked: options.Asked, job: str | None, states: tuple[str, ...], spec: str | None
) -> None:
    """List the datums of a job, or the first ones that a spec would make."""
    from trunkline.cli import jobs, planning

    if (job is None) == (spec is None):
        raise click.UsageError("name a job, or a spec with -f")
    if spec is not None:
        planning.list_datums(asked, spec)
        return
    assert job is not None
    jobs.list_datums(asked, job, tuple(state.upper() for state in states))


@inspect.command("jobs", epilog=example("trunkline inspect job words@3f2a -o json"))
@click.argument("job", shell_complete=completing.jobs)
@asking
def inspect_job(asked: options.Asked, job: str) -> None:
    """Show a job."""
    from trunkline.cli import jobs

    jobs.inspect_job(asked, job)


@inspect.command("datums", epilog=example("trunkline inspect datum words@3f2a 17"))
@click.argument("job", shell_complete=completing.jobs)
@click.argument("datum")
@asking
def inspect_datum(asked: options.Asked, job: str, datum: str) -> None:
    """Show one datum of a job: its outcome and its attempts."""
    from trunkline.cli import jobs

    jobs.inspect_datum(asked, job, datum)


@restart.command("datums", epilog=example("trunkline restart datum words@3f2a 17 18"))
@click.argument("job", shell_complete=completing.jobs)
@click.argument("datums", metavar="DATUM...", nargs=-1, required=True)
@asking
def restart_datums(asked: options.Asked, job: str, datums: tuple[str, ...]) -> None:
    """Have datums of a running job worked on once more, failed or not."""
    from trunkline.cli import jobs

    jobs.restart_datums(asked, job, datums)


@main.command(
    epilog=example(
        "trunkline logs words --since 5m --timestamps",
        "trunkline logs words@3f2a 17 -f",
        "trunkline logs words@3f2a --failed",
    )
)
@click.argument(
    "what", metavar="PIPELINE|JOB|WORKER", required=False, shell_complete=completing.anything
)
@click.argument("datum", required=False, default="")
@options.whole
@click.option("--datum", "named", default="", metavar="DATUM", help="The same as DATUM.")
@click.option("--follow", "-f", is_flag=True, help="Go on: until the job, or the datum, has ended.")
@click.option("--failed", is_flag=True, help="Only of attempts that have failed, each whole.")
@click.option("--since", "since_ns", type=options.SINCE, default="", help="5m, 2h, or a time.")
@click.option(
    "--tail",
    type=click.IntRange(0, 100_000),
    metavar="N",
    help="Only the last N lines; with -f, and what comes then.",
)
@click.option("--timestamps", is_flag=True, help="When each line was printed, in UTC.")
@asking
def logs(
    asked: options.Asked,
    what: str | None,
    datum: str,
    whole: str | None,
    named: str,
    since_ns: int,
    tail: int | None,
    *,
    follow: bool,
    failed: bool,
    timestamps: bool,
) -> None:
    """Show what commands have printed: all of a pipeline, of a job (PIPELINE@ID), of one DATUM, in a worker.

    Kept for 7 days and 4 GiB in all, unless the installation says otherwise; of one run of a command the
    first MiB and the last lines.
    """
    from trunkline.cli import logs as bodies

    wanted = bodies.Wanted(
        follow=follow, failed=failed, since_ns=since_ns, tail=tail, timestamps=timestamps
    )
    meant = options.one_of(what, whole)
    if not meant:
        raise click.UsageError("name a pipeline, job or worker")
    bodies.logs(asked, meant, datum or named, wanted)


@main.command(
    cls=options.Bare,
    epilog=example("trunkline wait texts@master", "trunkline wait words@3f2a --timeout 60"),
)
@click.argument("what", metavar="JOB|REPO@COMMIT", shell_complete=completing.jobs_and_places)
@click.option("--timeout", "timeout_s", type=float, default=0.0, help="Seconds; 0 waits for ever.")
@asking
def wait(asked: options.Asked, what: str, timeout_s: float) -> None:
    """Wait for a job, or for all that a commit set off.

    What was run again since, by `rerun` or in a new version, is waited for in its newest run.
    """
    from trunkline.cli import waiting

    waiting.wait(asked, what, timeout_s)


@main.command(cls=options.Bare, epilog=example("trunkline verify words@3f2a"))
@click.argument("job", shell_complete=completing.jobs)
@asking
def verify(asked: options.Asked, job: str) -> None:
    """Look an ended job over, from streams and store alone: nothing lost, nothing twice."""
    from trunkline.cli import verifying

    verifying.verify(asked, job)


@stop.command("jobs", epilog=example("trunkline stop job words@3f2a"))
@click.argument("job", shell_complete=completing.jobs)
@asking
def stop_job(asked: options.Asked, job: str) -> None:
    """Stop a job: what runs is killed, and nothing is committed."""
    from trunkline.cli import jobs

    jobs.stop(asked, job)


@rerun.command("jobs", epilog=example("trunkline rerun job words@3f2a"))
@click.argument("job", shell_complete=completing.jobs)
@options.reprocess
@asking
def rerun_job(asked: options.Asked, job: str, *, reprocess: bool) -> None:
    """Run an ended job again on its inputs, with the code that its pipeline has now."""
    from trunkline.cli import jobs

    jobs.rerun(asked, job, reprocess=reprocess)


@delete.command("jobs", epilog=example("trunkline delete job words@3f2a"))
@click.argument("job", shell_complete=completing.jobs)
@asking
def delete_job(asked: options.Asked, job: str) -> None:
    """Delete the record of a job that has ended; what it made stays."""
    from trunkline.cli import jobs

    jobs.delete(asked, job)
