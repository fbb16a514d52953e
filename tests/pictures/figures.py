"""What a dashboard's panels show of a time, asked of a Prometheus as Grafana would ask."""

import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from tests.support import dashboards
from tests.support.prometheus import Prometheus

POINTS = 240
"""How many values a curve has over the time that is shown."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """A curve: (seconds, value) in order, with holes where there was none."""

    name: str
    points: list[tuple[float, float]]

    @property
    def last(self) -> float:
        return self.points[-1][1]


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A panel, and what is in it."""

    panel: dict[str, Any]
    series: list[Series]
    columns: list[str]
    """Of a table; the rows' cells are in this order."""
    rows: list[list[str | float | None]]


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """The time that is shown, in seconds since 1970."""

    start: float
    end: float

    @property
    def step(self) -> float:
        return max(1.0, (self.end - self.start) / POINTS)

    @property
    def seconds(self) -> float:
        return self.end - self.start


async def shown(
    prometheus: Prometheus, panel: dict[str, Any], span: Span, *, pipeline: str
) -> Shown:
    """Return a panel's figures of the time."""
    exprs = [
        dashboards.sent(query["expr"], pipeline=pipeline, shown=f"{span.seconds:.0f}s")
        for query in panel["targets"]
    ]
    if panel["type"] == "table":
        columns, rows = await _table(prometheus, panel, exprs, span)
        return Shown(panel=panel, series=[], columns=columns, rows=rows)
    series: list[Series] = []
    for query, expr in zip(panel["targets"], exprs, strict=True):
        for found in await prometheus.course(expr, span.start, span.end, span.step):
            points = [(float(at), float(value)) for at, value in found["values"]]
            points = [(at, value) for at, value in points if math.isfinite(value)]
            if points:
                name = _legend(query["legendFormat"], found["metric"])
                series.append(Series(name=name, points=points))
    return Shown(panel=panel, series=series, columns=[], rows=[])


async def _table(
    prometheus: Prometheus, panel: Mapping[str, Any], exprs: list[str], span: Span
) -> tuple[list[str], list[list[str | float | None]]]:
    """Return the head and the rows of a table, merged by their labels as Grafana's transformation does."""
    (names,) = (
        each["options"]["renameByName"]
        for each in panel["transformations"]
        if each["id"] == "organize"
    )
    labels: list[str] = []
    cells: dict[tuple[str, ...], dict[str, float]] = {}
    for query, expr in zip(panel["targets"], exprs, strict=True):
        for found in await prometheus.ask(expr, at=span.end):
            labels = sorted(found["metric"])
            row = cells.setdefault(tuple(found["metric"][label] for label in labels), {})
            row[query["refId"]] = float(found["value"][1])
    columns = labels + [names[f"Value #{query['refId']}"] for query in panel["targets"]]
    rows: list[list[str | float | None]] = [
        [*key, *(row.get(query["refId"]) for query in panel["targets"])]
        for key, row in sorted(cells.items())
    ]
    for by in panel["options"].get("sortBy", []):
        at = columns.index(by["displayName"])
        rows.sort(key=lambda row: row[at] or 0, reverse=by["desc"])
    return columns, rows


def _legend(template: str, labels: Mapping[str, str]) -> str:
    """Return a curve's name; a label that is missing leaves nothing behind."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), template).strip()
