"""Turns: who works on one thing does so alone, and who works on another does not wait.

A thing is anything with a name: a pipeline, a worker. There are more and more names the longer a process lives, so
none is kept that nobody holds or waits for: those who do are all that keeps its lock.
"""

import asyncio
from collections.abc import Hashable
from weakref import WeakValueDictionary


class Turns:
    """See the module. Names of one kind; `async with turns.of(name)`."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    def __len__(self) -> int:
        """Return of how many things somebody holds the turn, or waits for it."""
        return len(self._locks)

    def of(self, name: Hashable) -> asyncio.Lock:
        """Return the lock of a thing: the one that others hold or wait for now, if there are any."""
        return self._locks.setdefault(name, asyncio.Lock())
