"""Gives leases back to their queue in the name of workers that are gone.

Ack subjects are built here from the claim's numbers. A nak takes one question first: how many deliveries the
job's consumer has made (see `subjects.ack`). It is asked once for all that is given back of a job at a time; then
the naks go out in one burst.

Killed between any two of them, what is left is in the claim that still stands, and the successor gives all of it
back: a nak of what is settled or purged does nothing. A job without a consumer has ended: nothing of it is in any
queue, so nothing is given back, nor counted.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from trunkline.bus import deliveries
from trunkline.contracts import errors, names, subjects
from trunkline.contracts.messages import Held
from trunkline.runtime import backoff
from trunkline.runtime.clock import Clock
from trunkline.scaler.counting import Counting

log = logging.getLogger(__name__)

NAK_S = 10.0
"""Seconds for which a nak is tried: the lease itself ends soon after."""

Deliveries = Callable[[str, str], Awaitable[int | None]]
"""(pipeline, job) -> how many deliveries its consumer has made; None when there is none (any more)."""


class Wire(Protocol):
    """Sends, and expects no answer."""

    async def publish(self, subject: str, data: bytes) -> None:
        """Send; raise UnavailableError where that is not possible now."""
        ...


class GivingBack:
    """See the module.

    Args:
        wire: In the account DATA.
        deliveries: How a nak is made valid.
        clock: For how long it took.
        counting: What was given back.
    """

    def __init__(
        self, wire: Wire, deliveries: Deliveries, clock: Clock, counting: Counting
    ) -> None:
        self._wire, self._deliveries = wire, deliveries
        self._clock, self._counting = clock, counting

    async def give(
        self, pipeline: str, job: str, held: Sequence[Held], since_s: float | None
    ) -> None:
        """Give datums of one job back; what does not work in time, the end of the lease does.

        Args:
            pipeline: Theirs.
            job: Theirs.
            held: Their leases.
            since_s: Since when it is known that their worker is gone; None: it has left by itself.
        """
        try:
            async with asyncio.timeout(NAK_S):
                sent = await self._send_at_last(pipeline, job, held)
        except TimeoutError:
            log.warning("not given back", extra={"pipeline": pipeline, "job": job})
            return
        except errors.TrunklineError as error:
            # a claim is hostile input: what has no valid name was never delivered. And what JetStream
            # refuses in the time that there is, the end of the lease does
            log.warning("not given back", extra={"pipeline": pipeline, "reason": str(error)})
            return
        if sent:
            took_s = None if since_s is None else self._clock.monotonic_s() - since_s
            self._counting.given_back(pipeline, sent, took_s)

    async def _send_at_last(self, pipeline: str, job: str, held: Sequence[Held]) -> int:
        failures = 0
        while True:
            try:
                return await self._send(pipeline, job, held)
            except errors.UnavailableError:
                await asyncio.sleep(backoff.delay_s(failures, most_s=1.0))
                failures += 1

    async def _send(self, pipeline: str, job: str, held: Sequence[Held]) -> int:
        """Send the naks; return how many there were to send; raise UnavailableError."""
        count = await self._deliveries(pipeline, names.commit(job))
        if count is None:
            return 0
        for each in held:
            subject = subjects.ack(pipeline, job, each.sequence, count or 1)
            await self._wire.publish(subject, deliveries.NAK)
        return len(held)
