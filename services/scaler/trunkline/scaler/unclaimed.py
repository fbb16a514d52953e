"""Gives back what is in flight and in nobody's claim.

A worker claims a datum when it has received it, so there are two gaps in which a kill leaves a lease
that no claim tells of: the message is on its way to the worker, or the claim is on its way from it.
Without this, such a datum waits for the end of its lease.

Two looks at a job's consumer, some time apart. What was delivered before the first look, is in no
living worker's claim at the second, and is not settled, nobody works on: it is naked. More messages
than those in flight lie in that range; a nak of a settled one does nothing, so they need not be told
apart. It is done after a loss only, since what waits for the end of a back-off looks just the same: it
comes back early then. A living worker that was silent between the looks (stopped, or very slow) loses
a datum to another one that way: both run it, the first outcome counts.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from trunkline.bus import deliveries
from trunkline.bus.backlog import InFlight
from trunkline.bus.ports import Connection
from trunkline.contracts import errors, subjects
from trunkline.contracts.messages import Claim
from trunkline.scaler.core.losses import Key

log = logging.getLogger(__name__)

LOOK_S = 0.4
"""Seconds between the two looks; a worker claims within some milliseconds."""

MOST = 20_000
"""A range that is longer is left to the end of the lease: so many naks cost more than that."""

Job = tuple[str, str]
"""(pipeline, id)."""

Leases = Callable[[str, str], Awaitable[InFlight | None]]


class Unclaimed:
    """Looks for leases that nobody holds.

    Args:
        connection: In the account DATA.
        leases: Where a job's unsettled deliveries lie; None when it has no consumer.
        jobs: The jobs that have not ended.
        living: Workers that are not lost, with their last claims.
        lost: Set when a worker was lost.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        leases: Leases,
        jobs: Callable[[], Iterable[Job]],
        living: Callable[[], Iterable[tuple[Key, Claim]]],
        lost: asyncio.Event,
    ) -> None:
        self._connection, self._leases = connection, leases
        self._jobs, self._living = jobs, living
        self._lost = lost

    async def run(self) -> None:
        """Look after each loss, for ever."""
        while True:
            await self._lost.wait()
            self._lost.clear()
            try:
                await self._round()
            except errors.TrunklineError as error:
                log.info("unclaimed leases not looked for", extra={"reason": str(error)})

    async def _round(self) -> None:
        before: dict[Job, InFlight] = {}
        for pipeline, job in self._jobs():
            leases = await self._leases(pipeline, job)
            if leases is not None and leases.count > len(self._claimed(pipeline, job)):
                before[pipeline, job] = leases
        if not before:
            return
        await asyncio.sleep(LOOK_S)
        for (pipeline, job), leases in before.items():
            await self._give_back(pipeline, job, leases)

    async def _give_back(self, pipeline: str, job: str, before: InFlight) -> None:
        now = await self._leases(pipeline, job)
        claimed = self._claimed(pipeline, job)
        if now is None or now.count <= len(claimed) or not self._connection.connected:
            return
        range_ = range(max(before.floor, now.floor) + 1, before.highest + 1)
        if len(range_) > MOST:
            return
        for sequence in range_:
            if sequence not in claimed:
                subject = subjects.ack(pipeline, job, sequence, now.deliveries)
                await self._connection.publish(subject, deliveries.NAK)
        extra = {"pipeline": pipeline, "job": job, "unclaimed": now.count - len(claimed)}
        log.info("unclaimed leases given back", extra=extra)

    def _claimed(self, pipeline: str, job: str) -> set[int]:
        return {
            held.sequence
            for (of, _), claim in self._living()
            if of == pipeline
            for held in claim.held
            if held.job == job
        }
