"""When a cron input ticks: `parse` reads a cron expression, `Schedule.after` says what comes next.

The language is that of Pachyderm's cron inputs: five fields (minute, hour, day of the month, month, day
of the week) of `*`, numbers, names, ranges, lists and steps; `@hourly` and the like; `@every 90s`; and
`@never`, which ticks only when told to, as does a day that never comes (`0 0 31 2 *`, often seen). All
times are UTC. As in every cron, a day that is restricted both by its number and by its weekday comes
when either fits.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from trunkline.contracts import errors, quantities

_MOST_CHARS = 200
_MOST_EVERY_S = 365 * 24 * 3600.0
_NEXT_DAYS = 366 * 8 + 1
"""The longest wait for a day that comes at all: a February 29 may take eight years."""

_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_JAN_TO_DEC = "jan feb mar apr may jun jul aug sep oct nov dec"
_SUN_TO_SAT = "sun mon tue wed thu fri sat"
_MONTHS = {name: number for number, name in enumerate(_JAN_TO_DEC.split(), start=1)}
_WEEKDAYS = {name: number for number, name in enumerate(_SUN_TO_SAT.split())}
_RANGE = re.compile(r"(\*|\?|\w+)(?:-(\w+))?(?:/(\d{1,4}))?", re.ASCII)


@dataclass(frozen=True)
class _Field:
    what: str
    least: int
    most: int
    names: dict[str, int]


_FIELDS = (
    _Field("minute", 0, 59, {}),
    _Field("hour", 0, 23, {}),
    _Field("day of the month", 1, 31, {}),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 6, {**_WEEKDAYS, "7": 0}),
)


@dataclass(frozen=True)
class Schedule:
    """The moments at which something ticks: by the clock, or at an interval if `every_s` is set."""

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    """0 is Sunday."""
    either_day: bool = False
    """Whether a day need only fit `days` or `weekdays`: both are restricted."""
    every_s: int | None = None

    def after(self, moment: datetime) -> datetime | None:
        """Return the first tick after a moment, in UTC; None if there is none.

        It comes at a whole second; so an interval counts in whole ones, too.
        """
        try:
            return self._after(moment.astimezone(UTC))
        except OverflowError:  # beyond the year 9999
            return None

    def _after(self, moment: datetime) -> datetime | None:
        if self.every_s is not None:
            return moment.replace(microsecond=0) + timedelta(seconds=self.every_s)
        start = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        times = sorted((hour, minute) for hour in self.hours for minute in self.minutes)
        for ahead in range(_NEXT_DAYS if times else 0):
            day = start + timedelta(days=ahead)
            if self._has(day):
                first = (start.hour, start.minute) if ahead == 0 else (0, 0)
                for hour, minute in times:
                    if (hour, minute) >= first:
                        return day.replace(hour=hour, minute=minute)
        return None

    def _has(self, day: datetime) -> bool:
        by_number = day.day in self.days
        by_weekday = day.isoweekday() % 7 in self.weekdays
        fits = by_number or by_weekday if self.either_day else by_number and by_weekday
        return fits and day.month in self.months


def parse(text: str) -> Schedule:
    """Return the schedule that an expression describes, or raise InvalidScheduleError."""
    words = text[: _MOST_CHARS + 1].split()
    if len(text) > _MOST_CHARS:
        raise errors.InvalidScheduleError(text, f"it has over {_MOST_CHARS} characters")
    if words == ["@never"]:
        return Schedule()
    if words[:1] == ["@every"]:
        seconds = quantities.duration_s("".join(words[1:]))
        if seconds is None or not 1 <= seconds <= _MOST_EVERY_S:
            reason = "`@every` needs a duration from 1s to a year, such as 90s or 1h30m"
            raise errors.InvalidScheduleError(text, reason)
        return Schedule(every_s=int(seconds))
    if len(words) == 1 and words[0] in _NAMED:
        words = _NAMED[words[0]].split()
    if len(words) != len(_FIELDS) or words[0].startswith(("TZ=", "CRON_TZ=")):
        known = ", ".join(_NAMED)
        reason = f"it needs five fields (in UTC), or one of {known}, @every and @never"
        raise errors.InvalidScheduleError(text, reason)
    parts = [_values(text, word, field) for word, field in zip(words, _FIELDS, strict=True)]
    minutes, hours, days, months, weekdays = parts
    return Schedule(
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=weekdays,
        either_day=words[2][0] not in "*?" and words[4][0] not in "*?",
    )


def _values(text: str, word: str, field: _Field) -> frozenset[int]:
    found: set[int] = set()
    for part in word.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise errors.InvalidScheduleError(text, f"{part!r} is no {field.what}")
        first, last, step = match[1], match[2], int(match[3] or 1)
        if first in ("*", "?"):
            low, high = field.least, field.most
        else:
            low = _number(text, first, field)
            high = _number(text, last, field) if last else field.most if match[3] else low
        if low > high or step < 1 or (last and first in ("*", "?")):
            raise errors.InvalidScheduleError(text, f"{part!r} is no {field.what}")
        found.update(range(low, high + 1, step))
    return frozenset(found)


def _number(text: str, word: str, field: _Field) -> int:
    number = int(word) if word.isascii() and word.isdigit() and len(word) <= 4 else -1
    value = field.names.get(word.lower(), number)
    if not field.least <= value <= field.most:
        reason = f"{word!r} is no {field.what}: it goes from {field.least} to {field.most}"
        raise errors.InvalidScheduleError(text, reason)
    return value
