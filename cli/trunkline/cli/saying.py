"""The one place where text meets a terminal: names and lines are anybody's, and none of them may command it.

Two things go past it, each with rules of its own: lines of commands (`loglines`) and contents of files (`cat`).
"""

import sys

import click

from trunkline.runtime.terminals import harmless


def say(text: str, *, end: str = "\n") -> None:
    """Print a text, whole lines, to stdout."""
    click.echo(harmless(text) + end, nl=False)


def exactly(text: str) -> None:
    """Print a line to stdout for programs: a pipe gets it as it is, a terminal without what would command it."""
    say(text) if sys.stdout.isatty() else click.echo(text)


def tell(text: str) -> None:
    """Print a line to stderr."""
    click.echo(harmless(text), err=True)
