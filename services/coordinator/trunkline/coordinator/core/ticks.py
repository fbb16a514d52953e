"""Which ticks of a cron input are due: a function of its schedule, the newest tick there is, and the time.

A tick is a file that is named after its time, in a commit whose id is made of the pipeline, the input and
that time. So whoever makes it again makes the same one.

What was missed, while nobody was there to make it or the pipeline was stopped, is made up for at once, in
one commit: the command sees a file for each tick that was missed, or, where a tick takes the place of
those before it, the newest one only. There is one job, not one for each; and of a schedule that has begun
long ago the newest MOST ticks are made, and no others.
"""

import hashlib
from datetime import UTC, datetime, timedelta

from trunkline.contracts.schedules import Schedule

MOST = 1000
"""Ticks that one commit makes up for."""
_LOOK_BACK = timedelta(minutes=MOST)
"""A schedule by the clock ticks once a minute at most."""


def name(pipeline: str, input_name: str) -> str:
    """Return what a cron input's newest tick stands under in the record of the branch of its ticks."""
    return f"{pipeline}.{input_name}"  # neither may hold a dot


def commit_id(pipeline: str, input_name: str, tick: datetime) -> str:
    """Return the id of the commit whose newest tick this is."""
    parts = ("tick", pipeline, input_name, path(tick))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def path(tick: datetime) -> str:
    """Return the path of a tick's file: its time as in RFC 3339, in UTC and whole seconds."""
    return f"/{tick.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def begin(start: datetime | None, made_ns: int) -> int:
    """Return after which time, in seconds since the epoch, an input ticks that never has.

    Args:
        start: What the spec says.
        made_ns: When the pipeline's version was applied.
    """
    return made_ns // 10**9 if start is None else int(start.timestamp())


def due(schedule: Schedule, last: int, start: datetime | None, now: datetime) -> list[datetime]:
    """Return the ticks that are due, oldest first; the newest MOST of them.

    Args:
        schedule: When the input ticks.
        last: The newest tick there is, or `begin`; seconds since the epoch.
        start: No tick comes before it.
        now: The time, in UTC.
    """
    since = _since(last, start)
    if schedule.every_s is not None:
        # equal steps from the last tick on: go over those that will not be made
        step = schedule.every_s
        left_out = int((now - since).total_seconds() // step) - MOST
        since += timedelta(seconds=step * max(0, left_out))
        return _ticks(schedule, since, now)
    back = _LOOK_BACK
    while True:
        first = max(since, now - back) if now - since > back else since
        found = _ticks(schedule, first, now)
        if len(found) >= MOST or first == since:
            return found[-MOST:]
        back *= 2


def following(schedule: Schedule, last: int, start: datetime | None) -> datetime | None:
    """Return the tick after the newest one there is; None if there is none."""
    return schedule.after(_since(last, start))


def _since(last: int, start: datetime | None) -> datetime:
    newest = datetime.fromtimestamp(last, UTC)
    return newest if start is None else max(newest, start)


def _ticks(schedule: Schedule, since: datetime, now: datetime) -> list[datetime]:
    found: list[datetime] = []
    tick = schedule.after(since)
    while tick is not None and tick <= now:
        found.append(tick)
        tick = schedule.after(tick)
    return found
