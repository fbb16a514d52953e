"""Expressions over our metrics, built from the registry, so that a name that is gone ends the program and not a panel.

An expression knows its unit and what its metrics mean, and so a panel of it says both. All is of the installations that
the viewer has chosen, and what has the label `pipeline` of those pipelines. `installation` is a label of targets; where it
is missing, there is one. Two installations may have pipelines, streams and processes of the same names: these are told
apart by EACH, PIPELINE, STREAM and PROCESS.
"""

import dataclasses
from typing import Self

from trunkline.runtime.metrics import Metric

WITHIN = "[$__rate_interval]"
"""What a rate looks back over: Grafana makes it long enough for the scrapes."""
UNITS = {"seconds": "s", "bytes": "bytes", "ratio": "percentunit"}
"""Grafana's name of a registry's unit; all else is a plain number."""
PIPELINE, STREAM, PROCESS = (
    f"installation, {label}" for label in ("pipeline", "stream_name", "component, instance")
)
"""Labels by which something is one thing only, whatever installations are shown."""
EACH = "installation"
SHARES = {"seconds": "percentunit", "bytes": "Bps"}
"""The same of a rate: seconds in a second are a part of it."""


@dataclasses.dataclass(frozen=True)
class Expression:
    """PromQL, with what a panel needs to know of it."""

    text: str
    unit: str
    about: tuple[Metric, ...]
    counts: bool = True
    """Whether there being nothing means 0."""

    def over(self, other: Self, unit: str = "percentunit") -> "Expression":
        """Return the part that one is of the other, or what else a quotient means; nothing where that is of nothing."""
        text = f"{self.text} / ({other.text} > 0)"
        return Expression(text, unit, self.about + other.about, counts=False)

    def largest(self) -> "Expression":
        """Return the largest of all, where a sum, or a quotient of sums, would hide it behind others."""
        return dataclasses.replace(self, text=f"max({self.text})")

    def top(self, count: int) -> "Expression":
        """Return the largest few, where there may be many."""
        return dataclasses.replace(self, text=f"topk({count}, {self.text})")


def total(metric: Metric, by: str = "", where: str = "", *, how: str = "sum") -> Expression:
    """Return the sum of a gauge (or `how="max"`), by these labels."""
    return _made(f"{how}{_by(by)} ({chosen(metric, where)})", metric, UNITS)


def per_second(metric: Metric, by: str = "", where: str = "") -> Expression:
    """Return the rate of a counter, by these labels."""
    text = f"sum{_by(by)} (rate({chosen(metric, where)}{WITHIN}))"
    return Expression(text, SHARES.get(metric.unit, "suffix: /s"), (metric,))


def risen(metric: Metric, by: str, where: str = "") -> Expression:
    """Return the rate of a counter by these labels, without those that nothing has happened to in the time that is shown."""
    rate = per_second(metric, by, where)
    moved = f"sum by ({by}) (increase({chosen(metric, where)}[$__range])) > 0"
    return dataclasses.replace(rate, text=f"{rate.text} and {moved}")


def gained(metric: Metric, by: str = "", where: str = "") -> Expression:
    """Return by what a counter has risen in the time that is shown, by these labels; whole, though estimated."""
    text = f"round(sum{_by(by)} (increase({chosen(metric, where)}[$__range])))"
    return _made(text, metric, UNITS)


def quantile(part: float, metric: Metric, by: str = "", where: str = "") -> Expression:
    """Return a quantile of a histogram, by these labels; of the moment, not of all time."""
    labels = "le, " + by if by else "le"
    buckets = chosen(metric, where, "_bucket")
    text = f"histogram_quantile({part}, sum by ({labels}) (rate({buckets}{WITHIN})))"
    return _made(text, metric, UNITS)


def spent(metric: Metric, by: str = "", where: str = "") -> Expression:
    """Return the seconds of a histogram in a second, by these labels: how many did that at once."""
    text = f"sum{_by(by)} (rate({chosen(metric, where, '_sum')}{WITHIN}))"
    return Expression(text, "short", (metric,))


def missing(want: Metric, have: Metric) -> Expression:
    """Return how many are wanted and not there; what one pipeline has too many is no help to another."""
    wanted, there = (f"sum by ({PIPELINE}) ({chosen(each)})" for each in (want, have))
    return _made(f"sum(clamp_min({wanted} - {there}, 0))", want, UNITS, have)


def followed(want: Metric, have: Metric, ready: Metric) -> Expression:
    """Return how a pipeline's workers follow what is wanted: 0 none are, 1 they leave, 2 too few, 3 as wanted."""
    wanted, there = (f"sum by ({PIPELINE}) ({chosen(each)})" for each in (want, have))
    fit = f"sum by ({PIPELINE}) ({chosen(ready)})"
    text = (
        f"({wanted} > bool 0) * (2 + ({fit} >= bool {wanted}))"
        f" + ({wanted} == bool 0) * ({there} > bool 0)"
    )
    return Expression(text, "short", (want, have, ready))


def chosen(metric: Metric, where: str = "", part: str = "", *, pipelines: bool = True) -> str:
    """Return the selector of a metric's series (or of a histogram's part) for what the viewer has chosen."""
    among = ["installation"] + ["pipeline"] * (pipelines and "pipeline" in metric.labels)
    labels = [f'{each}=~"${each}"' for each in among] + [where] * bool(where)
    return f"{metric.name}{part}{{{', '.join(labels)}}}"


def _made(text: str, metric: Metric, units: dict[str, str], *others: Metric) -> Expression:
    return Expression(text, units.get(metric.unit, "short"), (metric, *others))


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
