"""Whether a store is there, for a process's readiness: what its last request has met.

A request that fails says so at once. That it is there again is told by the next request that succeeds,
or, where none comes, by a look every few seconds at the mark that the store's owner has put into it. The
coordinator owns it and looks all the time; a worker looks while its last request has failed. Nothing
ends because of it: whoever needs the store tries again by itself.
"""

import asyncio
import logging
from typing import Protocol

from trunkline.contracts import errors

log = logging.getLogger(__name__)

LOOK_S = 5.0
"""Seconds between two looks: a request for each, of the coordinator always."""


class Health:
    """What is known of a store."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self.problem = ""
        """Why its last request failed, in a sentence; empty if it did not."""
        self.failures = 0
        """Requests that failed for want of it."""
        self._last: errors.UnavailableError | None = None

    @property
    def problems(self) -> list[str]:
        """The same, for a list of reasons."""
        return [self.problem] if self.problem else []

    def doubt(self) -> None:
        """Say that nothing is known of it yet."""
        self.problem = f"store {self._shown} has not been looked at yet"

    def failed(self, error: errors.UnavailableError) -> errors.UnavailableError:
        """Note that it is away; return the error."""
        if not self.problem:
            log.warning("store is away", extra={"store": self._shown, "reason": error.reason})
        self.problem = str(error)
        if error is not self._last:  # a look that failed is told of twice
            self.failures, self._last = self.failures + 1, error
        return error

    def well(self) -> None:
        """Note that it has answered."""
        if self.problem:
            log.info("store is there", extra={"store": self._shown})
            self.problem = ""


class Watched(Protocol):
    """What is needed of `store.Store`."""

    health: Health

    async def mark(self) -> None:
        """Make it known as a store, or raise UnavailableError."""
        ...

    async def check(self) -> None:
        """Raise UnavailableError unless it is there, and is the one that was marked."""
        ...


async def watch(store: Watched, *, owner: bool) -> None:
    """Look at the store until cancelled; its `health` says what is found.

    Args:
        store: It.
        owner: Whether to mark it, and to look also when all is well.
    """
    marked = not owner
    while True:
        if owner or store.health.problem:
            try:
                if not marked:
                    await store.mark()
                    marked = True
                await store.check()
            except errors.UnavailableError as error:
                store.health.failed(error)
            else:
                store.health.well()
        await asyncio.sleep(LOOK_S)
