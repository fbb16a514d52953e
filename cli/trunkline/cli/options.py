"""What all verbs share: where to connect, how to print, and names in singular or plural."""

import contextlib
import functools
import math
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import click

from trunkline.cli import elsewhere
from trunkline.runtime.clock import SystemClock
from trunkline.runtime.terminals import harmless, is_undecoded

F = TypeVar("F", bound=Callable[..., Any])


class Seconds(click.ParamType[float]):
    """A duration as people say it: 90, 90s, 5m, 1h."""

    name = "duration"

    def convert(
        self, value: object, parameter: click.Parameter | None, context: click.Context | None
    ) -> float:
        """Return it in seconds."""
        if isinstance(value, float):
            return value
        text = str(value)
        found = seconds(text)
        if found is None:
            self.fail(f"{text!r} is no duration such as 90s or 5m", parameter, context)
        return found


class Since(click.ParamType[int]):
    """A time: how long ago (5m), or when (2026-01-31T12:00:00Z; without a zone, here)."""

    name = "duration|time"

    def convert(
        self, value: object, parameter: click.Parameter | None, context: click.Context | None
    ) -> int:
        """Return it in nanoseconds since the epoch, 1 for all that is earlier; 0 for no time."""
        if isinstance(value, int) or not value:
            return value or 0  # type: ignore[return-value]
        text = str(value)
        try:
            at_s = datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError):
            ago_s = seconds(text)
            if ago_s is None:
                says = "is no duration such as 90s or 5m, and no time such as 2026-01-31T12:00"
                self.fail(f"{text!r} {says}", parameter, context)
            at_s = SystemClock().wall_ns() / 1e9 - ago_s
        return min(max(1, int(max(0.0, at_s) * 1e9)), LATEST_NS)


LATEST_NS = 2**63 - 1
"""As far as times go."""
ANY_SEED = -1
"""Stands for a seed that is not named."""


def seed(asked: int | None) -> int | None:
    """Return the seed that was asked for, or a new one for ANY_SEED; None for none."""
    return secrets.randbelow(1_000_000) if asked == ANY_SEED else asked


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float | None:
    """Return how long a duration is; None if it is none."""
    number, factor = (text[:-1], _UNITS[text[-1:]]) if text[-1:] in _UNITS else (text, 1.0)
    try:
        found = float(number) * factor
    except ValueError:
        return None
    return found if 0 <= found < math.inf else None


SECONDS = Seconds()
SINCE = Since()


FORMS = ("table", "wide", "json", "yaml", "name")
"""Of answers; see `render`."""


class Asked(NamedTuple):
    """What every verb that asks an installation is told."""

    home: str | None
    output: str
    """One of FORMS."""
    limit: int = 0
    """Entries of a list; 0 for all."""

    @property
    def for_people(self) -> bool:
        """Whether tables and sentences are wanted, not records."""
        return self.output in ("table", "wide")


class _Group(click.Group):
    """A group that says of a word which is none of its commands what the same is called here."""

    def instead(self, word: str) -> str:
        """Return what to type instead of it; empty if nobody knows."""
        return elsewhere.noun(self.name or "", word)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that was meant."""
        try:
            return super().resolve_command(context, args)
        except click.UsageError as error:
            told = self.instead(args[0])
            if not told:
                raise
            message = f"{error.message} Here: {told}."
            raise click.UsageError(message, context) from None


class Verbs(_Group):
    """The whole command: what it says of wrong usage quotes what was typed, and names that were handed on are anybody's."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **more: Any,  # noqa: ANN401 - click's
    ) -> click.Context:
        """Read what was typed, if it is text: what is no UTF-8 is the name of nothing, and fits into no message."""
        with _quoted():
            for number, typed in enumerate(args, start=1):
                if is_undecoded(typed):
                    message = (
                        f"argument {number}, '{typed}', is no UTF-8; a file may come from stdin"
                    )
                    raise click.UsageError(message)
            return super().make_context(info_name, args, parent, **more)

    def instead(self, word: str) -> str:
        """Return what to type instead of another's verb, or of a noun without one."""
        listed = self.commands["list"]
        assert isinstance(listed, click.Group)
        return elsewhere.verb(word, listed.commands)

    def invoke(self, context: click.Context) -> Any:  # noqa: ANN401 - click's
        """Run the verb."""
        with _quoted():
            return super().invoke(context)


