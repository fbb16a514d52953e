"""Verbs about secrets."""

import click

from trunkline.cli import options
from trunkline.cli.options import asking, example
from trunkline.cli.verbs.groups import create, delete, get, list_


@create.command(
    "secret",
    epilog=example(
        "trunkline create secret bucket --from-literal KEY=VALUE",
        "trunkline create secret login -f password=./password.txt",
    ),
)
@click.argument("name")
@click.option(
    "--file",
    "-f",
    "files",
    multiple=True,
    metavar="[KEY=]PATH",
    help="A file whose content is a value; its name is the key unless one is given. - is stdin.",
)
@click.option(
    "--from-literal", "literals", multiple=True, metavar="KEY=VALUE", help="A value as it is."
)
@click.option("--replace", is_flag=True, help="Put it in the place of one that is there.")
@asking
def create_secret(
    asked: options.Asked,
    name: str,
    files: tuple[str, ...],
    literals: tuple[str, ...],
    *,
    replace: bool,
) -> None:
    """Create a secret for the commands of pipelines; its values are never shown."""
    from trunkline.cli import secrets

    secrets.create(asked, name, files, literals, replace=replace)


@options.both(get, list_, "secrets", epilog=example("trunkline list secrets"))
@asking
def list_secrets(asked: options.Asked) -> None:
    """List secrets and their keys."""
    from trunkline.cli import secrets

    secrets.list_secrets(asked)


@delete.command("secrets", epilog=example("trunkline delete secret bucket"))
@click.argument("name")
@asking
def delete_secret(asked: options.Asked, name: str) -> None:
    """Delete a secret."""
    from trunkline.cli import secrets

    secrets.delete(asked, name)
