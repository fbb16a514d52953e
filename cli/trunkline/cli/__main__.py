"""The command line: what can be asked for, and nothing of how it is done.

This module and `options` import click only, so that `--help`, `version` and completion answer at
once. Each verb imports its body when it is called: importing NATS costs half a second.
"""

import click

from trunkline.cli import options
from trunkline.cli.options import asking, listing

EPILOG = """\b
Exit codes: 0 done; 1 refused, or failed; 2 wrong usage; 3 not reachable, or no answer in time;
4 what was waited for ended in another state than SUCCESS; 5 not found.

\b
Where to connect: --home or TRUNKLINE_HOME (a state directory; ~/.trunkline by default), or
TRUNKLINE_URL and TRUNKLINE_STORE (the URLs of NATS and of the object store).

\b
JOB is PIPELINE@ID; PIPELINE alone means its newest job, and the first digits of an id are enough.
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trunkline", message="%(version)s")
def main() -> None:
    """Datum-parallel pipelines over versioned data, on NATS JetStream."""


@main.command()
def version() -> None:
    """Print the version."""
    from importlib import metadata

    click.echo(metadata.version("trunkline"))


@main.command()
@options.home
@click.option("--nodes", type=click.IntRange(0), help="Logical nodes; kept as they are if not set.")
@click.option("--port", type=click.IntRange(0, 65535), help="Of NATS; 4222 if that is free.")
@click.option("--detach", "-d", is_flag=True, help="Return once it is up, and leave it running.")
def up(home: str | None, nodes: int | None, port: int | None, *, detach: bool) -> None:
    """Run an installation on this machine until Ctrl-C."""
    from trunkline.cli import installation

    installation.up(home, nodes=nodes, port=port, detach=detach)


@main.command()
@options.home
def down(home: str | None) -> None:
    """Stop the installation that runs in a state directory."""
    from trunkline.cli import installation

    installation.down(home)


@main.command()
@asking
def status(asked: options.Asked) -> None:
    """Show what the installation is and whether it is well."""
    from trunkline.cli import installation

    installation.status(asked)


@main.group()
def create() -> None:
    """Create a repo or a branch."""


@create.command("repo")
@click.argument("name")
@click.option("--description", default="", help="For people.")
@asking
def create_repo(asked: options.Asked, name: str, description: str) -> None:
    """Create a repo with the branch `master`."""
    from trunkline.cli import repos

    repos.create_repo(asked, name, description)


@create.command("branch")
@click.argument("branch", metavar="REPO@BRANCH")
@click.option("--head", default="", metavar="ID", help="The commit it starts at.")
@asking
def create_branch(asked: options.Asked, branch: str, head: str) -> None:
    """Create a branch, empty or at a commit."""
    from trunkline.cli import repos

    repos.create_branch(asked, branch, head)


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


@main.group(cls=options.Nouns)
def get() -> None:
    """List things, or download files: the same as `list`, and `get file`."""


@main.group("list", cls=options.Nouns)
def list_() -> None:
    """List things."""


@options.both(get, list_, "pipelines")
@click.argument("name", required=False)
@listing
def list_pipelines(asked: options.Asked, name: str | None) -> None:
    """List pipelines, those with a refused spec too."""
    from trunkline.cli import pipelines

    pipelines.list_pipelines(asked, name)


@options.both(get, list_, "jobs")
@click.argument("pipeline", required=False)
@listing
def list_jobs(asked: options.Asked, pipeline: str | None) -> None:
    """List jobs, of one pipeline or of all."""
    from trunkline.cli import jobs

    jobs.list_jobs(asked, pipeline or "")


@options.both(get, list_, "datums")
@click.argument("job")
@click.option("--state", "states", multiple=True, help="Only these: FAILED, SKIPPED, RUNNING, ...")
@listing
def list_datums(asked: options.Asked, job: str, states: tuple[str, ...]) -> None:
    """List the datums of a job."""
    from trunkline.cli import jobs

    jobs.list_datums(asked, job, tuple(state.upper() for state in states))


@options.both(get, list_, "repos")
@listing
def list_repos(asked: options.Asked) -> None:
    """List repos."""
    from trunkline.cli import repos

    repos.list_repos(asked)


@options.both(get, list_, "commits")
@click.argument("repo")
@listing
def list_commits(asked: options.Asked, repo: str) -> None:
    """List the commits of a repo."""
    from trunkline.cli import repos

    repos.list_commits(asked, repo)


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


@get.command("file")
@click.argument("path", metavar="REPO@BRANCH:PATH")
@click.option("--output-path", "-O", "target", default="", help="File or directory; - is stdout.")
@click.option("--recursive", "-r", is_flag=True, help="A whole directory.")
@asking
def get_file(asked: options.Asked, path: str, target: str, *, recursive: bool) -> None:
    """Download a file, or with -r a directory."""
    from trunkline.cli import files

    files.get_file(asked, path, target, recursive=recursive)


@main.group(cls=options.Nouns)
def inspect() -> None:
    """Show all that is known of one thing."""


@inspect.command("pipelines")
@click.argument("name")
@asking
def inspect_pipeline(asked: options.Asked, name: str) -> None:
    """Show a pipeline: its spec, its state, its scaling and why."""
    from trunkline.cli import pipelines

    pipelines.inspect(asked, name)


@inspect.command("jobs")
@click.argument("job")
@asking
def inspect_job(asked: options.Asked, job: str) -> None:
    """Show a job."""
    from trunkline.cli import jobs

    jobs.inspect_job(asked, job)


@inspect.command("datums")
@click.argument("job")
@click.argument("index", type=click.IntRange(0))
@asking
def inspect_datum(asked: options.Asked, job: str, index: int) -> None:
    """Show one datum of a job: its outcome and its attempts."""
    from trunkline.cli import jobs

    jobs.inspect_datum(asked, job, index)


@inspect.command("repos")
@click.argument("name")
@asking
def inspect_repo(asked: options.Asked, name: str) -> None:
    """Show a repo with its branches."""
    from trunkline.cli import repos

    repos.inspect_repo(asked, name)


@inspect.command("commits")
@click.argument("commit", metavar="REPO@REF")
@asking
def inspect_commit(asked: options.Asked, commit: str) -> None:
    """Show a commit."""
    from trunkline.cli import repos

    repos.inspect_commit(asked, commit)


@inspect.command("workers")
@click.argument("name")
@asking
def inspect_worker(asked: options.Asked, name: str) -> None:
    """Show a worker."""
    from trunkline.cli import workers

    workers.inspect_worker(asked, name)


@main.command()
@click.argument("target", metavar="REPO@BRANCH[:PATH]")
@click.option(
    "--file",
    "-f",
    "sources",
    multiple=True,
    required=True,
    metavar="PATH",
    help="Local; - is stdin.",
)
@click.option("--recursive", "-r", is_flag=True, help="Whole directories.")
@click.option("--replace", is_flag=True, help="Leave nothing of what the branch held before.")
@asking
def put(
    asked: options.Asked, target: str, sources: tuple[str, ...], *, recursive: bool, replace: bool
) -> None:
    """Put files into a branch, as one commit."""
    from trunkline.cli import files

    files.put(asked, target, sources, recursive=recursive, replace=replace)


@main.command()
@click.argument("path", metavar="REPO@BRANCH[:GLOB]")
@listing
def ls(asked: options.Asked, path: str) -> None:
    """List a directory of a commit, or the files that a glob matches."""
    from trunkline.cli import files

    files.ls(asked, path)


@main.command()
@click.argument("path", metavar="REPO@BRANCH:GLOB")
@asking
def cat(asked: options.Asked, path: str) -> None:
    """Write the contents of files to stdout."""
    from trunkline.cli import files

    files.cat(asked, path)


@main.command()
@click.argument("job")
@click.option("--datum", type=click.IntRange(0), metavar="INDEX", help="Only this one's.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the job ends.")
@asking
def logs(asked: options.Asked, job: str, datum: int | None, *, follow: bool) -> None:
    """Show what the commands of a pipeline (or of PIPELINE@JOB) printed."""
    from trunkline.cli import logs as bodies

    bodies.logs(asked, job, datum, follow=follow)


@main.command()
@click.argument("what", metavar="JOB|REPO@COMMIT")
@click.option("--timeout", "timeout_s", type=float, default=0.0, help="Seconds; 0 waits for ever.")
@asking
def wait(asked: options.Asked, what: str, timeout_s: float) -> None:
    """Wait for a job, or for all that a commit set off."""
    from trunkline.cli import waiting

    waiting.wait(asked, what, timeout_s)


@main.command()
@click.argument("pipeline")
@asking
def tick(asked: options.Asked, pipeline: str) -> None:
    """Let a pipeline's cron inputs tick now, whatever their schedules say."""
    from trunkline.cli import pipelines

    pipelines.tick(asked, pipeline)


