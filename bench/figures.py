"""Figures of runs, and the table made of them."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field


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


def spread(values: Iterable[float]) -> str:
    """Return `median [min..max]`."""
    found = sorted(values)
    middle = statistics.median(found)
    if len(found) == 1:
        return short(middle)
    return f"{short(middle)} [{short(found[0])}..{short(found[-1])}]"


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


def ratios(ours: Sequence[Run], theirs: Sequence[Run]) -> list[float]:
    """Return our rate over theirs, run by run as they alternated."""
    return [a.rate / b.rate for a, b in zip(ours, theirs, strict=False)]


def table(runs: Sequence[Run], ours: str = "trunkline") -> str:
    """Return a Markdown table: one line for each workload and system."""
    lines = [
        (
            "| workload | system | runs x datums | datums/s | steady datums/s | trunkline / it"
            " | CPU us/datum | peak RSS MB |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.workload, run.system), []).append(run)
    for (workload, system), group in groups.items():
        own = groups.get((workload, ours), [])
        ratio = spread(ratios(own, group)) if own and system != ours else "-"
        middle = _each(group, lambda run: run.steady) if any(r.steady_s for r in group) else "-"
        lines.append(
            f"| {workload} | {system} | {len(group)} x {group[0].count:,}"
            f" | {_each(group, lambda run: run.rate)} | {middle} | {ratio}"
            f" | {_each(group, lambda run: run.cpu_us)}"
            f" | {max(run.rss_bytes for run in group) / 1e6:.0f} |"
        )
    return "\n".join(lines)


def extras(runs: Sequence[Run]) -> list[str]:
    """Return a line for each further figure of each workload."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for run in runs:
        for name, value in run.extra.items():
            found.setdefault((run.workload, run.system, name), []).append(value)
    return [f"{w} {s}: {name} {spread(values)}" for (w, s, name), values in found.items()]


def _each(group: Sequence[Run], of: Callable[[Run], float]) -> str:
    return spread(value for value in map(of, group) if value)
