"""What the leading scaler counts, and what it shows of its last decisions: see `runtime.metrics`.

Gauges are the records that it writes for people anyway, as they were decided last; so right after a start they
are there with the first round.
"""

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter

from trunkline.contracts import records
from trunkline.runtime import metric_names as names
from trunkline.runtime.metrics import SCALER, Meter, Metric, Pipelines, Sample
from trunkline.scaler.core.standby import Reason

_UP, _DOWN = "up", "down"
_READ: tuple[tuple[Metric, str], ...] = (
    (names.PENDING, "pending"),
    (names.IN_FLIGHT, "in_flight"),
    (names.CAP, "cap"),
    (names.WANT, "want"),
    (names.HAVE, "have"),
    (names.READY, "ready"),
    (names.BUSY, "busy"),
)
_read = attrgetter(*(field for _, field in _READ))


class Counting:
    """See the module.

    Args:
        known: Whether there is such a pipeline: the last of a deleted one's workers are lost after it has gone.
    """

    def __init__(self, known: Callable[[str], bool] = lambda _: True) -> None:
        self.nodes = 0
        """Of the cluster, as it was seen last."""
        self._meter = Meter()
        self._pipelines = Pipelines(known)
        self._wants: dict[str, int] = {}
        self._meter.add(names.RECONCILE_FAILURES, SCALER, by=0)
        self._redistribution = self._meter.buckets(names.REDISTRIBUTION)
        self._rounds = self._meter.buckets(names.RECONCILE_SECONDS, SCALER)

    def decided(self, pipeline: str, have: int, want: int, reason: Reason) -> None:
        """Count a decision, if it is another one than the last; the first one, if it changes what is there."""
        if pipeline not in self._wants:
            self._begin(pipeline)
        before = self._wants.get(pipeline, have)
        self._wants[pipeline] = want
        if want != before:
            direction = _UP if want > before else _DOWN
            name = self._pipelines.name(pipeline)
            self._meter.add(names.SCALE_DECISIONS, name, direction, reason.value)

    def created(self, pipeline: str) -> None:
        """Count a worker that is made."""
        self._meter.add(names.WORKERS_CREATED, self._pipelines.name(pipeline))

    def lost(self, pipeline: str) -> None:
        """Count a worker that went without good-bye."""
        self._meter.add(names.WORKERS_LOST, self._pipelines.name(pipeline))

    def given_back(self, pipeline: str, messages: int, took_s: float | None) -> None:
        """Count what was given back for a worker.

        Args:
            pipeline: Its pipeline.
            messages: How many.
            took_s: Seconds since it was known that the worker is gone; None: it has left by itself.
        """
        self._meter.add(names.GIVEN_BACK, self._pipelines.name(pipeline), by=messages)
        if took_s is not None:
            self._redistribution.observe(max(0.0, took_s))

    def round(self, took_s: float) -> None:
        """Count a round."""
        self._rounds.observe(took_s)

    def round_failed(self) -> None:
        """Count one that must be repeated, since the cluster does not answer."""
        self._meter.add(names.RECONCILE_FAILURES, SCALER)

    def forget(self, pipeline: str) -> None:
        """Forget a pipeline that is gone: its series end, and its place is free."""
        self._wants.pop(pipeline, None)
        self._pipelines.forget(pipeline)
        self._meter.forget(pipeline)

    def samples(self, scalings: Iterable[records.Scaling]) -> Iterator[Sample]:
        """Yield what was counted, and what these records say."""
        yield from self._meter()
        yield names.NODES, (), self.nodes
        sums: dict[str, list[int]] = {}
        for each in scalings:
            values = (*_read(each), *_counted(each))
            name = self._pipelines.name(each.pipeline)
            known = sums.get(name)
            sums[name] = [a + b for a, b in zip(known, values, strict=True)] if known else [*values]
        for name, found in sums.items():
            for metric, value in zip(_SHOWN, found, strict=True):
                yield metric, (name,), value

    def _begin(self, pipeline: str) -> None:
        name = self._pipelines.name(pipeline)
        for metric in (names.WORKERS_CREATED, names.WORKERS_LOST, names.GIVEN_BACK):
            self._meter.add(metric, name, by=0)
        for direction in (_UP, _DOWN):
            for reason in Reason:
                self._meter.add(names.SCALE_DECISIONS, name, direction, reason.value, by=0)


_SHOWN = (
    *(metric for metric, _ in _READ),
    names.IDLE,
    names.DRAINING,
    names.STARTS_FAIL,
    names.ELIGIBLE_NODES,
)


def _counted(scaling: records.Scaling) -> tuple[int, int, int, int]:
    return (
        max(0, scaling.ready - scaling.busy),
        sum(each.phase == "draining" for each in scaling.workers),
        int(bool(scaling.problem)),
        scaling.eligible,
    )
