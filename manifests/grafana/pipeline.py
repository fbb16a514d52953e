"""One pipeline: how far its jobs are, where its time goes, and what its datums ended by."""

from manifests.grafana.panels import Panels, board, lines, number, row, steps
from manifests.grafana.promql import EACH, gained, per_second, quantile, risen, spent, total

from trunkline.runtime import metric_names as names

_RUN = 'state=~"processed|failed|quarantined|recovered"'
_PROCESS = 'phase="process"'

# fmt: off
PANELS: Panels = [
    row(0, "Now"),
    number((0, 1, 3, 4), "Remaining", total(names.REMAINING)),
    number((3, 1, 3, 4), "Pending", total(names.PENDING)),
    number((6, 1, 3, 4), "In flight", total(names.IN_FLIGHT)),
    number((9, 1, 3, 4), "Workers ready", total(names.READY)),
    number((12, 1, 3, 4), "Jobs", total(names.JOBS_LIVE)),
    number((15, 1, 3, 4), "Nothing moves", total(names.JOB_QUIET, how="max"), bad_from=600),
    number((18, 1, 3, 4), "Skipped", total(names.SKIP_RATIO, how="max")),
    number((21, 1, 3, 4), "Quarantined", total(names.QUARANTINED), bad_from=1),

    row(5, "Progress"),
    lines((0, 6, 12, 8), "Datums", {"{{state}}": risen(names.DATUMS, "state")}, stacked=True),
    lines((12, 6, 6, 8), "What remains", {"remaining": total(names.REMAINING), "pending": total(names.PENDING)}),
    lines((18, 6, 6, 8), "Time until done",
          {"at this pace": total(names.REMAINING, EACH).over(per_second(names.DATUMS, EACH, _RUN), "s").largest()},
          "What remains, at the pace of the moment; of the installation that needs longest."),

    row(14, "Where the time goes"),
    lines((0, 15, 8, 8), "At once", {"{{phase}}": spent(names.PHASE_SECONDS, "phase")},
          "How many datums are in each phase at once, on average; counted as they end, so that long ones show in one stroke.", stacked=True),
    lines((8, 15, 8, 8), "Processing", {
        "p50": quantile(0.5, names.PHASE_SECONDS, where=_PROCESS),
        "p95": quantile(0.95, names.PHASE_SECONDS, where=_PROCESS),
        "p99": quantile(0.99, names.PHASE_SECONDS, where=_PROCESS),
    }),
    lines((16, 15, 8, 8), "Waiting and moving files",
          {"{{phase}}": quantile(0.95, names.PHASE_SECONDS, "phase", 'phase!="process"')}, "The 95th percentile."),
    lines((0, 23, 8, 7), "Bytes", {"{{direction}}": per_second(names.TRANSFERRED, "direction")}),
    lines((8, 23, 8, 7), "CPU of commands", {"cores": per_second(names.CPU_SECONDS)}, "100 % is a core; counted as datums end."),
    lines((16, 23, 8, 7), "Duration of jobs",
          {"p50": quantile(0.5, names.JOB_SECONDS), "p95": quantile(0.95, names.JOB_SECONDS)}),

    row(30, "Workers"),
    steps((0, 31, 12, 8), "Workers and nodes", {
        "want": total(names.WANT),
        "have": total(names.HAVE),
        "ready": total(names.READY),
        "cap": total(names.CAP),
        "eligible nodes": total(names.ELIGIBLE_NODES, how="max"),
    }),
    lines((12, 31, 12, 8), "What they do",
          {"busy": total(names.BUSY), "idle": total(names.IDLE), "draining": total(names.DRAINING)}, stacked=True),

    row(39, "What went wrong"),
    lines((0, 40, 8, 8), "Attempts by cause", {"{{cause}}": risen(names.ATTEMPTS, "cause", 'cause!="done"')},
          "Charged are a bad exit, a timeout, out of memory, and a worker lost while it ran the datum.", stacked=True),
    lines((8, 40, 8, 8), "Delivered again", {
        "redeliveries": per_second(names.REDELIVERIES),
        "given back": per_second(names.GIVEN_BACK),
        "repairs": per_second(names.REPAIRS),
    }),
    lines((16, 40, 8, 8), "Left out", {
        "outcomes that did not count": per_second(names.OUTCOMES_IGNORED),
        "log lines": per_second(names.LOG_LINES_DROPPED),
    }),
    number((0, 48, 6, 4), "Jobs that succeeded", gained(names.JOBS_ENDED, where='state="SUCCESS"')),
    number((6, 48, 6, 4), "Jobs that did not", gained(names.JOBS_ENDED, where='state!="SUCCESS"'), bad_from=1),
    number((12, 48, 6, 4), "Attempts per datum",
           gained(names.ATTEMPTS).over(gained(names.DATUMS, where=_RUN), "short"), "1 where nothing goes wrong."),
    number((18, 48, 6, 4), "Workers lost", gained(names.WORKERS_LOST), bad_from=1),
]
# fmt: on

BOARD = board("trunkline-pipeline", "Pipeline", __doc__ or "", PANELS, pipeline="one")