@contextlib.contextmanager
def _quoted() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        error.message = harmless(error.message)  # type: ignore[misc]  # it is what is shown
        raise


class Nouns(_Group):
    """A group whose commands are nouns: singular and plural name the same one."""

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return the command of this name, or of its plural or singular."""
        found = (super(Nouns, self).get_command(context, each) for each in elsewhere.forms(name))
        return next((each for each in found if each is not None), None)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command under its own name, whichever form was typed."""
        _, command, rest = super().resolve_command(context, args)
        return command.name if command else None, command, rest


class Bare(click.Command):
    """A verb that needs no noun, since one kind of thing is all it takes: `put file` is `put`."""

    nouns = ("file", "files", "job", "jobs", "commit", "commits")

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Read what was typed; a noun before the thing itself says nothing."""
        named = len(args) > 1 and args[0] in self.nouns and not args[1].startswith("-")
        return super().parse_args(context, args[1:] if named else args)


home = click.option(
    "--home", metavar="DIR", help="State directory; TRUNKLINE_HOME or ~/.trunkline by default."
)
spec_files = click.option(
    "--file",
    "-f",
    "files",
    multiple=True,
    required=True,
    type=click.Path(),
    metavar="FILE",
    help="JSON or YAML; - is stdin.",
)
reprocess = click.option("--reprocess", is_flag=True, help="Run what is done, too.")
whole = click.option(
    "--pipeline",
    "-p",
    "--job",
    "-j",
    "whole",
    metavar="NAME",
    help="The same as the first argument.",
)


def one_of(argument: str | None, option: str | None) -> str:
    """Return what was named, by an argument or by the option that stands for it; empty if nothing was."""
    if argument and option:
        raise click.UsageError("name one pipeline, job or worker")
    return argument or option or ""


_output = click.option(
    "--output",
    "-o",
    type=click.Choice(FORMS),
    default="table",
    show_default=True,
    help="Form of the answer.",
)
_limit = click.option(
    "--limit", type=click.IntRange(0), default=0, metavar="N", help="So many entries; 0 for all."
)


def asking(verb: F) -> F:
    """Give a verb its first argument, `Asked`, from the options that all such verbs take."""

    @functools.wraps(verb)
    def called(home: str | None, output: str, **arguments: Any) -> Any:  # noqa: ANN401 - click's
        return verb(Asked(home=home, output=output), **arguments)

    return home(_output(called))  # type: ignore[return-value]


def reaching(verb: F) -> F:
    """Do as `asking` for a verb that prints contents, which have no other form."""

    @functools.wraps(verb)
    def called(home: str | None, **arguments: Any) -> Any:  # noqa: ANN401 - click's
        return verb(Asked(home=home, output="table"), **arguments)

    return home(called)  # type: ignore[return-value]


def printing(verb: F) -> F:
    """Do as `asking` for a verb that asks no installation."""

    @functools.wraps(verb)
    def called(output: str, **arguments: Any) -> Any:  # noqa: ANN401 - click's
        return verb(Asked(home=None, output=output), **arguments)

    return _output(called)  # type: ignore[return-value]


def listing(verb: F) -> F:
    """Do as `asking`, with a limit."""

    @functools.wraps(verb)
    def called(home: str | None, output: str, limit: int, **arguments: Any) -> Any:  # noqa: ANN401
        return verb(Asked(home=home, output=output, limit=limit), **arguments)

    return home(_output(_limit(called)))  # type: ignore[return-value]


def example(*lines: str) -> str:
    """Return the end of a verb's help: how it is used. Each verb has one."""
    return "\n".join(
        ("\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {each}" for each in lines))
    )


def both(
    first: click.Group, second: click.Group, name: str, *, epilog: str
) -> Callable[[F], click.Command]:
    """Make one command of two groups."""

    def made(verb: F) -> click.Command:
        command = click.command(name, epilog=epilog)(verb)
        first.add_command(command)
        second.add_command(command)
        return command

    return made
