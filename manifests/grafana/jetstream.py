"""JetStream as Trunkline uses it, by the names of the stock exporter: streams, consumers, and what is not settled."""

from manifests.grafana.panels import Panels, Queries, bands, board, lines, number, row, rows, steps
from manifests.grafana.promql import PROCESS, STREAM, Expression, per_second, total

from trunkline.runtime import metric_names as names

_QUEUES = 'stream_name=~"TL_.*"'


def _streams(expr: Expression) -> Queries:
    return {"{{stream_name}} {{installation}}": expr.top(8)}


# fmt: off
PANELS: Panels = [
    row(0, "Now"),
    number((0, 1, 4, 4), "Messages", total(names.STREAM_MESSAGES)),
    number((4, 1, 4, 4), "Bytes", total(names.STREAM_BYTES)),
    number((8, 1, 4, 4), "Not delivered", total(names.CONSUMER_PENDING)),
    number((12, 1, 4, 4), "Not settled", total(names.CONSUMER_ACK_PENDING)),
    number((16, 1, 4, 4), "Delivered again", total(names.CONSUMER_REDELIVERED)),
    number((20, 1, 4, 4), "All connected", total(names.NATS_CONNECTED, how="min"), "No: some process has lost the server.",
           named={0: ("no", "red"), 1: ("yes", "green")}),

    row(5, "Streams"),
    lines((0, 6, 12, 8), "Messages by stream", _streams(total(names.STREAM_MESSAGES, STREAM, _QUEUES)), stacked=True),
    lines((12, 6, 12, 8), "Bytes by stream", _streams(total(names.STREAM_BYTES, STREAM, _QUEUES)), stacked=True),
    lines((0, 14, 9, 8), "Published", _streams(per_second(names.STREAM_LAST, STREAM, _QUEUES)),
          "By the newest sequence of each stream."),
    steps((9, 14, 6, 8), "Subjects of outcomes", _streams(total(names.STREAM_SUBJECTS, STREAM, 'stream_name="TL_OUTCOMES"')),
          "An outcome is a subject until its job is compacted."),
    rows((15, 14, 9, 8), "Streams and buckets",
         {"messages": total(names.STREAM_MESSAGES, STREAM), "bytes": total(names.STREAM_BYTES, STREAM)}, largest="bytes"),

    row(22, "Work queues"),
    lines((0, 23, 8, 8), "Not delivered by stream", _streams(total(names.CONSUMER_PENDING, STREAM))),
    lines((8, 23, 8, 8), "Not settled by stream", _streams(total(names.CONSUMER_ACK_PENDING, STREAM))),
    lines((16, 23, 8, 8), "Delivered again by stream", _streams(total(names.CONSUMER_REDELIVERED, STREAM))),
    lines((0, 31, 8, 8), "Deliveries", _streams(per_second(names.CONSUMER_DELIVERED, STREAM))),
    steps((8, 31, 8, 8), "Consumers", _streams(total(names.STREAM_CONSUMERS, STREAM, 'stream_name=~"TL_DATUMS_.*"')),
          "A job that runs has one."),
    lines((16, 31, 8, 8), "Pulls that wait", _streams(total(names.CONSUMER_WAITING, STREAM)), "Workers that ask for more."),

    row(39, "Connections"),
    bands((0, 40, 16, 7), "Connected",
          {"{{component}} {{instance}} {{installation}}": total(names.NATS_CONNECTED, PROCESS, how="min")},
          {0: ("away", "red"), 1: ("connected", "green")}),
    lines((16, 40, 8, 7), "Made anew", {"{{component}}": per_second(names.NATS_RECONNECTS, "component")}),
]
# fmt: on

BOARD = board("trunkline-jetstream", "JetStream", __doc__ or "", PANELS, pipeline="any")
