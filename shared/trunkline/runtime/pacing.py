"""A bound on how much a process logs: so many records of a phrase in a while, the rest counted.

Whoever can have us say something can have us say it as fast as it sends: a claim under a wrong ward, a
message that nobody can read. Since a phrase of ours is constant and what varies is in `extra`, all records of
one place in the code have the same phrase, whatever was sent; so there are as few counters as there
are places. Libraries put into a phrase what varies: of each logger the first phrases of a while have
a counter of their own, and all others share one, told as OTHERS. What was left out is told with the next record of
that phrase, or by the next record of any once its while is over. Killed before that, a process takes a
count with it, and nothing else.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

WHILE_S = 60.0
"""Seconds for which records of a phrase are counted together."""
MOST = 200
"""Records of a phrase that are written in a while: some 3 a second, of which each has a few hundred
bytes. What happens once for each worker or job of a busy installation stays whole."""
PHRASES = 20
"""Phrases of a logger with a counter of their own: more than any module of ours has."""
OTHERS = "(other phrases)"


@dataclass
class _Count:
    begun_s: float
    level: int
    written: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class LeftOut:
    """So many records of a phrase were not written."""

    phrase: str
    level: int
    records: int


class Pace:
    """Decides which records are written.

    Invariant: of each phrase at most `most` records pass within a while, of each logger at most `most` times
    `phrases` and one, and each of the others is in exactly one LeftOut.
    """

    def __init__(
        self, *, most: int = MOST, while_s: float = WHILE_S, phrases: int = PHRASES
    ) -> None:
        self._most, self._while_s, self._phrases = most, while_s, phrases
        self._counts: dict[tuple[str, str], _Count] = {}
        self._of: Counter[str] = Counter()
        """Logger -> how many phrases of it have a counter."""

    def take(self, logger: str, phrase: str, level: int, now_s: float) -> bool:
        """Return whether a record is to be written."""
        key = logger, phrase
        if key not in self._counts and self._of[logger] >= self._phrases:
            key = logger, OTHERS
        if key not in self._counts:
            self._counts[key] = _Count(now_s, level)
            self._of[logger] += 1
        count = self._counts[key]
        if count.written < self._most:
            count.written += 1
            return True
        count.left_out += 1
        return False

    def over(self, now_s: float) -> list[LeftOut]:
        """Return what was left out in the whiles that are over, and forget these."""
        ended = [key for key, each in self._counts.items() if now_s - each.begun_s >= self._while_s]
        told: list[LeftOut] = []
        for key in ended:
            count = self._counts.pop(key)
            self._of[key[0]] -= 1
            if count.left_out:
                told.append(LeftOut(key[1], count.level, count.left_out))
        return told


class Paced(logging.Filter):
    """Puts a handler under a pace.

    Args:
        handler: The one that it filters; what was left out is written by it, too.
        monotonic_s: The clock.
    """

    def __init__(
        self, handler: logging.Handler, monotonic_s: Callable[[], float], pace: Pace | None = None
    ) -> None:
        super().__init__()
        self._handler, self._monotonic_s = handler, monotonic_s
        self._pace = pace or Pace()
        self.left_out = 0
        """Records that were not written, since the process began."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be written; first, write what was left out before."""
        now_s = self._monotonic_s()
        for each in self._pace.over(now_s):
            self._handler.emit(_told(each))
        written = self._pace.take(record.name, str(record.msg), record.levelno, now_s)
        self.left_out += not written
        return written


def _told(each: LeftOut) -> logging.LogRecord:
    record = logging.makeLogRecord({"name": __name__, "levelno": each.level})
    record.levelname = logging.getLevelName(each.level)
    record.msg = "log records were left out"
    record.phrase, record.records = each.phrase, each.records
    return record
