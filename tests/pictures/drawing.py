"""Dashboards as SVG: stats, curves, state timelines and tables, on Grafana's grid and in its colours.

Small on purpose: what a panel shows is asked of Prometheus by its own expressions, and only the look is ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.pictures import strokes, units
from tests.pictures.figures import Shown, Span

COLUMN, LINE, GAP, HEAD = 54, 29, 8, 66
"""Pixels of a grid's column and line, between panels, and of the picture's head."""
LEFT, RIGHT, TOP, FOOT = 62, 14, 34, 20
"""Pixels in a panel around what it plots: values, nothing, the title, times."""
ROW = 23
"""Pixels of a table's row."""


def dashboard(board: Mapping[str, Any], panels: Sequence[Shown], span: Span, note: str) -> str:
    """Return the picture of a whole dashboard."""
    bottom = max(each["gridPos"]["y"] + each["gridPos"]["h"] for each in board["panels"])
    width, height = 24 * COLUMN + GAP, HEAD + bottom * LINE + GAP
    shown_from = f"{strokes.clock(span.start)} to {strokes.clock(span.end)} UTC"
    drawn = [
        strokes.box(0, 0, width, height, units.BACK),
        strokes.text(16, 30, board["title"], size=20, weight=600),
        strokes.text(16, 51, board["description"], fill=units.FAINT, size=12.5),
        strokes.text(width - 14, 30, shown_from, anchor="end", size=13),
        strokes.text(width - 14, 51, note, anchor="end", fill=units.NAMED["orange"], size=12.5),
    ]
    for each in board["panels"]:
        if each["type"] == "row":
            y = HEAD + each["gridPos"]["y"] * LINE + 19
            drawn.append(strokes.text(12, y, f"▾ {each['title']}", size=14, weight=600))
    drawn += [_framed(each, span) for each in panels]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="Inter, Roboto, DejaVu Sans, sans-serif">' + "\n".join(drawn) + "</svg>"
    )


def _framed(shown: Shown, span: Span) -> str:
    place = shown.panel["gridPos"]
    x, y = GAP + place["x"] * COLUMN, HEAD + place["y"] * LINE
    width, height = place["w"] * COLUMN - GAP, place["h"] * LINE - GAP
    inside = DRAWN[shown.panel["type"]](shown, span, width, height)
    title = strokes.text(10, 20, shown.panel["title"], weight=500, size=12.5)
    return (
        f'<svg x="{x}" y="{y}" width="{width}" height="{height}">'
        f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="3" fill="{units.PANEL}" '
        f'stroke="{units.BORDER}"/>{title}{"".join(inside)}</svg>'
    )


def _stat(shown: Shown, span: Span, width: float, height: float) -> Iterator[str]:
    """Yield the newest value over its course."""
    text, colour = _newest(shown)
    for series in shown.series[:1]:
        top = max(each for _, each in series.points) or 1.0
        plot = (1.0, height * 0.66, width - 2, height * 0.32)
        for part in strokes.parts(series, span):
            curve = [strokes.place(*point, top, span, plot) for point in part]
            yield strokes.area(curve, [(x, height - 1) for x, _ in curve], colour, 0.16)
            yield strokes.line(curve, colour, 1.2)
    yield strokes.text(
        width / 2, height * 0.62, text, anchor="middle", size=27, weight=600, fill=colour
    )


def _newest(shown: Shown) -> tuple[str, str]:
    """Return a stat's newest value as it is written, and its colour."""
    defaults = shown.panel["fieldConfig"]["defaults"]
    value = shown.series[0].last if shown.series else 0.0
    for mapping in defaults.get("mappings", []) * bool(shown.series):
        if (meant := mapping["options"].get(f"{value:g}")) is not None:
            return meant["text"], units.colour(meant["color"])
    steps = defaults["thresholds"]["steps"]
    reached = [step for step in steps if step["value"] is None or value >= step["value"]]
    text = units.told(value, defaults["unit"]) if shown.series else defaults["noValue"]
    return text, units.colour(reached[-1]["color"])


