"""How many workers each pipeline has, and why: wanted, there and ready, against the nodes that count."""

from manifests.grafana.panels import Panels, bands, board, lines, number, row, rows, steps
from manifests.grafana.promql import (
    PIPELINE,
    followed,
    gained,
    missing,
    per_second,
    quantile,
    risen,
    total,
)

from trunkline.runtime import metric_names as names

_FOLLOWED = {
    0: ("none wanted", "#44484f"),
    1: ("leaving", "blue"),
    2: ("fewer than wanted", "orange"),
    3: ("as wanted", "green"),
}

_NAMED = "{{pipeline}} {{installation}}"
_NODES = "Installations may share nodes: of those that are shown, the one that sees the most."

# fmt: off
PANELS: Panels = [
    row(0, "Now"),
    number((0, 1, 4, 4), "Nodes", total(names.NODES, how="max"), _NODES),
    number((4, 1, 4, 4), "Workers wanted", total(names.WANT)),
    number((8, 1, 4, 4), "Workers there", total(names.HAVE)),
    number((12, 1, 4, 4), "Workers ready", total(names.READY)),
    number((16, 1, 4, 4), "Missing", missing(names.WANT, names.READY), "Of each pipeline: what one has too many is no help to another.", bad_from=1),
    number((20, 1, 4, 4), "Cannot start", total(names.STARTS_FAIL), bad_from=1),

    row(5, "Over time"),
    steps((0, 6, 12, 9), "Workers and nodes",
          {"want": total(names.WANT), "have": total(names.HAVE), "ready": total(names.READY), "nodes": total(names.NODES, how="max")}, _NODES),
    steps((12, 6, 12, 9), "Wanted", {_NAMED: total(names.WANT, PIPELINE).top(12)}),
    bands((0, 15, 24, 7), "Each pipeline", {_NAMED: followed(names.WANT, names.HAVE, names.READY)}, _FOLLOWED),

    row(22, "Why"),
    lines((0, 23, 8, 8), "Decisions", {"{{direction}}: {{reason}}": risen(names.SCALE_DECISIONS, "direction, reason")},
          "`trunkline list events` has each of them with its inputs.", stacked=True),
    rows((8, 23, 16, 8), "Pipelines", {
        "eligible nodes": total(names.ELIGIBLE_NODES, PIPELINE),
        "cap": total(names.CAP, PIPELINE),
        "want": total(names.WANT, PIPELINE),
        "have": total(names.HAVE, PIPELINE),
        "ready": total(names.READY, PIPELINE),
        "busy": total(names.BUSY, PIPELINE),
        "idle": total(names.IDLE, PIPELINE),
        "draining": total(names.DRAINING, PIPELINE),
    }, "Fewer ready than wanted: `trunkline explain PIPELINE` says why."),

    row(31, "Coming and going"),
    lines((0, 32, 8, 8), "Made and lost",
          {"made": per_second(names.WORKERS_CREATED), "lost": per_second(names.WORKERS_LOST)}),
    lines((8, 32, 8, 8), "From a loss to given back",
          {"p50": quantile(0.5, names.REDISTRIBUTION), "p95": quantile(0.95, names.REDISTRIBUTION)}),
    lines((16, 32, 8, 8), "Requests to Kubernetes", {"{{verb}} {{code}}": per_second(names.KUBERNETES_REQUESTS, "verb, code")}),
    number((0, 40, 6, 4), "Decisions taken", gained(names.SCALE_DECISIONS), "In the time that is shown."),
    number((6, 40, 6, 4), "Workers made", gained(names.WORKERS_CREATED), "In the time that is shown."),
    number((12, 40, 6, 4), "Workers lost", gained(names.WORKERS_LOST), "In the time that is shown.", bad_from=1),
    number((18, 40, 6, 4), "Datums given back", gained(names.GIVEN_BACK), "In the time that is shown."),
]
# fmt: on

BOARD = board("trunkline-scaling", "Scaling", __doc__ or "", PANELS)
