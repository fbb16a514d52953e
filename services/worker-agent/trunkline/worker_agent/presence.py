"""A worker's claims: what it holds, told at once when that changes, and as a sign of life.

A claim is published and not waited for. Changes that come one after the other are told together, after
some milliseconds; what is delivered and settled in between is never told, and what a kill leaves
unclaimed in that time the scaler looks for. Before a command starts, the claim is sent at once. One that is lost with the connection is made up for by the
one after the reconnect; the reaper acts on what it knows, and ack_wait is behind it.

The first claim is waited for: the sequence under which it is stored orders this process among all that have had
its name, before and after, without a clock. Until the server answers, at each heartbeat it is tried again, and claims
say that they have no order; nothing else waits for it.
"""

import asyncio
import contextlib
import secrets

from trunkline.bus.ports import Connection, Publisher
from trunkline.contracts import errors, messages, subjects
from trunkline.contracts.messages import Claim, Cut, Held
from trunkline.contracts.wards import Ward
from trunkline.runtime import tracing
from trunkline.runtime.clock import Clock
from trunkline.worker_agent.core.holding import Holding
from trunkline.worker_agent.settings import Settings

LINGER_S = 0.02
"""Seconds that a change may wait for others to be told with it."""
ENTRY_S = 2.0
"""Seconds for which an answer to the first claim is waited for."""
HELD_S = 0.0002
"""So much longer for each message that is held: a claim of hundreds is dear, and holds 50 ms of work."""


class Presence:
    """The one sender of a worker's claims."""

    def __init__(
        self,
        connection: Connection,
        publisher: Publisher,
        ward: Ward,
        config: Settings,
        holding: Holding,
        *,
        clock: Clock,
        cut: Cut | None = None,
    ) -> None:
        self._connection, self._publisher = connection, publisher
        self._subject = subjects.claims(ward, config.worker)
        self._config = config
        self._holding = holding
        self._clock = clock
        self._due = asyncio.Event()
        self._pulled_ns = 0
        self._order = self._told = 0
        self._since_ns = clock.wall_ns()
        self.cut = cut
        """What the last container's end has cut short, in this life or the one before: told with each claim."""
        self.incarnation = secrets.token_hex(16)
        """This process's life, among all that have the worker's name."""
        self.closing = False
        """Set for the last claim."""
        self.traceparent = ""
        """The `traceparent` of the attempt that was begun last."""

    def due(self) -> None:
        """Have a claim sent soon: what is held has changed, or somebody has asked."""
        self._due.set()

    def pulling(self) -> None:
        """Note that a pull was sent; the first time counts."""
        self._pulled_ns = self._pulled_ns or self._clock.wall_ns()

    def cut_short(self, held: Held, at_ns: int) -> None:
        """Note that the user's container ended while this was executing; and tell it."""
        own = self.cut if self.cut and self.cut.incarnation == self.incarnation else None
        self.cut = Cut(
            incarnation=self.incarnation,
            held=(*(own.held if own else ()), held),
            since_ns=self._since_ns,
            at_ns=own.at_ns if own else at_ns,
        )
        self._due.set()

    async def tell(self) -> None:
        """Publish what is held now."""
        claim = self._claim()
        headers = tracing.headers(self.traceparent) if claim.held else None
        try:
            await self._connection.publish(self._subject, messages.encode(claim), headers=headers)
        except errors.UnavailableError:
            return

    async def _enter(self) -> None:
        """Publish it, and wait until it is stored: by that we have our place among all of this name."""
        data = messages.encode(self._claim())
        try:
            stored = await self._publisher.put(self._subject, data, timeout_s=ENTRY_S)
        except (errors.UnavailableError, errors.RefusedError):
            return
        self._order = stored.sequence
        self._due.set()

    def _claim(self) -> Claim:
        self._due.clear()
        claim = Claim(
            worker=self._config.worker,
            incarnation=self.incarnation,
            code_hash=self._config.code_hash,
            slots=self._holding.slots,
            held=self._holding.held(),
            draining=self._holding.stopped,
            closing=self.closing,
            pulled_ns=self._pulled_ns,
            at_ns=self._clock.wall_ns(),
            order=self._order,
            number=self._told,
            connection=self._connection.at_server,
            instance=self._config.instance,
            cut=self.cut,
        )
        self._told += 1
        return claim

    async def tell_if_due(self) -> None:
        """Publish a claim, unless the last one says it all."""
        if self._due.is_set():
            await self.tell()

    async def tell_forever(self) -> None:
        """Publish the claim when it is due, and every heartbeat."""
        await self._enter()
        while not self.closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._config.heartbeat_s):
                    await self._due.wait()
                if not self._holding.stopped:  # who waits for us to drain is not kept waiting
                    await asyncio.sleep(LINGER_S + HELD_S * len(self._holding.leases))
                if not self._due.is_set():  # it was told before a command started
                    continue
            await (self.tell() if self._order else self._enter())
