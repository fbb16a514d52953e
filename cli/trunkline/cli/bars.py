"""Tables with bars that are drawn in place on a terminal, as wide as that is at the time."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from trunkline.cli import board_tables, render
from trunkline.cli.board_tables import Column, Kind, Part
from trunkline.cli.core.explanations import span
from trunkline.runtime import terminals


class Bars:
    """What is drawn, and lines that are said above it."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def draw(self, part: Part) -> None:
        """Draw this in the place of what was there."""
        self._live.update(_Fitting(part), refresh=True)

    def tell(self, text: str) -> None:
        """Say a line that stays."""
        self._live.console.print(terminals.line(text), highlight=False, markup=False)


class Put(NamedTuple):
    """How far a put is: files and bytes done and in all, seconds to go and since it began."""

    where: str
    files: int
    of_files: int
    size: int
    of_size: int
    left_s: float | None
    for_s: float


def put_part(row: Put) -> Part:
    """Return the table of a put."""
    bar = board_tables.Bar(row.size or row.files, row.of_size or row.of_files, "green")
    cells = {
        "files": f"{row.files:,} / {row.of_files:,}",
        "bytes": f"{render.size(row.size)} / {render.size(row.of_size)}",
        "left": "?" if row.left_s is None else span(row.left_s),
        "for": span(row.for_s),
    }
    columns = (
        Column("", Kind.NAME, [Text(terminals.line(row.where))]),
        Column("", Kind.BAR, [bar]),
        *(Column(heading, Kind.NUMBER, [Text(text)]) for heading, text in cells.items()),
    )
    name, drawn_, _, size, _, for_s = range(len(columns))
    return Part("put", "", columns, ((drawn_, 8), (name, 12), (drawn_, 0), (for_s, 0), (size, 0)))


@contextlib.contextmanager
def drawn(console: Console, *, transient: bool) -> Iterator[Bars]:
    """Yield what draws; the last of it stays, or nothing does."""
    with Live(console=console, auto_refresh=False, transient=transient) as live:
        yield Bars(live)


class _Fitting:
    def __init__(self, part: Part) -> None:
        self._part = part

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from board_tables.drawn(self._part, options.max_width, ruled=False)
