"""Figures of runs, and what is made of several: medians, spreads, ratios."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

OURS = "trunkline"


@dataclass(frozen=True)
class Run:
    """One run of one workload by one system."""

    workload: str
    system: str
    count: int
    seconds: float
    """From the commit (or the submission) to the end."""
    cpu_s: float
    rss_bytes: int
    steady_s: float = 0.0
    """What the middle 80 % of the datums would take for all of them; 0 if not known."""
    cpu_of: dict[str, float] = field(default_factory=dict)
    """CPU seconds by kind of process, of ours only; together they are `cpu_s`."""
    rss_of: dict[str, int] = field(default_factory=dict)
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Datums a second, everything included."""
        return self.count / self.seconds

    @property
    def steady(self) -> float:
        """Datums a second in the middle of the run."""
        return self.count / self.steady_s if self.steady_s else 0.0

    @property
    def cpu_us(self) -> float:
        """CPU microseconds a datum."""
        return self.cpu_s / self.count * 1e6

    @property
    def cpu_us_of(self) -> dict[str, float]:
        """CPU microseconds a datum by kind of process."""
        return {kind: each / self.count * 1e6 for kind, each in self.cpu_of.items()}


class Found:
    """All runs, grouped as they are told of, in the order in which they came."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.groups: dict[str, dict[str, list[Run]]] = {}
        for run in runs:
            self.groups.setdefault(run.workload, {}).setdefault(run.system, []).append(run)

    def of(self, workload: str, system: str = OURS) -> list[Run]:
        """Return the runs of a system; none if there were none."""
        return self.groups.get(workload, {}).get(system, [])

    def ratios(self, workload: str, other: str) -> list[float]:
        """Return our rate over the other's, run by run as they alternated."""
        return ratios(self.of(workload), self.of(workload, other))


def ratios(ours: Sequence[Run], theirs: Sequence[Run]) -> list[float]:
    """Return our rate over theirs, run by run as they alternated."""
    return [a.rate / b.rate for a, b in zip(ours, theirs, strict=False)]


def middle(runs: Iterable[Run], of: Callable[[Run], float]) -> float:
    """Return the median of a figure."""
    return statistics.median(map(of, runs))


def spread(values: Iterable[float]) -> str:
    """Return `median [min..max]`."""
    found = sorted(values)
    median = statistics.median(found)
    if len(found) == 1:
        return short(median)
    return f"{short(median)} [{short(found[0])}..{short(found[-1])}]"


def short(value: float) -> str:
    """Write a figure with about three digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def steady_seconds(samples: Sequence[tuple[float, int]], count: int) -> float:
    """Return how long all datums would take at the pace between 10 % and 90 % of them.

    Args:
        samples: (seconds, datums ended by then), as they were seen; what was seen lags alike.
        count: How many datums there are.
    """
    inside = [each for each in samples if count * 0.1 <= each[1] <= count * 0.9]
    if len(inside) < 2 or inside[-1][1] == inside[0][1]:
        return 0.0
    (began, first), (ended, last) = inside[0], inside[-1]
    return (ended - began) / (last - first) * count
