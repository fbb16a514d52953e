"""The tables of `top`, line by line: each cell is cut here, by what it holds, and never by whoever prints it.

number    is whole, or its column is left out
bar       is drawn as long as there is room
name      loses its middle: what tells it from its like is at both ends
sentence  loses its end
"""

import enum
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import RenderableType
from rich.rule import Rule
from rich.text import Text

from trunkline.cli.core import fitting

_BAR = 24
_END = 8
"""Characters of a name's end that are shown, of half its width at most."""


class Kind(enum.Enum):
    """What the cells of a column hold."""

    NUMBER = enum.auto()
    BAR = enum.auto()
    NAME = enum.auto()
    SENTENCE = enum.auto()


class Bar(NamedTuple):
    """How much of something is done."""

    done: int
    total: int | None
    style: str

    def drawn(self, width: int) -> Text:
        """Return it this wide; full only once all is done."""
        full = width * min(self.done, self.total) // self.total if self.total else 0
        return Text.assemble(("━" * full, self.style), ("─" * (width - full), "dim"))


class Column(NamedTuple):
    """A column of a table."""

    heading: str
    kind: Kind
    cells: Sequence[Text | Bar]

    @property
    def natural(self) -> int:
        """How wide it would be."""
        widths = (each.cell_len if isinstance(each, Text) else _BAR for each in self.cells)
        return max(len(self.heading), *widths)


class Part(NamedTuple):
    """A table of the board."""

    title: str
    none: str
    """What is said where it is empty."""
    columns: Sequence[Column]
    steps: Sequence[tuple[int, int]]
    """In what order columns give way; see `fitting`."""
    more: str = ""
    """What is said below it."""


def drawn(part: Part, room: int, *, ruled: bool) -> Iterator[RenderableType]:
    """Yield the lines of a part.

    Args:
        part: What there is.
        room: Characters of a line.
        ruled: Whether it has a line above it; its title is the first heading otherwise.
    """
    empty = not part.columns[0].cells
    if ruled:
        yield Rule(part.title, align="left", style="dim")
    title = Text(part.title, style="bold")
    if empty:
        none = Text(part.none, style="dim")
        yield none if ruled else Text.assemble(title, "  ", none)
        return
    natural = [each.natural for each in part.columns]
    headed = part.columns[0].kind is Kind.NAME  # a title above numbers stands for itself
    if not ruled and headed:
        natural[0] = max(natural[0], len(part.title))
    widths = fitting.widths(natural, part.steps, room)
    shown = [(column, width) for column, width in zip(part.columns, widths, strict=True) if width]
    headings: list[Text | Bar] = [Text(column.heading, style="dim") for column, _ in shown]
    if not ruled and headed and shown:
        headings[0] = title
    yield _line(headings, shown) if ruled or headed else title
    for row in range(len(part.columns[0].cells)):
        yield _line([column.cells[row] for column, _ in shown], shown)
    if part.more:
        yield Text(part.more, style="dim")


def _line(cells: Sequence[Text | Bar], shown: Sequence[tuple[Column, int]]) -> Text:
    made = []
    for cell, (column, width) in zip(cells, shown, strict=True):
        fitted = _fitted(cell, width, column.kind)
        spare = Text(" " * (width - fitted.cell_len))
        made.append(spare + fitted if column.kind is Kind.NUMBER else fitted + spare)
    line: Text = Text(" " * fitting.GAP).join(made)
    line.rstrip()
    return line


def _fitted(cell: Text | Bar, width: int, kind: Kind) -> Text:
    if isinstance(cell, Bar):
        return cell.drawn(width)
    if cell.cell_len <= width:
        return cell
    cut = cell.copy()
    if kind is Kind.NAME and width > 2:
        end = min(_END, width // 2)
        cut.truncate(width - end, overflow="ellipsis")
        return cut + cell[-end:]
    cut.truncate(width, overflow="ellipsis")
    return cut
