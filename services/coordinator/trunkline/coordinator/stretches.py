"""Stretches: what one request reads of a stream that workers write to.

Where a stretch ends, and whether more lies behind it, is said of the stream as it is: of the last message that was looked at,
whatever that held. What cannot be read, and what was not asked for, is left out after that. So whoever
publishes such makes stretches shorter, or empty, but never makes one the last. And since a request looks at LOOKED_MAX messages at
most, nobody keeps it at reading: the rest is asked for by the next one.
"""

from collections.abc import Callable
from contextlib import aclosing
from typing import Generic, NamedTuple, TypeVar

from trunkline.bus import present
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Stored
from trunkline.coordinator import paging

T = TypeVar("T")

LOOKED_MAX = 5_000
"""Messages that one stretch looks at: ten pages' worth, some tenths of a second."""
LOOKED_BYTES = 16 * 1024 * 1024
"""After which it ends, too."""


FOUND_BYTES = paging.PAGE_BYTES
"""The same of what is found: no page holds more."""


class Stretch(NamedTuple, Generic[T]):
    """What was read; the next one begins behind `to`."""

    found: list[tuple[Stored, T]]
    to: int
    """The sequence of the last message that was looked at, or where it began."""
    to_ns: int
    """When the newest of those was stored; 0 where there was none."""
    more: bool
    """Whether there is anything behind it, be it of use or not."""


async def read(
    connection: NatsConnection,
    stream: str,
    subject: str,
    taken: Callable[[Stored], T | None],
    *,
    after: int,
    most: int,
    since_ns: int = 0,
) -> Stretch[T]:
    """Return what is taken of what a stream holds now on a subject.

    Args:
        connection: Where to.
        stream: Its name.
        subject: The filter.
        taken: Makes of a message what it is taken for; None leaves it out.
        after: The sequence behind which to begin.
        most: How many to find.
        since_ns: The time at which to begin where `after` is 0.
    """
    found: list[tuple[Stored, T]] = []
    to, to_ns, looked, size, kept = after, 0, 0, 0, 0
    pages = present.behind(
        connection,
        stream,
        subject,
        after=after,
        since_ns=since_ns,
        most=most + 1,
        most_bytes=FOUND_BYTES,
    )
    async with aclosing(pages) as batches:
        async for batch in batches:
            for stored in batch:
                full = len(found) == most or kept >= FOUND_BYTES
                if full or looked == LOOKED_MAX or size >= LOOKED_BYTES:
                    return Stretch(found, to, to_ns, more=True)
                made = taken(stored)
                if made is not None:
                    found.append((stored, made))
                    kept += len(stored.data)
                to, to_ns = stored.sequence, max(to_ns, stored.at_ns)
                looked, size = looked + 1, size + len(stored.data)
    return Stretch(found, to, to_ns, more=False)
