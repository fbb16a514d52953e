"""How jobs that run are shown: live bars with pace and time to go on a terminal, otherwise a line per change."""

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from trunkline.cli import render, saying
from trunkline.cli.core import board as boards
from trunkline.cli.core import pace as paces
from trunkline.cli.core import standing
from trunkline.contracts import records
from trunkline.contracts.states import JobState
from trunkline.contracts.wording import counted
from trunkline.runtime.clock import SystemClock

if TYPE_CHECKING:
    from rich.console import Console


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
    if not sys.stderr.isatty():
        yield _Lines() if lines else _Nothing()
        return
    from rich.console import Console  # noqa: PLC0415 - a terminal's only

    with bars(Console(stderr=True)) as drawn:
        yield drawn


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
    text = f"{standing.short(job)} {job.state}"
    if job.started_ns:
        total = "? datums" if job.total is None else counted(job.total, "datum")
        took = render.took(job.started_ns, job.ended_ns)
        text += f": {', '.join(parts) or 'none'} of {total} in {took}"
    return text + (f"; {job.reason}" if job.reason else "")


class _Lines:
    """A line when a job changes its state, and one for each tenth of its datums."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[JobState, int]] = {}

    def show(self, jobs: Sequence[records.Job]) -> None:
        for job in jobs:
            tenth = 10 * job.counts.done // job.total if job.total else 0
            if self._last.get(job.pipeline) != (job.state, tenth):
                self._last[job.pipeline] = (job.state, tenth)
                text = f"{standing.short(job)} {job.state}"
                if job.started_ns:
                    text += f" {job.counts.good}/{_total(job)}"
                if job.counts.bad:
                    text += f", {job.counts.bad} failed"
                saying.tell(text)

    def tell(self, text: str) -> None:
        saying.tell(text)


class _Nothing:
    """For programs, which ask for the end only."""

    def show(self, jobs: Sequence[records.Job]) -> None:
        """Show nothing."""

    def tell(self, text: str) -> None:
        """Say nothing."""


@contextmanager
def bars(console: "Console") -> Iterator[Progress]:
    """Yield what shows a bar for each job; the last ones stay."""
    from trunkline.cli import bars as drawing, board_view  # noqa: I001, PLC0415 - rich is a terminal's only

    looks: defaultdict[str, paces.Pace] = defaultdict(paces.Pace)
    clock = SystemClock()

    class Shown:
        """One bar per job."""

        def show(self, jobs: Sequence[records.Job]) -> None:
            now_ns = clock.wall_ns()
            going = [boards.going(looks[job.pipeline], job, now_ns / 1e9) for job in jobs]
            rows = [
                boards.job_row(job, now_ns, *each) for job, each in zip(jobs, going, strict=True)
            ]
            drawn.draw(board_view.jobs_part(rows))

        def tell(self, text: str) -> None:
            drawn.tell(text)

    with drawing.drawn(console, transient=False) as drawn:
        yield Shown()
