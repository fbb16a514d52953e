"""Reads that show what was stored before they began, whichever server answers.

A direct get is answered by any server that has a copy, and a copy may be behind: one that was killed and
is back, say. Who decides by what he finds is guarded by a revision and loses nothing by it but time. Who
reads once, right after the last write, and tells people of it, is not. So:

- the last message of a subject is asked of the stream's leader (`STREAM.MSG.GET`);
- many messages are read by direct gets, since the leader hands out one at a time. It is asked for the last
  one first; then pages are asked for until that one was there. A copy holds all that was stored up to the
  last message that it has, so a page that ends too early lacks nothing before its end.

What is deleted meanwhile is not waited for. A leader that was cut off from the others and does not know it
yet may answer, too, for some seconds; nothing that was stored since can be seen by it.
"""

import asyncio
import base64
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from trunkline.bus import headers as header_block
from trunkline.bus import jetstream, reads
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Stored
from trunkline.contracts import errors

BEHIND_S = 0.1
"""Seconds between looks at a copy that is behind."""
PATIENCE_S = 30.0
"""Seconds after which it is given up: a server that comes back has its copies in a few."""


class Newest:
    """The reads of a connection, as new as when they are asked for; see the module."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection

    async def last(self, stream: str, subject: str) -> Stored | None:
        """Return a stream's last message on this subject, or on any that a wildcard stands for."""
        verb = f"STREAM.MSG.GET.{stream}"
        try:
            answer = await self._connection.js_api(
                verb, {"last_by_subj": subject}, timeout_s=PATIENCE_S
            )
        except jetstream.JetStreamError as error:
            if error.err_code in jetstream.MESSAGE_NOT_THERE:
                return None
            raise
        return _stored(answer["message"])

    async def scan(self, stream: str, subject_filter: str) -> list[Stored]:
        """Return the last message of every subject that matches, by sequence.

        Raises:
            UnavailableError: no copy that can be reached has come up to the leader's.
        """
        return await reads.last_of_each(self.pages(stream, subject_filter))

    async def pages(
        self, stream: str, subject_filter: str
    ) -> AsyncGenerator[Sequence[Stored], None]:
        """Yield all messages whose subjects match, by sequence, a page at a time. Raises as `scan`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        first, end = 1, await self._end(stream, subject_filter)
        while True:
            async for page in self._connection.reads.pages(stream, subject_filter, first=first):
                yield page
                first = page[-1].sequence + 1
                deadline = loop.time() + PATIENCE_S
            if first > end:
                return
            if loop.time() >= deadline:
                raise errors.UnavailableError(stream, "its copies stay behind")
            await asyncio.sleep(BEHIND_S)
            end = min(end, await self._end(stream, subject_filter))

    async def _end(self, stream: str, subject_filter: str) -> int:
        stored = await self.last(stream, subject_filter)
        return 0 if stored is None else stored.sequence


def _stored(message: dict[str, Any]) -> Stored:
    return Stored(
        subject=message["subject"],
        data=base64.b64decode(message.get("data", "")),
        sequence=message["seq"],
        headers=header_block.decode(base64.b64decode(message.get("hdrs", ""))),
        at_ns=jetstream.parse_time(message["time"]),
    )
