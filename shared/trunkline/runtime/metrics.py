"""What a metric is; `metric_names` lists all that there are."""

import enum

import msgspec


class Kind(enum.StrEnum):
    """How a value moves, in Prometheus's words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Whose(enum.StrEnum):
    """Whom a value is about."""

    PROCESS = "process"
    LEADER = "leader"


COORDINATOR, SCALER, WORKER = "coordinator", "scaler", "worker-agent"
EVERYBODY = (COORDINATOR, SCALER, WORKER)


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric."""

    name: str
    kind: Kind
    unit: str
    """`seconds`, `bytes`, or what is counted."""
    help: str
    labels: tuple[str, ...] = ()
    components: tuple[str, ...] = EVERYBODY
    """Whose processes have it."""
    whose: Whose = Whose.PROCESS
    buckets: tuple[float, ...] = ()
    """Upper bounds, rising; histograms only."""
