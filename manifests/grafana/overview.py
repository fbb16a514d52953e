"""Whether all is well, at a glance: what waits, what is done, who does it, and what went wrong."""

from manifests.grafana.panels import Panels, bands, board, lines, number, row, rows, steps
from manifests.grafana.promql import (
    PIPELINE,
    PROCESS,
    gained,
    per_second,
    quantile,
    risen,
    total,
)

from trunkline.runtime import metric_names as names

_GOOD = 'state=~"processed|skipped|recovered"'
_AT_WORK = 'state=~"WAITING|LISTING|RUNNING|MERGING"'
_LOST = 'cause=~"worker-lost|node-lost|oom"'
_NOT_DONE = 'cause!~"done|superseded"'

# fmt: off
PANELS: Panels = [
    row(0, "Now"),
    number((0, 1, 3, 4), "Pending", total(names.PENDING)),
    number((3, 1, 3, 4), "In flight", total(names.IN_FLIGHT)),
    number((6, 1, 3, 4), "Oldest pending", total(names.OLDEST_PENDING, how="max"), bad_from=900),
    number((9, 1, 3, 4), "Workers ready", total(names.READY)),
    number((12, 1, 3, 4), "Workers wanted", total(names.WANT)),
    number((15, 1, 3, 4), "Success", gained(names.DATUMS, where=_GOOD).over(gained(names.DATUMS)),
           "Of the datums that ended in the time that is shown."),
    number((18, 1, 3, 4), "Redeliveries", gained(names.REDELIVERIES), "In the time that is shown."),
    number((21, 1, 3, 4), "Quarantined", total(names.QUARANTINED), bad_from=1),

    row(5, "Work"),
    lines((0, 6, 12, 8), "Datums", {"{{state}}": risen(names.DATUMS, "state")}, stacked=True),
    lines((12, 6, 6, 8), "Queues", {"pending": total(names.PENDING), "in flight": total(names.IN_FLIGHT)}),
    steps((18, 6, 6, 8), "Jobs", {"{{state}}": total(names.JOBS_LIVE, "state", _AT_WORK)}),

    row(14, "Workers"),
    steps((0, 15, 12, 8), "Workers and nodes",
          {"want": total(names.WANT), "have": total(names.HAVE), "ready": total(names.READY), "nodes": total(names.NODES, how="max")},
          "Wanted and not there for long: `trunkline explain PIPELINE` says what is in the way."),
    lines((12, 15, 6, 8), "From a loss to given back",
          {"p50": quantile(0.5, names.REDISTRIBUTION), "p95": quantile(0.95, names.REDISTRIBUTION)}),
    lines((18, 15, 6, 8), "What takes the time", {"{{phase}}": quantile(0.95, names.PHASE_SECONDS, "phase")},
          "The 95th percentile."),

    row(23, "What went wrong"),
    lines((0, 24, 12, 8), "Attempts that ended otherwise", {"{{cause}}": risen(names.ATTEMPTS, "cause", _NOT_DONE)},
          "Charged are a bad exit, a timeout, out of memory, and a worker lost while it ran the datum.", stacked=True),
    rows((12, 24, 12, 8), "By pipeline", {
        "pending": total(names.PENDING, PIPELINE),
        "ready": total(names.READY, PIPELINE),
        "ended": gained(names.DATUMS, PIPELINE),
        "failed": gained(names.DATUMS, PIPELINE, 'state="failed"'),
        "quarantined": total(names.QUARANTINED, PIPELINE),
        "lost": gained(names.ATTEMPTS, PIPELINE, _LOST),
    }, "What ended, failed or was lost in the time that is shown."),

    row(32, "Services"),
    bands((0, 33, 9, 7), "Leaders", {"{{component}} {{instance}} {{installation}}": total(names.LEADER, PROCESS)},
          {0: ("stands by", "#44484f"), 1: ("leads", "green")}, "One of each kind in an installation; none or two for long is an alert."),
    lines((9, 33, 5, 7), "Rounds", {"{{component}}": quantile(0.95, names.RECONCILE_SECONDS, "component")},
          "The 95th percentile."),
    lines((14, 33, 5, 7), "Late event loops", {"{{component}}": quantile(0.99, names.LOOP_LAG, "component")},
          "The 99th percentile."),
    lines((19, 33, 5, 7), "Faults of what we rest on", {
        "store": per_second(names.STORE_ERRORS),
        "NATS reconnects": per_second(names.NATS_RECONNECTS),
        "rounds": per_second(names.RECONCILE_FAILURES),
    }),
]
# fmt: on

BOARD = board("trunkline-overview", "Overview", __doc__ or "", PANELS)