def _curves(shown: Shown, span: Span, width: float, height: float) -> Iterator[str]:
    """Yield curves with their axes and names; stacked ones lie on each other."""
    defaults = shown.panel["fieldConfig"]["defaults"]
    custom, unit = defaults["custom"], defaults["unit"]
    colours = _colours(shown)
    keys = [(series.name, colour) for series, colour in zip(shown.series, colours, strict=True)]
    names, high = strokes.legend(keys, width, height)
    plot = (LEFT, TOP, width - LEFT - RIGHT, height - TOP - FOOT - high)
    on_others = custom.get("stacking", {}).get("mode") == "normal"
    curves = strokes.stacked(shown.series) if on_others else [(each, {}) for each in shown.series]
    marks = units.ticks(max((v for each, _ in curves for _, v in each.points), default=1.0), unit)
    yield from strokes.axes(marks, unit, span, plot)
    for (series, below), colour in reversed(list(zip(curves, colours, strict=True))):
        for part in strokes.parts(series, span):
            points = (
                strokes.stairs(part) if custom.get("lineInterpolation") == "stepAfter" else part
            )
            curve = [strokes.place(*point, marks[-1], span, plot) for point in points]
            ground = [
                strokes.place(at, below.get(at, 0.0), marks[-1], span, plot) for at, _ in points
            ]
            yield strokes.area(curve, ground, colour, custom.get("fillOpacity", 0) / 100)
            yield strokes.line(curve, colour, custom.get("lineWidth", 1))
    if not shown.series:
        x, y = plot[0] + plot[2] / 2, plot[1] + plot[3] / 2
        yield strokes.text(x, y, "none in this time", anchor="middle", fill=units.FAINT, size=12)
    yield from names


def _bands(shown: Shown, span: Span, width: float, height: float) -> Iterator[str]:
    """Yield a band per series, coloured by its values."""
    (mapping,) = shown.panel["fieldConfig"]["defaults"]["mappings"]
    meanings = mapping["options"]
    keys = [(each["text"], units.colour(each["color"])) for each in meanings.values()]
    names, high = strokes.legend(keys, width, height)
    left = max([len(each.name) for each in shown.series] or [0]) * strokes.LETTER + 26
    plot = (left, TOP, width - left - RIGHT, height - TOP - FOOT - high)
    lane = plot[3] / max(len(shown.series), 1)
    for number, series in enumerate(sorted(shown.series, key=lambda each: each.name)):
        y = plot[1] + number * lane
        yield strokes.text(left - 8, y + lane / 2 + 4, series.name, anchor="end", fill=units.FAINT)
        for since, until, value in strokes.runs(series, span):
            x, _ = strokes.place(since, 0, 1, span, plot)
            to, _ = strokes.place(min(until, span.end), 0, 1, span, plot)
            colour = units.colour(meanings[f"{value:.0f}"]["color"])
            yield strokes.box(x, y + lane * 0.12, max(to - x, 1), lane * 0.76, colour, opacity=0.8)
    yield from strokes.times(span, plot)
    yield from names


def _table(shown: Shown, _span: Span, width: float, height: float) -> Iterator[str]:
    """Yield a head and rows; words stand at the left of their column, numbers at the right."""
    cells = [
        [_cell(shown, name, value) for name, value in zip(shown.columns, row, strict=True)]
        for row in shown.rows
    ]
    wide = [
        max(len(each) for each in column) + 3 for column in zip(shown.columns, *cells, strict=True)
    ]
    letter = (width - 24) / max(sum(wide), 1)
    edges = [12 + letter * sum(wide[:at]) for at in range(len(wide) + 1)]
    fits = int((height - TOP) / ROW)
    more = len(cells) + 1 - fits
    if more > 0:
        y = TOP + 13 + (fits - 1) * ROW
        yield strokes.text(edges[0], y, f"and {more + 1} more", fill=units.FAINT, size=12)
        fits -= 1
    for number, row in enumerate([shown.columns, *cells][:fits]):
        y = TOP + 13 + number * ROW
        fill = units.TEXT if number else units.NAMED["blue"]
        for at, cell in enumerate(row):
            words = bool(shown.rows) and isinstance(shown.rows[0][at], str)
            x, anchor = (edges[at], "start") if words else (edges[at + 1] - 6, "end")
            yield strokes.text(x, y, cell, anchor=anchor, fill=fill, size=12)
        yield strokes.rule(10, y + 7, width - 10, y + 7)


DRAWN = {"stat": _stat, "timeseries": _curves, "state-timeline": _bands, "table": _table}


def _cell(shown: Shown, column: str, value: str | float | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return units.told(value, _overridden(shown, column, "unit") or "short")


def _colours(shown: Shown) -> list[str]:
    """Return the colour of each curve: what its name is given, or the next of the palette."""
    found = []
    for number, series in enumerate(shown.series):
        given = _overridden(shown, series.name, "color") or {}
        found.append(
            units.colour(given.get("fixedColor", units.PALETTE[number % len(units.PALETTE)]))
        )
    return found


def _overridden(shown: Shown, name: str, what: str) -> Any:
    """Return what the panel sets for a field of this name, apart from all others."""
    for each in shown.panel["fieldConfig"]["overrides"]:
        if each["matcher"] == {"id": "byName", "options": name}:
            for setting in each["properties"]:
                if setting["id"] == what:
                    return setting["value"]
    return None
