"""What is wanted of each workload, and whether it was reached: judged by medians of runs in turn."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import figures
from bench.figures import Found, Run

Value = Callable[[Found], float | None]
"""A figure; None if what it takes was not run."""


@dataclass(frozen=True)
class Target:
    """One figure, and its limit."""

    workload: str
    text: str
    value: Value
    limit: float
    at_least: bool = True

    def met(self, value: float) -> bool:
        """Return whether that is good enough."""
        return value >= self.limit if self.at_least else value <= self.limit


def table(found: Found) -> list[str]:
    """Return the targets of what was run, and what was reached."""
    lines = ["| workload | target | reached | |", "|---|---|---|---|"]
    for each in TARGETS:
        if each.workload in found.groups:
            value = each.value(found)
            told = "not run" if value is None else figures.short(value)
            verdict = "" if value is None else ("met" if each.met(value) else "**missed**")
            lines.append(f"| {each.workload} | {each.text} | {told} | {verdict} |")
    return lines


def reached(found: Found) -> list[dict[str, object]]:
    """Return the same for a machine."""
    values = [(each, each.value(found)) for each in TARGETS if each.workload in found.groups]
    return [
        {
            "workload": each.workload,
            "target": each.text,
            "limit": each.limit,
            "value": value,
            "met": None if value is None else each.met(value),
        }
        for each, value in values
    ]


def _over(workload: str, other: str) -> Value:
    return lambda found: _median(found.ratios(workload, other))


def _of(workload: str, figure: Callable[[Run], float | None]) -> Value:
    return lambda found: _median([figure(run) for run in found.of(workload)])


def _extra(workload: str, name: str) -> Value:
    return _of(workload, lambda run: run.extra.get(name))


def _fast_enough(found: Found) -> float | None:
    """Return our rate over 10,000 a second or 0.4 of the pool's, whichever is lower."""
    pairs = zip(found.of("W1"), found.of("W1", "pool"), strict=False)
    return _median([ours.rate / min(10_000, 0.4 * pool.rate) for ours, pool in pairs])


def _growth(found: Found) -> float | None:
    """Return the coordinator's peak in a large job over that in one a tenth of it."""
    large, small = (
        _median([run.rss_of["coordinator"] for run in found.of(name)]) for name in ("big", "big/10")
    )
    return None if large is None or small is None else large / small


def _median(values: Sequence[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return statistics.median(known) if known else None


TARGETS = (
    Target("W1", "1 x (10,000 datums/s, or 0.4 x Pool if that is less)", _fast_enough, 1.0),
    Target("W1", "2 x faststream", _over("W1", "faststream"), 2.0),
    Target("W1", "7 x Ray", _over("W1", "ray"), 7.0),
    Target("W1", "150 us CPU a datum", _of("W1", lambda run: run.cpu_us), 150, at_least=False),
    Target("W2", "0.8 x `xargs -P2 sh -c`", _over("W2", "xargs"), 0.8),
    Target("W3", "0.93 of the ideal", _extra("W3", "ideal / wall"), 0.93),
    Target("W3p", "0.93 x a bare loop of posix_spawn", _over("W3p", "spawn"), 0.93),
    Target("W4", "0.7 s over the ideal", _extra("W4", "excess over ideal s"), 0.7, at_least=False),
    Target("W4", "exactly 200 outcomes", _of("W4", lambda run: run.count), 200),
    Target("W5", "0.5 ms a datum on two cores", _extra("W5", "ms / datum"), 0.5, at_least=False),
    Target(
        "big",
        "coordinator's peak RSS below 200 MB",
        _of("big", lambda run: run.rss_of["coordinator"] / 1e6),
        200,
        at_least=False,
    ),
    Target("big", "below 1.2 x that of a tenth of the datums", _growth, 1.2, at_least=False),
    Target(
        "big", "first datum begins within 1 s", _extra("big", "first begin s"), 1, at_least=False
    ),
    Target("storm", "every datum has exactly one outcome", _extra("storm", "outcomes / datums"), 1),
)
