"""Events: why anything happened, stored in the event stream of CTL. Nothing is decided by them."""

import logging
from typing import Any

import msgspec

from trunkline.bus.ports import Publisher
from trunkline.contracts import errors, messages, subjects
from trunkline.runtime import tracing
from trunkline.runtime.clock import Clock

log = logging.getLogger(__name__)


class Events:
    """Tells events; at-least-once where the caller wants to wait for it.

    Args:
        publisher: On the connection in CTL.
        clock: For the time that is told.
    """

    def __init__(self, publisher: Publisher, clock: Clock) -> None:
        self._publisher, self._clock = publisher, clock

    async def tell(
        self,
        kind: str,
        pipeline: str,
        text: str,
        *,
        job: str = "",
        facts: dict[str, Any] | None = None,
        msg_id: str = "",
    ) -> None:
        """Store an event and return once it is; the same `msg_id` again is stored once.

        Raises:
            UnavailableError: whether it is stored is unknown.
        """
        event = messages.Event(
            kind=kind,
            pipeline=pipeline,
            at_ns=self._clock.wall_ns(),
            source="coordinator",
            text=text[:2000],
            job=job,
            facts={
                key: msgspec.Raw(msgspec.json.encode(value)) for key, value in (facts or {}).items()
            },
        )
        subject = subjects.event(pipeline, kind)
        await self._publisher.put(
            subject,
            messages.encode(event),
            msg_id=msg_id,
            timeout_s=5.0,
            headers=tracing.headers(),
        )

    async def mention(self, kind: str, pipeline: str, text: str, *, job: str = "") -> None:
        """Store an event if that is possible; a lost one is only logged."""
        try:
            await self.tell(kind, pipeline, text, job=job)
        except (errors.UnavailableError, errors.RefusedError):
            log.warning("event is lost", extra={"pipeline": pipeline, "kind": kind, "text": text})
