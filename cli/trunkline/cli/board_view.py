"""The board of `top` as it looks: for a terminal, and for a pipe."""

from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from trunkline.cli import render
from trunkline.cli.core import pace
from trunkline.cli.core.board import Board, JobRow
from trunkline.cli.core.explanations import counted, span
from trunkline.runtime import terminals

WIDTH_PIPED = 120
_JOBS, _WORKERS, _SCALERS = 8, 16, 8
"""Rows that are shown of each."""
_BAR = 24
_NUMBERS = (
    "done",
    "failed",
    "pace",
    "left",
    "for",
    "held",
    "ready",
    "busy",
    "wait",
    "in flight",
    "ago",
)


def screen(shown: Board, *, away: str = "", rows: int = 1000) -> RenderableType:
    """Return a board as it is printed.

    Args:
        shown: The board.
        away: Why there is no newer one; empty if this is new.
        rows: Lines that there is room for.
    """
    spare = max(4, rows - 14 - len(shown.jobs[:_JOBS]) - len(shown.scalers[:_SCALERS]))
    parts: list[RenderableType] = [_head(shown, away)]
    parts += _titled("jobs", _jobs(shown), len(shown.jobs), _JOBS, "none runs")
    parts += _titled("scaler", _scalers(shown), len(shown.scalers), _SCALERS, "no pipeline")
    most = min(_WORKERS, spare)
    parts += _titled("workers", _workers(shown, most), len(shown.workers), most, "none")
    parts += _titled("last failures", _failures(shown), len(shown.failures), 100, "none")
    return Group(*parts)


def print_once(shown: Board, *, console: Console | None = None) -> None:
    """Print a board to stdout: in colours on a terminal, else plain."""
    out = console or Console()
    if console is None and not out.is_terminal:
        out = Console(width=WIDTH_PIPED, no_color=True, highlight=False)
    out.print(screen(shown))


def _head(shown: Board, away: str) -> RenderableType:
    workers = sum(each.have for each in shown.scalers)
    busy = sum(each.busy for each in shown.scalers)
    text = Text.assemble(
        ("trunkline top", "bold"), f"  {terminals.line(shown.name)}   ", f"{counted(len(shown.jobs), 'job')}   ",
        f"{busy} of {workers} workers are busy",
    )  # fmt: skip
    if away:
        text.append(f"   {terminals.line(away)}", style="bold red")
    return text


def _titled(
    title: str, table: RenderableType, count: int, most: int, none: str
) -> Iterable[RenderableType]:
    more = f" ({most} of {count})" if count > most else ""
    yield Rule(f"{title}{more}", align="left", style="dim")
    yield table if count else Text(none, style="dim")


def _table(*headings: str) -> Table:
    """Return a table whose last column takes what is left, if it holds sentences."""
    sentences = headings[-1] in ("what", "why")
    table = Table(box=None, pad_edge=False, show_edge=False, expand=sentences, header_style="dim")
    for heading in headings:
        table.add_column(
            heading,
            justify="right" if heading in _NUMBERS else "left",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if sentences and heading == headings[-1] else None,
        )
    return table


def _jobs(shown: Board) -> Table:
    table = _table("job", "state", "", "done", "failed", "pace", "left", "for")
    for row in shown.jobs[:_JOBS]:
        failed = Text(str(row.failed), style="red" if row.failed else "dim")
        table.add_row(
            _cell(row.name), _state(row.state), _bar(row), f"{row.done:,} / {_total(row)}", failed,
            pace.told(row.per_s), "?" if row.left_s is None else span(row.left_s), span(row.for_s),
        )  # fmt: skip
    return table


def _bar(row: JobRow) -> ProgressBar:
    total = row.total or max(row.done * 2, 1)
    done = "red" if row.failed else "green"
    return ProgressBar(total=total, completed=row.done, width=_BAR, complete_style=done)


def _total(row: JobRow) -> str:
    return "?" if row.total is None else f"{row.total:,}"


def _workers(shown: Board, most: int) -> Table:
    table = _table("worker", "phase", "held", "datum", "for")
    for row in shown.workers[:most]:
        for_ = "" if row.for_s is None else span(row.for_s)
        table.add_row(_cell(row.name), _state(row.phase), str(row.held), _cell(row.at or "-"), for_)
    return table


def _scalers(shown: Board) -> Table:
    table = _table("pipeline", "have / want", "ready", "busy", "wait", "in flight", "why")
    for row in shown.scalers[:_SCALERS]:
        why = _cell(row.problem, "red") if row.problem else _cell(row.why)
        numbers = (f"{row.have} / {row.want}", row.ready, row.busy, row.pending, row.in_flight)
        table.add_row(_cell(row.pipeline), *map(str, numbers), why)
    return table


def _failures(shown: Board) -> Table:
    table = _table("ago", "what")
    for row in shown.failures:
        table.add_row(span(row.ago_s), _cell(row.text, "red"))
    return table


def _state(state: str) -> Text:
    return _cell(state, render.colour(state))


def _cell(text: str, style: str = "") -> Text:
    """Return what others have written: nothing in it is markup, commands a terminal, or makes a row."""
    return Text(terminals.line(text), style=style)
