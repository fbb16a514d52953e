"""A client of the process pool: one connection that comes back by itself.

While the pool is away each request fails at once, with what is to be known; nobody waits for it and
nothing spins. What happened meanwhile is told as one `Lost`: look at the list again.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from trunkline.contracts import errors
from trunkline.local import pool_wire
from trunkline.runtime import backoff

log = logging.getLogger(__name__)

ANSWER_S = 5.0
"""Seconds after which a request without an answer is given up."""


class PoolAwayError(errors.TrunklineError):
    """The pool did not answer; whether it did what was asked is unknown."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the process pool is away: {reason}")
        self.reason = reason


class PoolClient:
    """Requests to the pool, and a callback for what happens there.

    Args:
        path: Of the pool's socket.
        on_event: Called with each event, and with None when some may have been missed.
    """

    def __init__(
        self,
        path: Path,
        on_event: Callable[[pool_wire.Started | pool_wire.Exited | None], None],
    ) -> None:
        self._path, self._on_event = path, on_event
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[pool_wire.Answer]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._decoder = msgspec.json.Decoder(pool_wire.Told)

    async def run(self) -> None:
        """Stay connected, for ever."""
        failures = 0
        while True:
            try:
                await self._converse()
                failures = 0
            except OSError as error:
                failures += 1
                if failures == 1:
                    log.warning("pool is away", extra={"reason": str(error)})
            await asyncio.sleep(backoff.delay_s(failures, first_s=0.02, most_s=0.5))

    async def ask(self, make: Callable[[int], pool_wire.Request]) -> pool_wire.Answer:
        """Return the answer to a request, made from its number; raise PoolAwayError."""
        if self._writer is None:
            raise PoolAwayError("not connected")
        number = next(self._numbers)
        future: asyncio.Future[pool_wire.Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._writer.write(msgspec.json.encode(make(number)) + b"\n")
            async with asyncio.timeout(ANSWER_S):
                return await future
        except TimeoutError:
            raise PoolAwayError("no answer in time") from None
        finally:
            del self._waiting[number]

    async def _converse(self) -> None:
        """Connect, and take what the pool says until it hangs up."""
        with pool_wire.address(self._path) as address:
            reader, writer = await asyncio.open_unix_connection(
                address, limit=64 * pool_wire.LINE_MAX_BYTES
            )
        try:
            writer.write(msgspec.json.encode(pool_wire.Watch(id=0)) + b"\n")
            self._writer = writer
            self._on_event(None)
            while line := await reader.readline():
                self._take(self._decoder.decode(line))
        finally:
            self._writer = None
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(PoolAwayError("it hung up"))
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self._on_event(None)

    def _take(self, told: pool_wire.Told) -> None:
        if not isinstance(told, pool_wire.Answer):
            self._on_event(told)
            return
        future = self._waiting.get(told.id)
        if future is not None and not future.done():
            future.set_result(told)
