"""JetStream as Trunkline uses it, by the names of the stock exporter: streams, consumers, and what is not settled."""

from manifests.grafana.panels import Panels, Queries, board, lines, number, row, rows, steps
from manifests.grafana.promql import Expression, per_second, total

from trunkline.runtime import metric_names as names


def _streams(expr: Expression) -> Queries:
    return {"{{stream_name}}": expr.top(10)}


_BY = "stream_name"

# fmt: off
PANELS: Panels = [
    row(0, "Now"),
    number((0, 1, 4, 4), "Messages", total(names.STREAM_MESSAGES)),
    number((4, 1, 4, 4), "Bytes", total(names.STREAM_BYTES)),
    number((8, 1, 4, 4), "Not delivered", total(names.CONSUMER_PENDING)),
    number((12, 1, 4, 4), "Not settled", total(names.CONSUMER_ACK_PENDING)),
    number((16, 1, 4, 4), "Delivered again", total(names.CONSUMER_REDELIVERED)),
    number((20, 1, 4, 4), "All connected", total(names.NATS_CONNECTED, how="min"), "0: some process has lost the server."),

    row(5, "Streams"),
    lines((0, 6, 8, 8), "Messages by stream", _streams(total(names.STREAM_MESSAGES, _BY)), "The ten largest.", stacked=True),
    lines((8, 6, 8, 8), "Bytes by stream", _streams(total(names.STREAM_BYTES, _BY)), "The ten largest.", stacked=True),
    lines((16, 6, 8, 8), "Published", _streams(per_second(names.STREAM_LAST, _BY)), "By the newest sequence of each stream."),
    steps((0, 14, 8, 8), "Subjects", _streams(total(names.STREAM_SUBJECTS, _BY)), "An outcome is a subject until its job ends."),
    steps((8, 14, 8, 8), "Consumers", _streams(total(names.STREAM_CONSUMERS, _BY)), "A job that runs has one."),
    rows((16, 14, 8, 8), "Largest streams",
         {"messages": total(names.STREAM_MESSAGES, _BY), "bytes": total(names.STREAM_BYTES, _BY)}),

    row(22, "Consumers"),
    lines((0, 23, 8, 8), "Not delivered by stream", _streams(total(names.CONSUMER_PENDING, _BY))),
    lines((8, 23, 8, 8), "Not settled by stream", _streams(total(names.CONSUMER_ACK_PENDING, _BY))),
    lines((16, 23, 8, 8), "Delivered again by stream", _streams(total(names.CONSUMER_REDELIVERED, _BY))),
    lines((0, 31, 8, 8), "Deliveries", _streams(per_second(names.CONSUMER_DELIVERED, _BY))),
    lines((8, 31, 8, 8), "Settled", _streams(per_second(names.CONSUMER_ACK_FLOOR, _BY))),
    lines((16, 31, 8, 8), "Pulls that wait", _streams(total(names.CONSUMER_WAITING, _BY)), "Workers that ask for more."),

    row(39, "Connections"),
    lines((0, 40, 12, 7), "Connected", {"{{component}}": total(names.NATS_CONNECTED, "component", how="min")}),
    lines((12, 40, 12, 7), "Made anew", {"{{component}}": per_second(names.NATS_RECONNECTS, "component")}),
]
# fmt: on

BOARD = board("trunkline-jetstream", "JetStream", __doc__ or "", PANELS, pipeline="any")
