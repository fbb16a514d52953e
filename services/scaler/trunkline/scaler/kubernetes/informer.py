"""Keeps a cache true: a list, then a watch from there, and a list again whenever that is in doubt.

    list --ok--> watch --ends by its own clock--> watch on, from the last version; where watches
                   |                                end at once and tell nothing, with growing waits
      ^            | 410, cut, no answer, or RELIST_S are over
      +--back-off--+

A version from the future (a restored etcd) is taken by servers and stays silent; a missed event would be
missed for ever. The list every few minutes is for that. It is read page by page, and of each page only
what is kept of it is held: a whole list of large pods is more than a scaler has memory. While it is away (`problem` is not empty) the cache
is what was true last.
"""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from trunkline.runtime import backoff
from trunkline.runtime.clock import Clock
from trunkline.scaler.kubernetes.api import ApiError, Told
from trunkline.scaler.kubernetes.cache import Cache, Reduced
from trunkline.scaler.kubernetes.reading import Object

log = logging.getLogger(__name__)

V = TypeVar("V")

WATCH_S = 60
RELIST_S = 300.0
_EARLY_S = 1.0
"""Less than that no server's clock makes of a watch."""
_DOUBT = 2
"""Failures in a row from which on the cache is not trusted: one cut is mended by one list."""


Pages = Callable[[str], Awaitable[Object]]
"""Returns a page, the first one or that after a token."""
Watch = Callable[[str, int, Told], Awaitable[None]]
"""Hands on events from a version on, until it ends."""


class Informer(Generic[V]):
    """Follows one kind of objects.

    Args:
        kind: Its name, for people.
        cache: Where they are kept.
        pages: Lists them.
        watches: Watches them.
        clock: For when to list again.
        tick: Counts up; orders lists and writes.
        woken: Called when it is known for the first time what there is, and when `problem` changes.
    """

    def __init__(
        self,
        kind: str,
        cache: Cache[V],
        pages: Pages,
        watches: Watch,
        *,
        clock: Clock,
        tick: Callable[[], int],
        woken: Callable[[], None],
    ) -> None:
        self._kind, self._cache, self._page, self._watch = kind, cache, pages, watches
        self._clock, self._tick, self._woken = clock, tick, woken
        self._version = ""
        self._failures = 0
        self.problem = f"{kind} have not been listed yet"
        """Why the cache cannot be trusted; empty while it can."""
        self.listed = asyncio.Event()
        """Set once it is known what there is."""
        self.back_s = -math.inf
        """When it was there again after it had been away; by the clock that never goes back."""

    async def run(self) -> None:
        """Follow them for ever."""
        while True:
            try:
                await self._relist()
                await self._follow()
            except ApiError as error:
                await self._failed(error)

    async def _relist(self) -> None:
        begun_at = self._tick()
        every: list[Reduced[V]] = []
        token, more = "", True
        while more:
            found, self._version, token = await self._reduced(token)
            every += found
            more = bool(token)
        if self.problem and self.listed.is_set():
            self.back_s = self._clock.monotonic_s()
        self._cache.replace(every, begun_at=begun_at)
        self.listed.set()
        self._doubt("")

    async def _reduced(self, token: str) -> tuple[list[Reduced[V]], str, str]:
        """Return what is kept of a page, its version, and the token of the next one."""
        answer = await self._page(token)
        found = [self._cache.reduce(each) for each in answer["items"]]
        meta = answer["metadata"]
        return found, meta["resourceVersion"], meta.get("continue") or ""

    async def _follow(self) -> None:
        vain = 0
        until_s = self._clock.monotonic_s() + RELIST_S * random.uniform(0.8, 1.0)  # noqa: S311
        while (left_s := until_s - self._clock.monotonic_s()) > 0:
            version, began_s = self._version, self._clock.monotonic_s()
            await self._watch(version, max(1, int(min(WATCH_S, left_s))), self._see)
            self._failures = 0
            early = self._clock.monotonic_s() - began_s < _EARLY_S
            vain = vain + 1 if early and self._version == version else 0
            if vain:
                log.debug("watch ended at once", extra={"kind": self._kind, "times": vain})
                await asyncio.sleep(_wait_s(vain))

    def _see(self, event: Object) -> None:
        found = event["object"]
        self._version = found["metadata"]["resourceVersion"]
        self._failures = 0
        if event["type"] == "DELETED":
            self._cache.ended(found["metadata"]["uid"])
        elif event["type"] != "BOOKMARK":
            self._cache.put(found)

    async def _failed(self, error: ApiError) -> None:
        self._failures += 1
        log.info("list or watch failed", extra={"kind": self._kind, "reason": str(error)})
        if self._failures >= _DOUBT or not self.listed.is_set():
            self._doubt(f"{error}{_remedy(error, self._kind)}")
        await asyncio.sleep(max(_wait_s(self._failures), error.retry_after_s))

    def _doubt(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            self._woken()


def _wait_s(times: int) -> float:
    return backoff.delay_s(times - 1, first_s=0.05, most_s=10.0)


def _remedy(error: ApiError, kind: str) -> str:
    if error.status not in (401, 403):
        return ""
    role = "ClusterRole" if kind == "nodes" else "Role"
    return f" (the scaler's account needs a {role} with get, list and watch on {kind})"
