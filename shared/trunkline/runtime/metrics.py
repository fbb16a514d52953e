"""What a metric is, and how a process counts: by additions to dictionaries, and by reading at a scrape.

`metric_names` lists all metrics that there are. To count needs no library and costs under a microsecond; what is
shown is made of it when somebody asks (`exposition`). A *source* is anything that gives samples when it is called:
a Meter, with what was counted, or a function that reads what a service holds in memory anyway. No source waits
for anything, so a scrape is answered at once whatever is away.

Where the process dies, what was counted is gone, and its successor begins at zero: Prometheus takes a value
that falls for a new beginning.
"""

import enum
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

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

REST = "(other)"
"""The value of `pipeline` under which all those are taken together that are past the bound."""
PIPELINES_MOST = 200
"""Pipelines that a process names: some 160 series each, so 33,000, which a Prometheus does not notice."""


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

    @property
    def adds_up(self) -> bool:
        """Whether values of several pipelines are summed under REST; the largest counts otherwise."""
        return self.kind is not Kind.GAUGE or self.unit not in ("seconds", "ratio")


Labels = tuple[str, ...]
"""Values, in the order of the metric's labels."""


class Buckets:
    """What was observed of one histogram under one set of labels."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Of each bucket alone; the last one is for what is over all bounds."""
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Take a value into account."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def plus(self, other: "Buckets | None") -> "Buckets":
        """Return both together, apart from what is observed later."""
        made = Buckets(self.bounds)
        made.counts = list(self.counts)
        made.sum = self.sum
        if other is not None:
            made.counts = [a + b for a, b in zip(made.counts, other.counts, strict=True)]
            made.sum += other.sum
        return made


Sample = tuple[Metric, Labels, float | Buckets]
Source = Callable[[], Iterable[Sample]]


class Meter:
    """Counters and histograms of one process, or of one term of a leader; a source."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}
        self._counts: dict[str, dict[Labels, float]] = {}
        self._buckets: dict[str, dict[Labels, Buckets]] = {}

    def add(self, metric: Metric, *labels: str, by: float = 1.0) -> None:
        """Raise a counter."""
        counts = self._counts.get(metric.name)
        if counts is None:
            counts = self._counts[metric.name] = {}
            self._metrics[metric.name] = metric
        counts[labels] = counts.get(labels, 0.0) + by

    def buckets(self, metric: Metric, *labels: str) -> Buckets:
        """Return where a histogram's values go; who observes often keeps it."""
        kept = self._buckets.setdefault(metric.name, {})
        self._metrics[metric.name] = metric
        if labels not in kept:
            kept[labels] = Buckets(metric.buckets)
        return kept[labels]

    def forget(self, pipeline: str) -> None:
        """Drop all that was counted for a pipeline that is gone."""
        for name, metric in self._metrics.items():
            if "pipeline" not in metric.labels:
                continue
            place = metric.labels.index("pipeline")
            for kept in (self._counts.get(name, {}), self._buckets.get(name, {})):
                for labels in [each for each in kept if each[place] == pipeline]:
                    del kept[labels]

    def __call__(self) -> Iterator[Sample]:
        """Yield what was counted so far."""
        for name, counts in self._counts.items():
            for labels, value in counts.items():
                yield self._metrics[name], labels, value
        for name, kept in self._buckets.items():
            for labels, buckets in kept.items():
                yield self._metrics[name], labels, buckets


class Pipelines:
    """Which pipelines are named: the first ones that there is something to say of, until they are gone.

    Invariant: there are never more than `most` names, and a pipeline that has one keeps it.

    Args:
        known: Whether there is such a pipeline. What comes late for one that is deleted would take a place for good.
        most: How many names there are.
    """

    def __init__(
        self, known: Callable[[str], bool] = lambda _: True, most: int = PIPELINES_MOST
    ) -> None:
        self._known, self._most = known, most
        self._named: set[str] = set()

    def name(self, pipeline: str) -> str:
        """Return what a pipeline is called: by its name, or REST."""
        if pipeline in self._named:
            return pipeline
        if len(self._named) >= self._most or not self._known(pipeline):
            return REST
        self._named.add(pipeline)
        return pipeline

    def forget(self, pipeline: str) -> None:
        """Give back the place of a pipeline that is gone."""
        self._named.discard(pipeline)


def together(sources: Iterable[Source]) -> list[Sample]:
    """Return the samples of all sources as they are now, one for each metric and labels.

    One whose value no page can hold is left out: it may not cost all the others.
    """
    found: dict[tuple[str, Labels], Sample] = {}
    for source in sources:
        for metric, labels, given in source():
            value = given if isinstance(given, Buckets) else _shown(given)
            if value is None:
                continue
            key = metric.name, labels
            known = found.get(key)
            found[key] = metric, labels, _joined(metric, known and known[2], value)
    return list(found.values())


def _shown(value: float) -> float | None:
    """Return a value as pages have it; None for an integer that is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return None


def _joined(
    metric: Metric, known: float | Buckets | None, value: float | Buckets
) -> float | Buckets:
    if isinstance(value, Buckets):
        assert known is None or isinstance(known, Buckets)
        return value.plus(known)
    assert not isinstance(known, Buckets)
    if known is None:
        return value
    return known + value if metric.adds_up else max(known, value)
