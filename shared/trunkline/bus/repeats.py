"""Requests that may be repeated are, until there is an answer or their time is over.

So a server's restart is no event for who reads. A request that writes is sent once, unless whoever
sends it has made a second one harmless (see `publishing`).
"""

import asyncio
from collections.abc import Awaitable, Callable

from trunkline.bus import jetstream
from trunkline.bus.ports import Message
from trunkline.bus.requests import Requests
from trunkline.contracts import errors

TRY_S = 2.0
"""Seconds after which a request that may be repeated is repeated, though nothing was lost."""
BUSY_S = 0.1
"""Seconds to wait when the server says that it cannot do it right now."""


class Repeats:
    """Those of one connection.

    Args:
        requests: Sends one.
        until_connected: Returns once there is a server.
        closed: Set when the connection is closed for good: then nothing is repeated.
    """

    def __init__(
        self,
        requests: Requests,
        until_connected: Callable[[], Awaitable[None]],
        closed: asyncio.Event,
    ) -> None:
        self._requests, self._until_connected, self._closed = requests, until_connected, closed

    async def ask(self, subject: str, data: bytes, *, timeout_s: float) -> Message:
        """Return the answer to a request."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            try:
                return await self._requests.ask(
                    subject, data, b"", min(TRY_S, max(deadline - loop.time(), 0.0))
                )
            except errors.UnavailableError as error:
                await self.before_next(error, deadline)

    async def ask_many(
        self, subject: str, data: bytes, *, timeout_s: float
    ) -> tuple[list[Message], Message]:
        """Return all parts of the answer to a request, of one try, and the status that ends it."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            try:
                return await self._requests.ask_many(subject, data, timeout_s)
            except errors.UnavailableError as error:
                await self.before_next(error, deadline)

    async def before_next(self, error: errors.UnavailableError, deadline: float) -> None:
        """Wait until repeating may help; raise the error if it cannot before the deadline."""
        if asyncio.get_running_loop().time() >= deadline or self._closed.is_set():
            raise error
        try:
            async with asyncio.timeout_at(deadline):
                await self._until_connected()
                if isinstance(error, (jetstream.NoRespondersError, errors.NotLeadingError)):
                    await asyncio.sleep(BUSY_S)  # a server that has just come up, a leader in doubt
        except TimeoutError:
            raise error from None
