"""Whose lines `logs` shows, and what has come of them since the last look."""

import dataclasses
from collections.abc import AsyncIterator, Sequence

import msgspec

from trunkline.client.client import Client
from trunkline.contracts import api


@dataclasses.dataclass(frozen=True)
class Target:
    """Whose lines."""

    text: str
    pipeline: str
    job: str = ""
    index: int | None = None
    worker: str = ""
    began_ns: int = 0
    """Before which it can have printed nothing; 0: not known."""

    def page(self, *, stream: str = "", since_ns: int = 0, last: int = 0) -> api.LogPage:
        """Return the request for the first of them."""
        return api.LogPage(
            pipeline=self.pipeline,
            job=self.job,
            index=self.index,
            worker=self.worker,
            stream=stream,
            since_ns=since_ns,
            last=last,
        )


class Follower:
    """Reads on where it has read to, by the stream's sequence: so nothing is missed, or read twice.

    How many of the last ones there should be is asked for once: what comes later is not counted from the end any more,
    though nothing may have been there before it.
    """

    def __init__(self, client: Client, asked: api.LogPage) -> None:
        self._client, self._asked = client, asked
        self.passed = 0
        """How many messages were passed over so far, since nobody can read them."""

    async def look(self) -> AsyncIterator[Sequence[api.LogEntry]]:
        """Yield what has come since the last look, a page at a time.

        Raises:
            UnavailableError: nobody answers; the next look goes on behind the last page.
        """
        more = True
        while more:
            found, after, more, passed = await self._client.logs_page(self._asked)
            self.passed += passed
            self._asked = msgspec.structs.replace(self._asked, after=after, last=0)
            yield found
