"""What is printed: Markdown tables of what was found."""

from collections.abc import Callable, Iterable, Sequence

from bench import figures, metering
from bench.figures import OURS, Found, Run

COLUMNS = (
    "system",
    "datums",
    "datums/s, run by run",
    "steady",
    "trunkline / it, run by run",
    "median",
    "CPU us/datum",
    "peak RSS MB",
)


def workloads(found: Found) -> list[str]:
    """Return a table for each workload: its systems, run by run."""
    lines: list[str] = []
    for workload, systems in found.groups.items():
        lines += [
            f"### {workload}",
            "",
            _cells(COLUMNS),
            "|" + "---|" * len(COLUMNS),
        ]
        lines += [_line(found, workload, system, runs) for system, runs in systems.items()]
        lines.append("")
    return lines


def by_kind(found: Found) -> list[str]:
    """Return where our CPU time and memory are: a line for each workload and variant of ours."""
    ours = [
        (f"{workload} {system}" if system != OURS else workload, runs)
        for workload, systems in found.groups.items()
        for system, runs in systems.items()
        if all(run.cpu_of for run in runs)
    ]
    return [
        "CPU us/datum by kind of process (medians):",
        "",
        *_kinds(ours, lambda run, kind: run.cpu_us_of.get(kind, 0.0)),
        "",
        "Peak RSS in MB by kind of process:",
        "",
        *_kinds(ours, lambda run, kind: run.rss_of.get(kind, 0) / 1e6, without=metering.COMMANDS),
        "",
    ]


def extras(found: Found) -> list[str]:
    """Return a line for each further figure of each workload."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for workload, systems in found.groups.items():
        for system, runs in systems.items():
            for run in runs:
                for name, value in run.extra.items():
                    values.setdefault((workload, system, name), []).append(value)
    return [f"- {w} {s}: {name} {figures.spread(each)}" for (w, s, name), each in values.items()]


def _line(found: Found, workload: str, system: str, runs: Sequence[Run]) -> str:
    ratios = found.ratios(workload, system) if system != OURS else []
    steady = [run.steady for run in runs if run.steady_s]
    cells = [
        system,
        f"{runs[0].count:,}",
        _row(run.rate for run in runs),
        figures.spread(steady) if steady else "-",
        _row(ratios) if ratios else "-",
        figures.spread(ratios) if ratios else "-",
        figures.spread(run.cpu_us for run in runs),
        f"{max(run.rss_bytes for run in runs) / 1e6:.0f}",
    ]
    return _cells(cells)


def _kinds(
    ours: Sequence[tuple[str, Sequence[Run]]],
    of: Callable[[Run, str], float],
    without: str = "",
) -> list[str]:
    kinds = [each for each in metering.KINDS if each != without]
    lines = [_cells(["workload", *kinds]), "|" + "---|" * (len(kinds) + 1)]
    for name, runs in ours:
        medians = [figures.middle(runs, lambda run, kind=kind: of(run, kind)) for kind in kinds]  # type: ignore[misc]
        lines.append(_cells([name, *(figures.short(each) for each in medians)]))
    return lines


def _row(values: Iterable[float]) -> str:
    return " · ".join(figures.short(each) for each in values)


def _cells(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
