"""A request to the store that fails is repeated, a few times and soon, before its caller hears of it.

Callers begin whole steps again when the store is away: a merge, the staging of a datum. A step of a
hundred requests, of which five in a hundred fail, would hardly ever come to its end that way. Every request
may be repeated: a read changes nothing, and whoever writes an object writes the same bytes.

An outage is the callers' business all the same, who know how long they can wait: it is told after a
second, and a request that took long to fail is not repeated at all.
"""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from trunkline.contracts import errors

PAUSES_S = (0.05, 0.1, 0.2, 0.4)
"""Before the second try, the third, ...: one in a hundred thousand fails for good where one in ten does."""
SOON_S = 2.0
"""A try that took longer than this is the last one: somebody waits for the answer."""

P = ParamSpec("P")
T = TypeVar("T")


def repeated(call: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Return the request with its repeats; a single try of it is `__wrapped__`."""

    @functools.wraps(call)
    async def called(*arguments: P.args, **named: P.kwargs) -> T:
        for pause_s in PAUSES_S:
            began_s = time.monotonic()
            try:
                return await call(*arguments, **named)
            except errors.UnavailableError:
                if time.monotonic() - began_s > SOON_S:
                    raise
            await asyncio.sleep(pause_s)
        return await call(*arguments, **named)

    return called
