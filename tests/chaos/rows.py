"""What became of each seed, in a file that outlives whoever writes it: a line of JSON for each, as it ends.

A series of many hours is cut short now and then. Its file holds every seed that has come to an end, so the
next run goes on with those that are missing, and the table is made of the file, whoever has run what. How
fast the machine was is a part of each row: the next run may have it to itself. A line that a kill has torn
is as if it was not there: its seed is run again. One file may hold several *setups*; rows of another one are
passed over. A row holds only by what it shows: one of before something was looked at shows it not.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import count, islice, takewhile
from pathlib import Path

import msgspec

from trunkline.audit.core.findings import Report
from trunkline.chaos.core import schedule
from trunkline.chaos.core.schedule import Habit

_DUE = 2
"""Faults of a habit of which one must have hit somebody: there may be nobody for once, who is just killed."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a series is about; its rows can be compared with each other."""

    what: str = "kills"
    """Of `schedule.HABITS`; nothing breaks if it is empty."""

    @property
    def habits(self) -> tuple[Habit, ...]:
        """Return what breaks."""
        return schedule.HABITS[self.what] if self.what else ()

    datums: int = 12_000
    servers: int = 1
    """Of NATS."""
    standbys: bool = False
    """Whether another coordinator and another scaler stand by."""
    failing_store: bool = False
    """Whether the store fails `schedule.FAILING` of all calls all the time, before and after they are done."""

    def __str__(self) -> str:
        told = [
            f"{self.what}, {self.datums:,} datums",
            f"{self.servers} NATS servers" if self.servers > 1 else "",
            "with standbys" if self.standbys else "",
            "the store failing all the time" if self.failing_store else "",
        ]
        return ", ".join(filter(None, told))


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one job."""

    setup: Setup
    seed: int
    state: str
    wall_s: float
    undisturbed_s: float = 0.0
    """What the same takes when nothing breaks, measured by whoever has run this row; 0: not known."""
    faults: dict[str, int] = {}
    """`kill worker` -> how often."""
    refused: int = 0
    """Results that came second, as the workers that had them tell: at the least, since logs are cut."""
    report: Report | None = None
    """What `verify` says; None if it never came to that."""
    differing: int | None = None
    """Paths at which the output is not what it must be; None: not looked at."""
    reasons: tuple[str, ...] = ()
    """Why it did not succeed: the job's reason, and what each bad datum went through."""

    @property
    def ratio(self) -> float:
        """Return the time it took over that of the undisturbed run; 0: not known."""
        return self.wall_s / self.undisturbed_s if self.undisturbed_s else 0.0

    @property
    def holds(self) -> bool:
        """Whether it did all that it had to, and nothing twice, while all broke that was to."""
        report = self.report
        whole = report is not None and not report.broken and not report.unknown
        return whole and self.state == "SUCCESS" and not self.unproved

    @property
    def unproved(self) -> tuple[str, ...]:
        """Return what is missing for that, beside the state and what `verify` says."""
        if self.report is None:
            return ()
        found = [f"{habit.kind} {habit.target}: nobody was hit" for habit in self._idle()]
        if self.report.datums != self.setup.datums:
            found.append(f"{self.report.datums} datums, not {self.setup.datums}")
        if self.differing is None:
            found.append("its output was not looked at")
        elif self.differing:
            found.append(f"its output is wrong at {self.differing} paths")
        return tuple(found)

    def _idle(self) -> Iterator[Habit]:
        """Yield the habits that had time to hit somebody, and did not."""
        for habit in self.setup.habits:
            faults = schedule.faults(self.seed, (habit,))
            due = list(islice(takewhile(lambda each: each.at_s < self.wall_s, faults), _DUE))
            if len(due) == _DUE and not self.faults.get(f"{habit.kind} {habit.target}"):
                yield habit


class Rows:
    """Those of one setup in a file, which need not be there yet."""

    def __init__(self, file: Path, setup: Setup) -> None:
        self._file, self._setup = file, setup

    def add(self, row: Ran) -> None:
        """Append it; it is on the disk when this returns."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # torn: what is appended must not go with it
                    file.write(b"\n")
            file.write(msgspec.json.encode(row) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    @property
    def ran(self) -> list[Ran]:
        """By seed; of a seed that was tried again, the newest row."""
        found = {each.seed: each for each in self._lines()}
        return [found[seed] for seed in sorted(found)]

    def missing(self, seeds: Iterable[int]) -> list[int]:
        """Return which of these seeds have no row."""
        there = {each.seed for each in self.ran}
        return [seed for seed in seeds if seed not in there]

    def _lines(self) -> Iterator[Ran]:
        try:
            lines = self._file.read_bytes().splitlines()
        except FileNotFoundError:
            return
        for text in lines:
            try:
                row = msgspec.json.decode(text, type=Ran)
            except msgspec.DecodeError:
                continue
            if row.setup == self._setup:
                yield row


def put_aside(file: Path) -> None:
    """Have room for a new series; what is there goes to the first `.before-N` that is not."""
    if not file.exists():
        return
    aside = (file.with_name(f"{file.name}.before-{number}") for number in count(1))
    file.replace(next(each for each in aside if not each.exists()))
