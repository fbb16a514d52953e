"""A file store that is dated by a clock which is set, and whose removals are interrupted."""

import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from trunkline.storage import local
from trunkline.storage.store import Store, open_store
from trunkline.storage.sweeping import Found, Objects

BEGIN_NS = 4_000_000_000 * 10**9


class Calendar:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now_ns = BEGIN_NS

    def wall_ns(self) -> int:
        return self.now_ns

    def monotonic_s(self) -> float:
        return self.now_ns / 1e9


class DatedDirectory(local.Directory):
    """Dates what is written by the calendar."""

    calendar: Calendar
    root: str

    def write(self, key: str, data: bytes) -> None:
        super().write(key, data)
        now = self.calendar.now_ns
        os.utime(f"{self.root}/{key}", ns=(now, now))


class Interrupted:
    """The objects of a store; things happen between any look at them and their removal."""

    def __init__(self, objects: Objects, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._objects, self._meanwhile = objects, meanwhile

    async def recover(self) -> None:
        await self._objects.recover()

    async def of_part(self, part: int) -> Sequence[Found]:
        if part % 64 == 0:
            await self._meanwhile()
        return await self._objects.of_part(part)

    async def remove(self, some: Sequence[Found], before_s: float) -> Sequence[Found]:
        await self._meanwhile()
        return await self._objects.remove(some, before_s)


async def nothing() -> None:
    """Let nothing happen."""


def dated_store(folder: Path, calendar: Calendar) -> Store:
    """Return a file store whose objects bear the calendar's dates."""
    store = open_store(f"file://{folder}", clock=calendar)
    store._here = DatedDirectory(str(folder), lambda: None)
    store._here.calendar, store._here.root = calendar, str(folder)
    return store
