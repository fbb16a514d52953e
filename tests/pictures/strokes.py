"""Pieces of SVG that panels are drawn with, and where a value lies in a panel."""

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from tests.pictures import units
from tests.pictures.figures import Series, Span

LETTER = 6.2
"""Pixels of a letter at 11 px, on average; of a large one half as much again."""
HOLE = 3.5
"""Steps without a value after which a curve is cut."""

Point = tuple[float, float]
Plot = tuple[float, float, float, float]
"""Where values lie in a panel: left, top, width, height."""


def text(
    x: float,
    y: float,
    what: str,
    *,
    size: float = 11,
    fill: str = units.TEXT,
    anchor: str = "start",
    weight: int = 400,
) -> str:
    """Return a line of text."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(what)}</text>'
    )


def box(x: float, y: float, width: float, height: float, fill: str, *, opacity: float = 1.0) -> str:
    """Return a filled rectangle."""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'fill="{fill}" fill-opacity="{opacity:.2f}"/>'
    )


def rule(x: float, y: float, to_x: float, to_y: float) -> str:
    """Return a thin line of a grid."""
    return (
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{units.BORDER}"/>'
    )


def line(points: Iterable[Point], stroke: str, width: float) -> str:
    """Return a curve."""
    return f'<polyline points="{_listed(points)}" fill="none" stroke="{stroke}" stroke-width="{width}" stroke-linejoin="round"/>'


def area(upper: Sequence[Point], lower: Sequence[Point], fill: str, opacity: float) -> str:
    """Return what is between two curves."""
    around = _listed([*upper, *reversed(lower)])
    return f'<polygon points="{around}" fill="{fill}" fill-opacity="{opacity:.2f}"/>'


def clock(seconds: float) -> str:
    """Return the time of the day; pictures say UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%H:%M:%S")


def place(at: float, value: float, top: float, span: Span, plot: Plot) -> Point:
    """Return where a value lies."""
    x = plot[0] + plot[2] * (at - span.start) / span.seconds
    return x, plot[1] + plot[3] * (1 - value / top)


def axes(marks: Sequence[float], unit: str, span: Span, plot: Plot) -> Iterator[str]:
    """Yield the values at the left, a line of the grid for each, and the times below."""
    for mark in marks:
        y = plot[1] + plot[3] * (1 - mark / marks[-1])
        yield rule(plot[0], y, plot[0] + plot[2], y)
        yield text(plot[0] - 6, y + 4, units.told(mark, unit), anchor="end", fill=units.FAINT)
    yield from times(span, plot)


def times(span: Span, plot: Plot) -> Iterator[str]:
    """Yield round times below what is plotted."""
    fits = max(int(plot[2] / 72), 1)
    step = next(
        (each for each in (5, 10, 15, 30, 60, 120, 300, 600, 1800) if span.seconds / each <= fits),
        3600,
    )
    at = (span.start // step + 1) * step
    while at < span.end - step / 8:
        x = plot[0] + plot[2] * (at - span.start) / span.seconds
        yield text(
            x, plot[1] + plot[3] + 15, clock(at), anchor="middle", fill=units.FAINT, size=10.5
        )
        at += step


def legend(keys: Sequence[tuple[str, str]], width: float, bottom: float) -> tuple[list[str], float]:
    """Return names with their colours, in as many lines as they need, and the height of those."""
    lines: list[list[tuple[float, str, str]]] = [[]]
    x = 12.0
    for name, colour in keys:
        needs = 30 + LETTER * (len(name) + sum(map(str.isupper, name)) / 3)
        if x + needs > width - 8 and lines[-1]:
            lines.append([])
            x = 12.0
        lines[-1].append((x, name, colour))
        x += needs
    drawn = []
    for number, row in enumerate(lines):
        y = bottom - 9 - 16 * (len(lines) - 1 - number)
        for x, name, colour in row:
            drawn += [box(x, y - 5, 12, 3.5, colour), text(x + 17, y, name, fill=units.FAINT)]
    return drawn, 16.0 * len(lines) + 6


def parts(series: Series, span: Span) -> Iterator[list[Point]]:
    """Yield the pieces of a curve between its holes; a lone value is a short piece."""
    piece: list[Point] = []
    for at, value in series.points:
        if piece and at - piece[-1][0] > HOLE * span.step:
            yield piece
            piece = []
        piece.append((at, value))
    if piece:
        yield piece


def stairs(points: Sequence[Point]) -> list[Point]:
    """Return a curve whose values stay until the next one."""
    found: list[Point] = []
    for at, value in points:
        if found:
            found.append((at, found[-1][1]))
        found.append((at, value))
    return found


def stacked(series: Sequence[Series]) -> list[tuple[Series, Mapping[float, float]]]:
    """Return each curve on top of those before it, with what lies below it."""
    found: list[tuple[Series, Mapping[float, float]]] = []
    ground: dict[float, float] = {}
    for each in series:
        below = dict(ground)
        points = [(at, value + below.get(at, 0.0)) for at, value in each.points]
        ground.update(points)
        found.append((Series(name=each.name, points=points), below))
    return found


def runs(series: Series, span: Span) -> Iterator[tuple[float, float, float]]:
    """Yield (from, to, value) for each time in which the value stays the same."""
    for part in parts(series, span):
        since, value = part[0]
        for at, now in part[1:]:
            if now != value:
                yield since, at, value
                since, value = at, now
        yield since, part[-1][0] + span.step, value


def _listed(points: Iterable[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
