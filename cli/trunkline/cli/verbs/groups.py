"""The command and its groups of verbs; the modules beside this one add what can be asked for.

These modules and `options` import click only, so that `--help`, `version` and completion answer at
once. Each verb imports its body when it is called: importing NATS costs half a second.
"""

import click

from trunkline.cli import options

EPILOG = """\b
Exit codes: 0 done; 1 refused, or failed; 2 wrong usage; 3 not reachable, or no answer in time;
4 what was waited for ended in another state than SUCCESS; 5 not found.

\b
Where to connect: --home or TRUNKLINE_HOME (a state directory; ~/.trunkline by default), or
TRUNKLINE_URL and TRUNKLINE_STORE (the URLs of NATS and of the object store).

\b
JOB is PIPELINE@ID; PIPELINE alone means its newest job, and the first digits of an id are enough.
DATUM is an index in that job, or the first digits of a datum's id.
"""


@click.group(
    cls=options.Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="trunkline", message="%(version)s")
def main() -> None:
    """Datum-parallel pipelines over versioned data, on NATS JetStream."""


@main.group(cls=options.Nouns, epilog=options.example("trunkline create repo texts"))
def create() -> None:
    """Create a repo, a branch or a secret."""


@main.group(cls=options.Nouns, epilog=options.example("trunkline get pipelines"))
def get() -> None:
    """List things, or download files: the same as `list`, and `get file`."""


@main.group("list", cls=options.Nouns, epilog=options.example("trunkline list jobs words"))
def list_() -> None:
    """List things."""


@main.group(cls=options.Nouns, epilog=options.example("trunkline inspect job words"))
def inspect() -> None:
    """Show all that is known of one thing."""


@main.group(cls=options.Nouns, epilog=options.example("trunkline stop pipeline words"))
def stop() -> None:
    """Stop a pipeline or a job."""


@main.group(cls=options.Nouns, epilog=options.example("trunkline start pipeline words"))
def start() -> None:
    """Start a pipeline that was stopped."""


@main.group(cls=options.Nouns, epilog=options.example("trunkline rerun job words"))
def rerun() -> None:
    """Run a pipeline or a job again."""


@main.group(cls=options.Nouns, epilog=options.example("trunkline restart datum words 0"))
def restart() -> None:
    """Have datums of a running job worked on once more."""


@main.group(cls=options.Nouns, epilog=options.example("trunkline delete repo texts"))
def delete() -> None:
    """Delete a pipeline, a repo, a branch, a job or a secret."""


@main.group(epilog=options.example("trunkline nodes set 2"))
def nodes() -> None:
    """Logical nodes of an installation without Kubernetes."""
