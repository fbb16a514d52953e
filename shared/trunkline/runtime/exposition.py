"""Samples as Prometheus reads them: text, or OpenMetrics where it asks for that.

The client library is imported by who is scraped only (0.1 s), and all of this runs in a thread beside the
event loop: tens of thousands of series take some tenths of a second.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import core, exposition
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from trunkline.runtime.metrics import Buckets, Kind, Metric, Sample


class _Snapshot(Collector):
    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[core.Metric]:
        by_name: dict[str, list[Sample]] = {}
        for sample in self._samples:
            by_name.setdefault(sample[0].name, []).append(sample)
        for name in sorted(by_name):
            yield _family(by_name[name][0][0], by_name[name])
        yield from ProcessCollector(registry=None).collect()


def rendered(samples: Sequence[Sample], accept: str) -> tuple[bytes, str]:
    """Return a page, and its content type.

    Args:
        samples: One for each metric and labels.
        accept: What whoever asks has in its header of that name.
    """
    encode, content_type = exposition.choose_encoder(accept)
    return encode(_Snapshot(samples)), content_type


def _family(metric: Metric, samples: Iterable[Sample]) -> core.Metric:
    family = core.Metric(metric.name.removesuffix("_total"), metric.help, metric.kind.value)
    for _, values, value in samples:
        labels = dict(zip(metric.labels, values, strict=True))
        if isinstance(value, Buckets):
            _add_buckets(family, labels, value)
        else:
            suffix = "_total" if metric.kind is Kind.COUNTER else ""
            family.add_sample(family.name + suffix, labels, value)
    return family


def _add_buckets(family: core.Metric, labels: dict[str, str], value: Buckets) -> None:
    bounds = [*map(str, value.bounds), "+Inf"]
    counts = list(itertools.accumulate(value.counts))
    for bound, count in zip(bounds, counts, strict=True):
        family.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, count)
    family.add_sample(f"{family.name}_count", labels, counts[-1])
    family.add_sample(f"{family.name}_sum", labels, value.sum)
