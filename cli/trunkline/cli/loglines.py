"""Pieces of the log stream made into lines again, and lines as they are shown.

A line may come in several pieces: of one that is longer than a piece, or had no end for a while. It is held
until it has one, or until nothing more of it has come between two looks: then it is shown as it stands,
and what comes later stands on a line of its own.
"""

import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from trunkline.contracts import api
from trunkline.runtime import terminals

HELD_CHARS = 256 * 1024
"""Of a line that has no end, this much is held."""

HELD_LINES = 500
"""So many lines that have no end are held: each that a command leaves without one stays until all is read."""

Key = tuple[str, int, int, str, str, int]
"""An attempt: job, index, generation, worker, incarnation, number."""

_ONE = r"(?:[34]8;(?:5;\d{1,3}|2(?:;\d{1,3}){3})|[34][0-79]|9[0-7]|10[0-7]|0?[01]?)"
"""A colour, bold, or neither. What else there is may hide a text (8) or make it blink."""
_COLOUR = re.compile(rf"\x1b\[{_ONE}(?:;{_ONE})*m")
_RESET = "\x1b[0m"
_RESETS = frozenset({_RESET, "\x1b[m"})


class Line(NamedTuple):
    """A line that was printed."""

    entry: api.LogEntry
    """What it, or its last piece, came with."""
    text: str


class _Held(NamedTuple):
    entry: api.LogEntry
    text: str
    looks: int


def attempt(entry: api.LogEntry) -> Key:
    """Return which attempt an entry is of."""
    line = entry.line
    at = entry.job, line.index, line.generation
    return *at, line.worker, line.incarnation, line.attempt


class Lines:
    """Makes lines of pieces."""

    def __init__(self) -> None:
        self._held: dict[tuple[Key, str], _Held] = {}

    def __len__(self) -> int:
        """Return how many lines are held that have no end yet."""
        return len(self._held)

    def take(self, entry: api.LogEntry) -> Iterator[Line]:
        """Take a piece; yield the lines that have an end by it, and what is too long to be held."""
        key = attempt(entry), entry.line.stream
        before = self._held.pop(key, None)
        text = (before.text if before else "") + entry.line.text
        if entry.line.stream == "agent" and not text.endswith("\n"):
            text += "\n"  # of ours each piece is whole
        *whole, rest = text.split("\n")
        for each in whole:
            yield Line(entry, each)
        if len(rest) > HELD_CHARS:
            yield Line(entry, rest)
        elif rest:
            self._held[key] = _Held(entry, rest, 0)
        if len(self._held) > HELD_LINES:
            oldest = self._held.pop(next(iter(self._held)))
            yield Line(oldest.entry, oldest.text)

    def looked(self, *, end: bool = False) -> Iterator[Line]:
        """Yield what has not grown for a look, or at the end all that is held."""
        for key, held in list(self._held.items()):
            if end or held.looks:
                del self._held[key]
                yield Line(held.entry, held.text)
            else:
                self._held[key] = held._replace(looks=1)


def shown(line: Line, *, timestamps: bool, terminal: bool) -> str:
    """Return a line as people read it: when, which datum and attempt, what."""
    entry = line.entry
    datum = f"{entry.line.index}"
    if entry.line.attempt > 1 or entry.line.generation > 1:
        datum += f"/{entry.line.attempt}"
    text = _on_a_terminal(line.text) if terminal else line.text
    at = f"{time_of(entry.line.at_ns)} " if timestamps else ""
    return f"{at}[{entry.job[:8]} {datum} {entry.line.stream}] {text}"


def time_of(at_ns: int) -> str:
    """Return a time in UTC, with milliseconds."""
    at = datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="milliseconds")
    return at.replace("+00:00", "Z")


def _on_a_terminal(text: str) -> str:
    """Return what a terminal would show in the end: in colours, which end with the line; no other sequence passes."""
    last = text.rstrip("\r").rpartition("\r")[2]
    colours = _COLOUR.findall(last)
    plain = map(terminals.harmless, _COLOUR.split(last))
    made = "".join(map("".join, itertools.zip_longest(plain, colours, fillvalue="")))
    return made if not colours or colours[-1] in _RESETS else made + _RESET
