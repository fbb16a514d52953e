"""How answers look, of all verbs: the one place that knows the forms of `-o`.

    table   aligned columns when piped, coloured on a terminal; of one thing, YAML
    wide    the same, with more columns
    json    the records as `api` describes them: one, or a list
    yaml    the same
    name    a line for each thing: the name by which other verbs know it, or a label; see `naming`

Tables and sentences are for people and may change; the other forms are for programs.
"""

import math
import sys
from collections.abc import AsyncIterable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from trunkline.cli import naming, saying
from trunkline.cli.core import explanations
from trunkline.cli.options import Asked
from trunkline.contracts import api
from trunkline.runtime import terminals
from trunkline.runtime.clock import SystemClock

T = TypeVar("T", bound=msgspec.Struct)

_COLOURS = {
    **dict.fromkeys(("SUCCESS", "PROCESSED", "RUNNING", "busy"), "green"),
    **dict.fromkeys(
        ("FAILURE", "FAILED", "QUARANTINED", "REFUSED", "CRASHING", "UNRUNNABLE"), "red"
    ),
    **dict.fromkeys(("KILLED", "KILLING", "STOPPED", "RECOVERED", "draining"), "yellow"),
    **dict.fromkeys(("SKIPPED", "STANDBY", "WAITING", "idle", "starting"), "dim"),
}


def table(
    asked: Asked, headings: Sequence[str], rows: Iterable[Sequence[object]], *, wide: int = 0
) -> None:
    """Print rows under their headings; the last `wide` columns with `-o wide` only."""
    shown = len(headings) - (0 if asked.output == "wide" else wide)
    headings = headings[:shown]
    texts = [[_cell(cell) for cell in row[:shown]] for row in rows]
    if sys.stdout.isatty():
        _rich_table(headings, texts)
        return
    widths = [
        max([len(heading), *(len(row[column]) for row in texts)])
        for column, heading in enumerate(headings)
    ]
    for row in ([heading.upper() for heading in headings], *texts):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        saying.say(line.rstrip())


def records(asked: Asked, found: Sequence[msgspec.Struct]) -> bool:
    """Print a list in a form for programs if that was asked for; return whether it was."""
    if asked.for_people:
        return False
    if asked.output == "name":
        for name in filter(None, map(naming.of, found)):
            saying.exactly(name)
    else:
        _print(asked, [_plain(each) for each in found])
    return True


def one(asked: Asked, found: object) -> bool:
    """Print one thing in a form for programs if that was asked for; return whether it was."""
    if asked.for_people:
        return False
    record(asked, found)
    return True


def record(asked: Asked, found: object) -> None:
    """Print one thing, for people as YAML."""
    if asked.output == "name":
        if name := naming.of(found):  # a board without jobs has none
            saying.exactly(name)
    else:
        _print(asked, _plain(found))


def streamed(asked: Asked, found: object) -> None:
    """Print one of many things as it comes: JSON on one line, a document of YAML, a name."""
    if asked.output == "json":
        saying.document(_json(_plain(found)))
        return
    if asked.output == "yaml":
        saying.document("---")
    record(asked, found)


def done(asked: Asked, found: object, sentence: str) -> None:
    """Say what a verb did: a sentence for people, else the record."""
    if not one(asked, found):
        saying.say(sentence)


def gone(asked: Asked, found: object | None, sentence: str) -> None:
    """Say what was deleted; its record is lost with the answer to a request that was repeated."""
    if found is None:
        (saying.say if asked.for_people else saying.tell)(sentence)
    else:
        done(asked, found, sentence)


def warn(text: str) -> None:
    """Tell people something that stops nothing."""
    saying.tell(f"warning: {text}")


async def gathered(asked: Asked, source: AsyncIterable[T]) -> list[T]:
    """Return what a list yields, up to the limit; say so where there would be more."""
    found: list[T] = []
    async for each in source:
        if asked.limit and len(found) == asked.limit:
            warn(f"there are more than {asked.limit}; --limit 0 shows all")
            break
        found.append(each)
    return found


