"""Expressions over our metrics, built from the registry, so that a name that is gone ends the program and not a panel.

An expression knows its unit and what its metrics mean, and so a panel of it says both. What has the label `pipeline`
is always limited to those that the viewer has chosen.
"""

import dataclasses
from typing import Self

from trunkline.runtime.metrics import Metric

WITHIN = "[$__rate_interval]"
"""What a rate looks back over: Grafana makes it long enough for the scrapes."""
UNITS = {"seconds": "s", "bytes": "bytes", "ratio": "percentunit"}
"""Grafana's name of a registry's unit; all else is a plain number."""
SHARES = {"seconds": "percentunit", "bytes": "Bps"}
"""The same of a rate: seconds in a second are a part of it."""


@dataclasses.dataclass(frozen=True)
class Expression:
    """PromQL, with what a panel needs to know of it."""

    text: str
    unit: str
    about: tuple[Metric, ...]

    def over(self, other: Self, unit: str = "percentunit") -> "Expression":
        """Return the part that one is of the other, or what else a quotient means; nothing where that is of nothing."""
        return Expression(f"{self.text} / ({other.text} > 0)", unit, self.about + other.about)

    def minus(self, other: Self) -> "Expression":
        """Return the difference."""
        return Expression(f"{self.text} - {other.text}", self.unit, self.about + other.about)

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


def followed(want: Metric, have: Metric, ready: Metric) -> Expression:
    """Return how a pipeline's workers follow what is wanted: 0 none are, 1 they leave, 2 too few, 3 as wanted."""
    wanted, there = (f"sum by (pipeline) ({chosen(each)})" for each in (want, have))
    fit = f"sum by (pipeline) ({chosen(ready)})"
    text = (
        f"({wanted} > bool 0) * (2 + ({fit} >= bool {wanted}))"
        f" + ({wanted} == bool 0) * ({there} > bool 0)"
    )
    return Expression(text, "short", (want, have, ready))


def chosen(metric: Metric, where: str = "", part: str = "") -> str:
    """Return the selector of a metric's series (or of a histogram's part) for the chosen pipelines."""
    among = 'pipeline=~"$pipeline"' if "pipeline" in metric.labels else ""
    labels = ", ".join(each for each in (among, where) if each)
    return f"{metric.name}{part}{{{labels}}}" if labels else f"{metric.name}{part}"


def _made(text: str, metric: Metric, units: dict[str, str]) -> Expression:
    return Expression(text, units.get(metric.unit, "short"), (metric,))


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
