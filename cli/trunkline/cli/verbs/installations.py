"""Verbs about the installation itself."""

import click

from trunkline.cli import options
from trunkline.cli.options import asking, example
from trunkline.cli.verbs.groups import inspect, main, nodes


@main.command(epilog=example("trunkline version"))
def version() -> None:
    """Print the version."""
    from importlib import metadata

    click.echo(metadata.version("trunkline"))


@main.command(
    epilog=example(
        "source <(trunkline completion bash)",
        "source <(trunkline completion zsh)",
        "trunkline completion fish > ~/.config/fish/completions/trunkline.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what a shell must source to complete verbs, options and the names of what there is."""
    from trunkline.cli import completion_scripts

    click.echo(completion_scripts.SCRIPTS[shell], nl=False)


@main.command(
    epilog=example("trunkline up", "trunkline up --detach --nodes 4 --store s3://bucket/prefix")
)
@options.home
@click.option("--nodes", type=click.IntRange(0), help="Logical nodes; kept as they are if not set.")
@click.option("--port", type=click.IntRange(0, 65535), help="Of NATS; 4222 if that is free.")
@click.option(
    "--servers",
    type=click.Choice(["1", "3"]),
    help="Of NATS; with 3 one may be lost. As many as it was made with if not set.",
)
@click.option(
    "--store",
    envvar="TRUNKLINE_STORE",
    metavar="URL",
    help="Where objects lie, such as s3://bucket/prefix; kept as it is if not set.",
)
@click.option(
    "--standbys",
    is_flag=True,
    help="Start two of what leads: another takes over from one that goes.",
)
@click.option("--detach", "-d", is_flag=True, help="Return once it is up, and leave it running.")
@click.option(
    "--chaos",
    type=int,
    is_flag=False,
    flag_value=options.ANY_SEED,
    metavar="[SEED]",
    help="Break it all the time, by a schedule that the seed replays: to see that it does no harm.",
)
def up(
    home: str | None,
    nodes: int | None,
    port: int | None,
    servers: str | None,
    store: str | None,
    chaos: int | None,
    *,
    standbys: bool,
    detach: bool,
) -> None:
    """Run an installation on this machine until Ctrl-C."""
    if detach and chaos is not None:
        raise click.UsageError("--chaos is there to be watched: leave --detach away")
    from trunkline.cli import installation

    installation.up(
        home,
        nodes=nodes,
        port=port,
        servers=int(servers) if servers else None,
        store=store,
        detach=detach,
        standbys=standbys,
        chaos=options.seed(chaos),
    )


@main.command(epilog=example("trunkline down"))
@options.home
def down(home: str | None) -> None:
    """Stop the installation that runs in a state directory."""
    from trunkline.cli import installation

    installation.down(home)


@main.command(epilog=example("trunkline chaos --for 30s --seed 7"))
@options.home
@click.option("--seed", type=int, help="Of the schedule; the same one gives the same faults.")
@click.option("--for", "seconds", type=options.SECONDS, default="60s", help="Such as 90s or 5m.")
@click.option(
    "--what",
    type=click.Choice(
        ["kills", "silences", "users", "all", "network", "store", "clocks", "everything"]
    ),
    default="kills",
    show_default=True,
    help="Which faults; from `network` on with --dry-run only, `up --chaos` has them.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would break when.")
def chaos(home: str | None, *, seed: int | None, seconds: float, what: str, dry_run: bool) -> None:
    """Break the installation in a state directory again and again: see that nothing is lost."""
    from trunkline.cli import breaking

    breaking.chaos(home, seed=seed, seconds=seconds, what=what, dry_run=dry_run)


@main.command(epilog=example("trunkline status"))
@asking
def status(asked: options.Asked) -> None:
    """Show what the installation is and whether it is well."""
    from trunkline.cli import installation

    installation.status(asked)


@inspect.command("installation", epilog=example("trunkline inspect installation"))
@asking
def inspect_installation(asked: options.Asked) -> None:
    """Show what the installation is: its durability, store and server, and who leads; as `status`."""
    from trunkline.cli import installation

    installation.status(asked)


@main.command(epilog=example("trunkline gc --dry-run"))
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option(
    "--despite-damage", is_flag=True, help="Also if something that others hang on is unreadable."
)
@asking
def gc(asked: options.Asked, *, dry_run: bool, despite_damage: bool) -> None:
    """Remove what no branch, no job and no done index needs any more."""
    from trunkline.cli import collecting

    collecting.collect(asked, dry_run=dry_run, despite_damage=despite_damage)


@nodes.command("set", epilog=example("trunkline nodes set 4"))
@click.argument("count", type=click.IntRange(0))
@asking
def nodes_set(asked: options.Asked, count: int) -> None:
    """Say how many there are; workers follow at once."""
    from trunkline.cli import workers

    workers.nodes_set(asked, count)


@nodes.command("get", epilog=example("trunkline nodes get"))
@asking
def nodes_get(asked: options.Asked) -> None:
    """Show how many there are."""
    from trunkline.cli import workers

    workers.nodes_get(asked)