def age(at_ns: int) -> str:
    """Return how long ago something was, as one number with its unit."""
    return "-" if at_ns == 0 else duration((SystemClock().wall_ns() - at_ns) / 1e9)


def duration(seconds: float) -> str:
    """Return a duration as people say it: 0.3s, 42s, 5m, 3h, 2d."""
    return explanations.span(seconds)


def seconds(value: float) -> str:
    """Return a duration that may be short: 0.35ms, 12ms, and as people say it from a second on."""
    if value >= 1:
        return duration(value)
    return f"{value * 1000:.{2 if value < 0.01 else 0}f}ms" if value else "0"


def took(began_ns: int, ended_ns: int) -> str:
    """Return how long something takes that began, and may have ended."""
    if began_ns == 0:
        return "-"
    return duration(((ended_ns or SystemClock().wall_ns()) - began_ns) / 1e9)


def size(count: int) -> str:
    """Return bytes as people say them."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def colour(word: str) -> str:
    """Return the style in which a state or a phase is shown; empty for a plain one."""
    return _COLOURS.get(word, "")


def _rich_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich import box, console, text  # noqa: PLC0415 - a terminal's only
    from rich import table as tables  # noqa: PLC0415

    shown = tables.Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings:
        shown.add_column(heading, overflow="fold")
    for row in rows:
        shown.add_row(*(text.Text(cell, style=colour(cell)) for cell in row))
    console.Console().print(shown)


def _print(asked: Asked, plain: object) -> None:
    if asked.output == "json":
        saying.document(msgspec.json.format(_json(plain), indent=2))
    else:
        saying.document(_yaml(plain))


def _yaml(plain: object) -> str:
    """Return YAML in which each text has one line, of whatever length, so that no line of it looks like a field."""
    import yaml  # noqa: PLC0415 - JSON and tables do without

    class Dumper(yaml.SafeDumper):
        """One that quotes ends of lines."""

    def quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        style = '"' if "\n" in text else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, quoted)

    def form(*, ascii_only: bool) -> str:
        return yaml.dump(
            plain, Dumper=Dumper, sort_keys=False, width=math.inf, allow_unicode=not ascii_only
        )

    text = form(ascii_only=False)
    if terminals.harmless(text) != text:  # in quotes, as escapes, all that is no ASCII
        text = form(ascii_only=True)
    return text


def _json(plain: object) -> str:
    return terminals.harmless_json(msgspec.json.encode(plain).decode())


def _plain(found: object) -> Any:  # noqa: ANN401 - what JSON can hold
    """Return records as what JSON can hold, raw parts included.

    Programs are told what the wire spares itself: the names of fields where it has their positions only, and the
    numbers of a first attempt.
    """
    plain = _named(found, msgspec.json.decode(msgspec.json.encode(found)))
    if isinstance(found, api.LogEntry):
        plain["line"] |= {"attempt": found.line.attempt, "generation": found.line.generation}
    return plain


def _named(found: object, plain: Any) -> Any:  # noqa: ANN401 - what JSON can hold
    """Return the plain form with names for fields at any depth."""
    match found:
        case msgspec.Struct() if found.__struct_config__.array_like:
            fields = zip(found.__struct_fields__, plain, strict=True)
            return {name: _named(getattr(found, name), each) for name, each in fields}
        case msgspec.Struct():
            names = zip(found.__struct_fields__, found.__struct_encode_fields__, strict=True)
            told = {to: _named(getattr(found, of), plain[to]) for of, to in names if to in plain}
            return {**plain, **told}
        case tuple() if hasattr(found, "_fields"):
            return {
                name: _named(*each) for name, *each in zip(found._fields, found, plain, strict=True)
            }
        case tuple() | list():
            return [_named(one, each) for one, each in zip(found, plain, strict=True)]
        case dict():
            pairs = zip(plain, found.values(), strict=True)
            return {key: _named(value, plain[key]) for key, value in pairs}
        case _:
            return plain


def _cell(value: object) -> str:
    match value:
        case None | "":
            return "-"
        case _:
            return terminals.harmless(" ".join(str(value).split()))
