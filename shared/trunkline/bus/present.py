"""What a stream holds now on a subject, behind a sequence: read by direct gets, and with no consumer.

A consumer for one read is a thing that is left behind: the server drops it seconds later, and makes no more once
a stream has about a thousand. So whoever asks for pages fast enough would end the reading of all others. A
direct get leaves nothing.

If the stream ends before that sequence (it was made anew, or forgets at a restart of the server), it is read
from its beginning, as `tails` do.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial

from trunkline.bus import looking, reads
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Stored
from trunkline.contracts import errors


async def behind(
    connection: NatsConnection,
    stream: str,
    subject: str = ">",
    *,
    after: int = 0,
    since_ns: int = 0,
    most: int = reads.SCAN_BATCH,
    most_bytes: int = reads.SCAN_BYTES,
) -> AsyncGenerator[Sequence[Stored], None]:
    """Yield what is there, by sequence, a page at a time. Close it if it is not read to its end.

    Args:
        connection: Where to.
        stream: The stream's name.
        subject: The filter.
        after: The sequence behind which to begin.
        since_ns: The time at which to begin where `after` is 0; wall clock of the server.
        most: Messages of the first page.
        most_bytes: After which a page ends.

    Raises:
        UnavailableError: the server did not answer, or there is no stream.
    """
    asked = partial(connection.reads.pages, stream, subject, most=most, most_bytes=most_bytes)
    found = False
    async with aclosing(asked(first=after + 1, since_ns=0 if after else since_ns)) as pages:
        async for page in pages:
            found = True
            yield page
    if found or not after:
        return
    look = await looking.stream(connection, stream)
    if look is not None and look.last < after:
        async with aclosing(asked()) as pages:
            async for page in pages:
                yield page


async def last_ones(
    connection: NatsConnection, stream: str, subject: str, count: int, *, after: int = 0
) -> int:
    """Return a sequence after which `count` messages on a subject come, or a few times that, or all.

    Found from the end backwards.

    Raises:
        UnavailableError: the server does not answer, or there is no stream.
    """
    look = await looking.stream(connection, stream)
    if look is None:
        raise errors.UnavailableError(stream, "there is no such stream")
    reach = count
    while True:
        start = max(after, look.last - reach)
        page = await connection.reads.page(stream, subject, first=start + 1, most=1)
        if len(page.messages) + page.pending >= count or start == after:
            return start
        reach *= 4
