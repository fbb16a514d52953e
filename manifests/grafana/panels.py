"""What all panels of ours have: a place on the grid, a title, a description, a unit, and a source that is a variable.

A panel is one call. Its place is (x, y, width, height) on Grafana's grid of 24 columns, written down and never
left to the library, whose own layout puts panels beyond the edge. Queries are a mapping from legend to expression:
`{{state}}` in a legend is a label's value. The unit is that of the first expression; the description is the
panel's note and what the registry says of each metric. Colours stand for meanings (`BY_LEGEND`, `BY_VALUE`), not for positions.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as shown
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from manifests.grafana.promql import Expression, chosen

from trunkline.runtime import metric_names as names

At = tuple[int, int, int, int]
Queries = Mapping[str, Expression]
Named = Mapping[int, tuple[str, str]]
"""Value -> what it means, and its colour."""
P = TypeVar("P", stat.Panel, timeseries.Panel, statetimeline.Panel, table.Panel)
Panel = stat.Panel | timeseries.Panel | statetimeline.Panel | table.Panel

Row = dashboard.Row
Panels = Sequence[Panel | Row]

TAG = "trunkline"
LETTERS = "ABCDEFGHIJ"
SOURCE = shown.DataSourceRef(type_val="prometheus", uid="${source}")

_GREY = "#8e9cb2"
BY_LEGEND = {
    **dict.fromkeys(("ready", "busy", "p50"), "green"),
    **dict.fromkeys(("pending", "want", "draining", "p95"), "orange"),
    **dict.fromkeys(("in flight", "have"), "blue"),
    **dict.fromkeys(("lost", "p99"), "red"),
    "cap": "purple",
    **dict.fromkeys(("idle", "nodes", "eligible nodes"), _GREY),
}
BY_VALUE = {
    "{{state}}": {
        **dict.fromkeys(("processed", "RUNNING"), "green"),
        **dict.fromkeys(("skipped", "recovered", "WAITING"), _GREY),
        "LISTING": "blue",
        "failed": "red",
        "quarantined": "purple",
    },
    "{{cause}}": {"user-exit": "red", "oom": "purple", "worker-lost": "orange", "drained": _GREY},
    "{{phase}}": {"process": "green", "download": "orange", "upload": "blue", "wait": _GREY},
}
"""By the value of the label that is the legend. What is in neither gets Grafana's palette."""


def row(y: int, title: str) -> Row:
    """Return a heading over what follows."""
    return Row(title).grid_pos(models.GridPos(x=0, y=y, w=24, h=1))


def number(
    at: At,
    title: str,
    expr: Expression,
    note: str = "",
    *,
    bad_from: float | None = None,
    named: Named | None = None,
) -> stat.Panel:
    """Return the newest value, large, over its recent course; red from `bad_from` on, or a text and a colour for each value."""
    panel = _common(stat.Panel(), at, title, note, {title: expr})
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    # a count of nothing is 0, a part of nothing is none
    nothing = "0" if expr.counts else "-"
    panel = panel.graph_mode(shown.BigValueGraphMode.AREA).no_value(nothing)
    if named:
        panel = _meaning(panel, named)
    return panel.thresholds(_red_from(bad_from))


def lines(
    at: At, title: str, queries: Queries, note: str = "", *, stacked: bool = False
) -> timeseries.Panel:
    """Return curves over time, on top of each other if they add up to something."""
    panel = _common(timeseries.Panel(), at, title, note, queries)
    panel = panel.line_width(1.5).fill_opacity(35 if stacked else 8).min(0)
    panel = panel.show_points(shown.VisibilityMode.NEVER).legend(_legend()).tooltip(_tooltip())
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(shown.StackingMode.NORMAL))
    for legend in queries:
        fixed = {legend: BY_LEGEND[legend]} if legend in BY_LEGEND else BY_VALUE.get(legend, {})
        for name, colour in fixed.items():
            panel = panel.override_by_name(name, [_fixed(colour)])
    return panel


def steps(at: At, title: str, queries: Queries, note: str = "") -> timeseries.Panel:
    """Return curves of what jumps: numbers of workers, of nodes."""
    panel = lines(at, title, queries, note)
    return panel.line_interpolation(shown.LineInterpolation.STEP_AFTER).line_width(2)


def bands(
    at: At, title: str, queries: Queries, named: Named, note: str = ""
) -> statetimeline.Panel:
    """Return a band per series, coloured by its value; `named` gives each value a text and a colour."""
    panel = _common(statetimeline.Panel(), at, title, note, queries)
    panel = _meaning(panel, named).show_value(shown.VisibilityMode.NEVER)
    return panel.legend(_legend()).tooltip(_tooltip()).fill_opacity(80).row_height(0.8)


