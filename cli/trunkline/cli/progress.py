"""How jobs that run are shown: live bars with pace and time to go on a terminal, otherwise a line per change."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from trunkline.cli import render, saying
from trunkline.cli.core import explanations
from trunkline.cli.core import pace as paces
from trunkline.contracts import records
from trunkline.contracts.states import JobState
from trunkline.runtime import terminals
from trunkline.runtime.clock import SystemClock


class Progress(Protocol):
    """What shows jobs."""

    def show(self, jobs: Sequence[records.Job]) -> None:
        """Show them as they stand now."""
        ...

    def tell(self, text: str) -> None:
        """Say a line beside them."""
        ...


@contextmanager
def shown(*, lines: bool = True) -> Iterator[Progress]:
    """Yield what shows jobs: bars if stderr is a terminal, so that stdout stays clean.

    Args:
        lines: Whether there are lines where it is none; otherwise nothing.
    """
    if sys.stderr.isatty():
        yield from _bars()
    else:
        yield _Lines() if lines else _Nothing()


def good(job: records.Job) -> int:
    """Return how many datums of a job have ended well."""
    return job.counts.processed + job.counts.skipped + job.counts.recovered


def failed(job: records.Job) -> int:
    """Return how many have not."""
    return job.counts.failed + job.counts.quarantined


def progress(job: records.Job) -> str:
    """Return `processed + skipped + recovered / total`; recovered ones where there are some."""
    counts = job.counts
    recovered = f" + {counts.recovered}" if counts.recovered else ""
    return f"{counts.processed} + {counts.skipped}{recovered} / {_total(job)}"


def _total(job: records.Job) -> str:
    return f"{job.listed_to}+" if job.total is None else str(job.total)


def summary(job: records.Job) -> str:
    """Return what became of a job, in one line."""
    counts = job.counts
    parts = [
        f"{number} {word}"
        for number, word in (
            (counts.processed, "processed"),
            (counts.skipped, "skipped"),
            (counts.recovered, "recovered"),
            (counts.failed, "failed"),
            (counts.quarantined, "quarantined"),
        )
        if number
    ]
    text = f"{job.pipeline}@{job.id[:12]} {job.state}"
    if job.started_ns:
        total = "?" if job.total is None else job.total
        took = render.took(job.started_ns, job.ended_ns)
        text += f": {', '.join(parts) or 'none'} of {total} datums in {took}"
    return text + (f"; {job.reason}" if job.reason else "")


class _Lines:
    """A line when a job changes its state, and one for each tenth of its datums."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[JobState, int]] = {}

    def show(self, jobs: Sequence[records.Job]) -> None:
        for job in jobs:
            tenth = 10 * (good(job) + failed(job)) // job.total if job.total else 0
            if self._last.get(job.pipeline) != (job.state, tenth):
                self._last[job.pipeline] = (job.state, tenth)
                text = f"{job.pipeline}@{job.id[:12]} {job.state}"
                if job.started_ns:
                    text += f" {good(job)}/{_total(job)}"
                if failed(job):
                    text += f", {failed(job)} failed"
                saying.tell(text)

    def tell(self, text: str) -> None:
        saying.tell(text)


class _Nothing:
    """For programs, which ask for the end only."""

    def show(self, jobs: Sequence[records.Job]) -> None:
        """Show nothing."""

    def tell(self, text: str) -> None:
        """Say nothing."""


def pace(looks: paces.Pace, job: records.Job, now_s: float) -> str:
    """Return how fast a job goes and when it will have ended, after one more look at it."""
    if job.state.ended or not job.started_ns:
        return ""
    looks.look(now_s, good(job) + failed(job) - job.counts.skipped)
    per_s = looks.per_s(job.started_ns / 1e9)
    if job.total is None:
        return paces.told(per_s)
    left_s = paces.left_s(job.total - good(job) - failed(job), per_s)
    return f"{paces.told(per_s)}, {'?' if left_s is None else explanations.span(left_s)} to go"


def _bars() -> Iterator[Progress]:
    from rich import console  # noqa: PLC0415 - a terminal's only
    from rich import progress as bars  # noqa: PLC0415

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[state]}"),
        bars.TextColumn("{task.fields[pace]}"),
        bars.TimeElapsedColumn(),
    )
    with bars.Progress(*columns, console=console.Console(stderr=True)) as progress:
        tasks: dict[str, bars.TaskID] = {}
        looks: dict[str, paces.Pace] = {}
        clock = SystemClock()

        class Bars:
            """One bar per job."""

            def show(self, jobs: Sequence[records.Job]) -> None:
                for job in jobs:
                    if job.pipeline not in tasks:
                        tasks[job.pipeline] = progress.add_task(
                            job.pipeline, state="", pace="", total=None
                        )
                    bad = f", {failed(job)} failed" if failed(job) else ""
                    progress.update(
                        tasks[job.pipeline],
                        completed=good(job),
                        total=job.total,
                        state=f"{job.state}{bad}",
                        pace=pace(
                            looks.setdefault(job.pipeline, paces.Pace()), job, clock.wall_ns() / 1e9
                        ),
                    )
                    if job.state.ended:
                        progress.stop_task(tasks[job.pipeline])

            def tell(self, text: str) -> None:
                progress.console.print(terminals.line(text), highlight=False, markup=False)

        yield Bars()