@main.group(cls=options.Nouns)
def stop() -> None:
    """Stop a job."""


@stop.command("jobs")
@click.argument("job")
@asking
def stop_job(asked: options.Asked, job: str) -> None:
    """Stop a job: what runs is killed, and nothing is committed."""
    from trunkline.cli import jobs

    jobs.stop(asked, job)


@main.group(cls=options.Nouns)
def delete() -> None:
    """Delete a pipeline or a repo."""


@delete.command("pipelines")
@click.argument("name")
@asking
def delete_pipeline(asked: options.Asked, name: str) -> None:
    """Delete a pipeline; its jobs are stopped."""
    from trunkline.cli import pipelines

    pipelines.delete(asked, name)


@delete.command("repos")
@click.argument("name")
@asking
def delete_repo(asked: options.Asked, name: str) -> None:
    """Delete a repo."""
    from trunkline.cli import repos

    repos.delete_repo(asked, name)


@main.group()
def nodes() -> None:
    """Logical nodes of an installation without Kubernetes."""


@nodes.command("set")
@click.argument("count", type=click.IntRange(0))
@asking
def nodes_set(asked: options.Asked, count: int) -> None:
    """Say how many there are; workers follow at once."""
    from trunkline.cli import workers

    workers.nodes_set(asked, count)


@nodes.command("get")
@asking
def nodes_get(asked: options.Asked) -> None:
    """Show how many there are."""
    from trunkline.cli import workers

    workers.nodes_get(asked)


if __name__ == "__main__":
    main()
