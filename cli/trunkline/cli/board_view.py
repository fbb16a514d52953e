"""The board of `top` as it looks: for a terminal, and for a pipe."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.console import Console, Group, RenderableType
from rich.text import Text

from trunkline.cli import board_tables, render
from trunkline.cli.board_tables import Bar, Column, Kind, Part
from trunkline.cli.core import board as boards
from trunkline.cli.core import fitting, pace
from trunkline.cli.core.board import Board, JobRow
from trunkline.cli.core.explanations import span
from trunkline.contracts.wording import counted
from trunkline.runtime import terminals

T = TypeVar("T")

WIDTH_PIPED = 120
LINES_ONCE = 60
"""That are printed at most where there is no screen to fit."""
ROOMY = 36
"""Lines of a screen on which parts are ruled off."""


def screen(
    shown: Board, *, away: str = "", columns: int = WIDTH_PIPED, rows: int = LINES_ONCE
) -> RenderableType:
    """Return a board as it is printed.

    Args:
        shown: The board.
        away: Why there is no newer one; empty if this is new.
        columns: Characters that a line has room for.
        rows: Lines that there is room for.
    """
    ruled = rows >= ROOMY
    lines: list[RenderableType] = [_head(shown, columns)]
    if away:
        lines.append(Text(terminals.line(away), style="bold red"))
    counts = {
        "jobs": len(shown.jobs),
        "scalers": len(shown.scalers),
        "failures": len(shown.failures),
        "workers": len(shown.workers),
    }
    given = fitting.lines(counts, rows - len(lines), heading=2 if ruled else 1)
    parts = {"jobs": _jobs, "scalers": _scalers, "workers": _workers, "failures": _failures}
    for name, part in parts.items():
        if name in given:
            lines += board_tables.drawn(part(shown, given[name]), columns, ruled=ruled)
    for line in lines:
        if isinstance(line, Text):
            line.truncate(columns, overflow="ellipsis")
            line.no_wrap = True
    return Group(*lines)


def print_once(shown: Board, *, console: Console | None = None) -> None:
    """Print a board to stdout: in colours on a terminal, else plain."""
    out = console or Console()
    if console is None and not out.is_terminal:
        out = Console(width=WIDTH_PIPED, no_color=True, highlight=False)
    out.print(screen(shown, columns=out.width))


def _head(shown: Board, columns: int) -> Text:
    """Return what is said first: numbers whole or not at all, and of a name what there is room for."""
    workers = sum(each.have for each in shown.scalers)
    busy = sum(each.busy for each in shown.scalers)
    head = Text("trunkline top", style="bold")
    numbers = (
        counted(len(shown.jobs), "job"),
        f"{busy:,} of {workers:,} {'worker is' if workers == 1 else 'workers are'} busy",
    )
    for part in (*numbers, terminals.line(shown.name)):
        if head.cell_len + len(part) + 3 <= columns or part not in numbers:
            head = Text.assemble(head, "   ", part)
    return head


def _jobs(shown: Board, most: int) -> Part:
    rows, rest = _cut(shown.jobs, most)
    return jobs_part(rows)._replace(more=_more(str(each.state) for each in rest))


def jobs_part(rows: Sequence[JobRow]) -> Part:
    """Return the table of jobs."""
    columns = (
        Column("job", Kind.NAME, [_cell(row.name) for row in rows]),
        Column("state", Kind.SENTENCE, [_state(row.state) for row in rows]),
        Column("", Kind.BAR, [_bar(row) for row in rows]),
        Column("done", Kind.NUMBER, [_cell(f"{row.done:,} / {_total(row)}") for row in rows]),
        Column("failed", Kind.NUMBER, [_failed(row) for row in rows]),
        Column("pace", Kind.NUMBER, [_cell(pace.told(row.per_s)) for row in rows]),
        Column("left", Kind.NUMBER, [_left(row) for row in rows]),
        Column("for", Kind.NUMBER, [_duration(row.for_s) for row in rows]),
    )
    name, state, bar, _, _, per_s, _, for_s = range(len(columns))
    steps = (
        *((bar, 8), (name, 18), (bar, 0), (for_s, 0)),
        *((name, 12), (per_s, 0), (state, 0), (name, 6)),
    )
    return Part("jobs", "none runs", columns, steps)


def _scalers(shown: Board, most: int) -> Part:
    rows, rest = _cut(shown.scalers, most)
    if rest:
        rows = (*rows, boards.summed(rest))
    columns = (
        Column("pipeline", Kind.NAME, [_cell(row.pipeline) for row in rows]),
        Column("have / want", Kind.NUMBER, [_cell(f"{row.have:,} / {row.want:,}") for row in rows]),
        Column("ready", Kind.NUMBER, [_cell(f"{row.ready:,}") for row in rows]),
        Column("busy", Kind.NUMBER, [_cell(f"{row.busy:,}") for row in rows]),
        Column("wait", Kind.NUMBER, [_cell(f"{row.pending:,}") for row in rows]),
        Column("in flight", Kind.NUMBER, [_cell(f"{row.in_flight:,}") for row in rows]),
        Column("why", Kind.SENTENCE, [_why(row) for row in rows]),
    )
    name, _, ready, _, _, in_flight, why = range(len(columns))
    steps = (
        *((why, 28), (name, 20), (ready, 0), (in_flight, 0)),
        *((why, 16), (name, 12), (why, 0), (name, 6)),
    )
    return Part("scaler", "no pipeline", columns, steps)


def _workers(shown: Board, most: int) -> Part:
    rows, rest = _cut(shown.workers, most)
    columns = (
        Column("worker", Kind.NAME, [_cell(row.name) for row in rows]),
        Column("phase", Kind.SENTENCE, [_state(row.phase) for row in rows]),
        Column("held", Kind.NUMBER, [_cell(str(row.held)) for row in rows]),
        Column("job", Kind.NAME, [_cell(row.job or "-") for row in rows]),
        Column(
            "datum",
            Kind.NUMBER,
            [_cell("" if row.index is None else str(row.index)) for row in rows],
        ),
        Column("for", Kind.NUMBER, [_duration(row.for_s) for row in rows]),
    )
    name, phase, held, job, _, _ = range(len(columns))
    steps = (
        *((job, 20), (name, 20), (held, 0), (job, 0)),
        *((name, 12), (phase, 0), (name, 6)),
    )
    return Part("workers", "none", columns, steps, _more(each.phase for each in rest))


def _failures(shown: Board, most: int) -> Part:
    rows = shown.failures[:most]
    columns = (
        Column("ago", Kind.NUMBER, [_duration(row.ago_s) for row in rows]),
        Column("what", Kind.SENTENCE, [_cell(row.text, "red") for row in rows]),
    )
    return Part("last failures", "none", columns, ((1, 10),))


def _cut(rows: Sequence[T], most: int) -> tuple[Sequence[T], Sequence[T]]:
    """Return the rows that are shown, and those of which a last line tells, where there are two lines or more."""
    if len(rows) <= most or most < 2:
        return rows[:most], ()
    return rows[: most - 1], rows[most - 1 :]


def _more(words: Iterable[str]) -> str:
    """Return `18 more: 15 idle, 3 busy`."""
    found = Counter(words)
    told = ", ".join(f"{many} {word}" for word, many in found.most_common())
    return f"{found.total()} more: {told}" if found else ""


def _bar(row: JobRow) -> Bar:
    return Bar(row.done, row.total, "red" if row.failed else "green")


def _failed(row: JobRow) -> Text:
    return Text(f"{row.failed:,}", style="red" if row.failed else "dim")


def _total(row: JobRow) -> str:
    return "?" if row.total is None else f"{row.total:,}"


def _left(row: JobRow) -> Text:
    if row.state.ended:
        return Text("-")
    return Text("?" if row.left_s is None else span(row.left_s))


def _duration(seconds: float | None) -> Text:
    return Text("" if seconds is None else span(seconds))


def _why(row: boards.ScalerRow) -> Text:
    return _cell(row.problem, "red") if row.problem else _cell(row.why)


def _state(state: str) -> Text:
    return _cell(state, render.colour(state))


def _cell(text: str, style: str = "") -> Text:
    """Return what others have written: nothing in it is markup, commands a terminal, or makes a row."""
    return Text(terminals.line(text), style=style)