def rows(at: At, title: str, columns: Queries, note: str = "", *, largest: str = "") -> table.Panel:
    """Return a table: a row per set of labels, a column per label and then per query, the largest of one first."""
    panel = _common(table.Panel(), at, title, note, columns)
    if largest:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(largest).desc(True)])
    titles = {f"Value #{letter}": title for letter, title in zip(LETTERS, columns, strict=False)}
    merged = models.DataTransformerConfig(id_val="merge", options={})
    chosen = {"excludeByName": {"Time": True}, "renameByName": titles}
    named = models.DataTransformerConfig(id_val="organize", options=chosen)
    for title_, expr in columns.items():
        unit = models.DynamicConfigValue(id_val="unit", value=expr.unit)
        panel = panel.override_by_name(title_, [unit])
    return panel.with_transformation(merged).with_transformation(named)


def board(
    uid: str,
    title: str,
    description: str,
    panels: Panels,
    *,
    pipeline: Literal["one", "several", "any"] = "several",
) -> models.Dashboard:
    """Return the dashboard of these panels; `pipeline` says how many of them a viewer chooses."""
    made = dashboard.Dashboard(f"Trunkline / {title}").uid(uid).description(description)
    made = made.tags([TAG]).timezone("browser").refresh("10s").time("now-30m", "now")
    made = made.tooltip(models.DashboardCursorSync.CROSSHAIR).readonly().link(_siblings())
    source = dashboard.DatasourceVariable("source").label("Source").type("prometheus")
    made = made.with_variable(source)
    made = made.with_variable(_variable("installation", names.LEADER.name))
    if pipeline != "any":
        of = chosen(names.WANT, pipelines=False)
        made = made.with_variable(_variable("pipeline", of, several=pipeline == "several"))
    for panel in panels:
        made = made.with_row(panel) if isinstance(panel, Row) else made.with_panel(panel)
    built = made.build()
    for position, each in enumerate(built.panels or [], 1):
        each.id_val = position
    return built


def _common(panel: P, at: At, title: str, note: str, queries: Queries) -> P:
    x, y, width, height = at
    about = {each.name: each.help for expr in queries.values() for each in expr.about}
    told = [note] * bool(note) + [f"`{name}`: {text}" for name, text in about.items()]
    unit = next(iter(queries.values())).unit
    panel = panel.title(title).description("\n\n".join(told)).unit(unit).datasource(SOURCE)
    panel = panel.grid_pos(models.GridPos(x=x, y=y, w=width, h=height))
    for letter, (legend, expr) in zip(LETTERS, queries.items(), strict=False):
        query = prometheus.Dataquery().expr(expr.text).ref_id(letter).datasource(SOURCE)
        if isinstance(panel, table.Panel):
            query = query.instant().format(PromQueryFormat.TABLE)
        else:
            query = query.range().legend_format(legend)
        panel = panel.with_target(query)
    return panel


def _meaning(panel: P, named: Named) -> P:
    """Have a panel show texts and colours in place of values."""
    options = {
        str(value): models.ValueMappingResult(text=text, color=colour)
        for value, (text, colour) in named.items()
    }
    return panel.mappings([models.ValueMap(options=options)])


def _red_from(value: float | None) -> dashboard.ThresholdsConfig:
    good = [models.Threshold(value=None, color="green" if value is not None else "blue")]
    bad = [models.Threshold(value=value, color="red")] if value is not None else []
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(good + bad)


def _fixed(colour: str) -> models.DynamicConfigValue:
    return models.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour})


def _legend() -> common.VizLegendOptions:
    legend = common.VizLegendOptions().display_mode(shown.LegendDisplayMode.LIST)
    return legend.placement(shown.LegendPlacement.BOTTOM).show_legend(True)


def _tooltip() -> common.VizTooltipOptions:
    tooltip = common.VizTooltipOptions().mode(shown.TooltipDisplayMode.MULTI)
    return tooltip.sort(shown.SortOrder.DESCENDING)


def _variable(label: str, of: str, *, several: bool = True) -> dashboard.QueryVariable:
    """Return what lets a viewer choose among the values of a label; all of them, missing ones too, if nothing is chosen."""
    made = dashboard.QueryVariable(label).label(label.capitalize()).datasource(SOURCE)
    made = made.query(f"label_values({of}, {label})")
    made = made.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    made = made.sort(models.VariableSort.ALPHABETICAL_ASC).multi(several)
    return made.include_all(True).all_value(".*") if several else made


def _siblings() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Trunkline").type(models.DashboardLinkType.DASHBOARDS)
    return link.tags([TAG]).placement("").include_vars(True).keep_time(True)
