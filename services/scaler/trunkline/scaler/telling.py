"""Events of the scaler that nothing waits for: why a worker was lost, and of what an attempt ended.

They are stored in CTL, where no worker can say anything. One that the server does not take is not told again: nothing
is decided by it.
"""

import contextlib

from trunkline.bus.ports import Publisher
from trunkline.contracts import errors, messages, subjects


class Telling:
    """Stores events; `publisher` is on a connection in CTL."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def tell(self, event: messages.Event) -> None:
        """Store an event, if that is possible now."""
        subject = subjects.event(event.pipeline, event.kind)
        with contextlib.suppress(errors.UnavailableError, errors.RefusedError):
            await self._publisher.put(subject, messages.encode(event))
