"""Drains under way: who was asked to take no more work, asked again each second until it says so.

    asked --"draining" in its claim--> told no more --holds nothing--> deleted by name --> forgotten

Nothing is stored: after a restart the claims say who drains, and the plan names again whom it needs.
A drain that comes late or twice does no harm, since it is one way and names the incarnation.
"""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from trunkline.bus.ports import Connection
from trunkline.contracts import errors, messages, subjects
from trunkline.contracts.messages import Claim
from trunkline.contracts.wards import Wards
from trunkline.runtime.clock import Clock
from trunkline.scaler.core.losses import Key
from trunkline.scaler.core.plan import Drain

log = logging.getLogger(__name__)

AGAIN_S = 1.0


@dataclass
class _Asked:
    key: Key
    drain: Drain
    since_s: float
    told_s: float


class Drains:
    """Who is to drain."""

    def __init__(
        self,
        connection: Connection,
        wards: Wards,
        claim: Callable[[Key], Claim | None],
        clock: Clock,
    ) -> None:
        self._connection, self._wards = connection, wards
        self._claim, self._clock = claim, clock
        self._asked: dict[str, _Asked] = {}

    async def ask(self, pipeline: str, drain: Drain) -> None:
        """Ask a worker to drain, now and until it says that it does."""
        now_s = self._clock.monotonic_s()
        asked = _Asked((pipeline, drain.name), drain, now_s, now_s)
        known = self._asked.get(drain.name)
        if known is None or known.drain.instance != drain.instance:
            self._asked[drain.name] = asked
        await self._tell(asked)

    async def repeat(self) -> None:
        """Ask those again who have not answered."""
        now_s = self._clock.monotonic_s()
        for asked in self._unanswered():
            if now_s - asked.told_s >= AGAIN_S:
                asked.told_s = now_s
                await self._tell(asked)

    def asked_s(self, name: str, instance: str) -> float | None:
        """Return the seconds since a worker was asked; None if it was not, but one that had its name."""
        asked = self._asked.get(name)
        if asked is None or asked.drain.instance != instance:
            return None
        return self._clock.monotonic_s() - asked.since_s

    def keep(self, listed: Collection[tuple[str, str]]) -> None:
        """Forget whoever is not there any more, by name and instance.

        One may be gone before it is asked what was planned, so what is kept is said, and not who goes.
        """
        for name, asked in list(self._asked.items()):
            if (name, asked.drain.instance) not in listed:
                del self._asked[name]

    @property
    def unanswered(self) -> bool:
        """Whether somebody was asked who has not answered yet."""
        return bool(self._unanswered())

    def _unanswered(self) -> list[_Asked]:
        found = []
        for asked in self._asked.values():
            claim = self._claim(asked.key)
            if claim is None or not claim.draining:
                found.append(asked)
        return found

    async def _tell(self, asked: _Asked) -> None:
        message = messages.Drain(incarnation=asked.drain.incarnation, reason=asked.drain.reason)
        pipeline, worker = asked.key
        subject = subjects.control(self._wards.of(pipeline), worker)
        try:
            await self._connection.publish(subject, messages.encode(message))
        except errors.UnavailableError:
            log.debug("drain not sent", extra={"worker": asked.drain.name})
