"""The one place where text meets a terminal: names and lines are anybody's, and none of them may command it.

Nor may they look like a line of ours: what is said is one line, whatever is in it; where there are more, each is said
by itself, or they are a document, whose form tells a text that it quotes from its own.

Two things have rules of their own: lines of commands (`loglines`) and contents of files (`cat`), which go past it.
"""

import sys

import click

from trunkline.runtime import terminals


def say(text: str) -> None:
    """Print a text to stdout, as one line."""
    click.echo(terminals.line(text))


def document(text: str) -> None:
    """Print JSON or YAML to stdout: in UTF-8 whatever the locale, since programs read nothing else, and their escapes are others."""
    click.echo(terminals.harmless(text.removesuffix("\n")).encode())


def exactly(text: str) -> None:
    """Print a line to stdout for programs: a pipe gets it as it is, a terminal without what would command it."""
    unchanged(terminals.harmless(text) if sys.stdout.isatty() else text)


def unchanged(text: str) -> None:
    """Print a line to stdout of which nothing is dropped: whoever calls has made it fit for where it goes.

    A pipe gets it as bytes: of a text `click` would take colours out, and a locale other signs.
    """
    click.echo(text if sys.stdout.isatty() else text.encode(errors="surrogateescape"))


def tell(text: str) -> None:
    """Print a text to stderr; its further lines, if any, are indented, so that none looks like another text."""
    click.echo(terminals.harmless(text.strip("\n")).replace("\n", "\n  "), err=True)
