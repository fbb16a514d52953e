"""Reading streams directly, and requests to JetStream's API, each repeated until its time is over.

Every API verb that we use may be repeated: what a second one finds is what the first one has made. A stream is
read in pages, each from the sequence after the last one; nothing is made on the server for it, so a reader that dies
leaves nothing behind, and one whose page was lost asks for the same again.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from trunkline.bus import headers as header_block
from trunkline.bus import jetstream
from trunkline.bus.ports import Message, Stored
from trunkline.bus.repeats import BUSY_S, Repeats
from trunkline.contracts import errors

SCAN_BATCH = 1000
"""Messages of one direct get; the server sends 1,024 at most."""
SCAN_BYTES = 4 * 1024 * 1024
"""After which it ends, too: all of one is held at a time."""
SCAN_S = 10.0
"""Seconds for one of them."""


class Page(NamedTuple):
    """A part of what a stream holds."""

    messages: Sequence[Stored]
    pending: int
    """How many more there were behind it."""


class Reads:
    """Those of one connection.

    Args:
        repeats: Asks until there is an answer.
        api: Where JetStream's API is in the connection's account.
    """

    def __init__(self, repeats: Repeats, api: str) -> None:
        self._repeats, self._api = repeats, api

    async def last(self, stream: str, subject: str, *, timeout_s: float = 5.0) -> Stored | None:
        """Return a stream's last message on exactly this subject, or None."""
        answer = await self._repeats.ask(
            f"{jetstream.API}.DIRECT.GET.{stream}.{subject}", b"", timeout_s=timeout_s
        )
        return _stored(answer) if "Status" not in answer.headers else None

    async def js_api(
        self, verb: str, payload: Mapping[str, Any] | None = None, *, timeout_s: float = 5.0
    ) -> dict[str, Any]:
        """Return the answer to a request to JetStream's API, such as `STREAM.INFO.TL_EVENTS`.

        Raises:
            JetStreamError: the server answered with an error that will not pass by itself.
            UnavailableError: there was no answer in time, or others have all that there is of what it takes.
        """
        data = msgspec.json.encode(payload) if payload else b""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            rest = deadline - asyncio.get_running_loop().time()
            answer = await self._repeats.ask(f"{self._api}.{verb}", data, timeout_s=rest)
            try:
                return jetstream.decode_answer(verb, answer.data)
            except jetstream.JetStreamError as error:
                if not error.passing and not error.exhausted:
                    raise
                if rest < BUSY_S or error.exhausted:
                    raise errors.UnavailableError(verb, str(error)) from error
            await asyncio.sleep(BUSY_S)

    async def scan(self, stream: str, subject_filter: str) -> list[Stored]:
        """Return the last message of every subject that matches the filter, by sequence.

        What changes meanwhile is in it, in its old form or its new one.

        Raises:
            UnavailableError: the server did not answer.
        """
        return await last_of_each(self.pages(stream, subject_filter))

    async def pages(
        self,
        stream: str,
        subject_filter: str,
        *,
        first: int = 1,
        since_ns: int = 0,
        most: int = SCAN_BATCH,
        most_bytes: int = SCAN_BYTES,
    ) -> AsyncGenerator[Sequence[Stored], None]:
        """Yield all messages from `first` on whose subjects match, by sequence, a page at a time.

        Nothing is made on the server for it. Raises as `scan`.

        Args:
            stream: The stream's name.
            subject_filter: The filter.
            first: The first sequence, where `since_ns` is 0.
            since_ns: Where else to begin.
            most: Messages of the first page; the next ones are larger.
            most_bytes: After which a page ends.
        """
        pending = 1
        while pending:
            page, pending = await self.page(
                stream,
                subject_filter,
                first=first,
                since_ns=since_ns,
                most=most,
                most_bytes=most_bytes,
            )
            if page:
                yield page
                first, since_ns = page[-1].sequence + 1, 0
            most = min(most * 4, SCAN_BATCH)

    async def page(
        self,
        stream: str,
        subject_filter: str,
        *,
        first: int = 1,
        since_ns: int = 0,
        most: int = SCAN_BATCH,
        most_bytes: int = SCAN_BYTES,
    ) -> Page:
        """Return the first of `pages`; one message at least, where there is any."""
        query: dict[str, Any] = {
            "batch": min(most, SCAN_BATCH),
            "max_bytes": most_bytes,
            "next_by_subj": subject_filter,
        }
        query |= {"start_time": jetstream.time_text(since_ns)} if since_ns else {"seq": first}
        parts, end = await self._repeats.ask_many(
            f"{jetstream.API}.DIRECT.GET.{stream}", msgspec.json.encode(query), timeout_s=SCAN_S
        )
        match end.headers.get("Status"):
            case "204":
                left = int(end.headers[header_block.LEFT])
                return Page([_stored(part) for part in parts], left)
            case "404":
                return Page([], 0)
            case _:
                raise errors.UnavailableError(stream, end.headers.get("Description", "no page"))


async def last_of_each(pages: AsyncIterable[Sequence[Stored]]) -> list[Stored]:
    """Return the last message of every subject, by sequence, of pages that are by sequence."""
    found: dict[str, Stored] = {}
    async for page in pages:
        for stored in page:
            found.pop(stored.subject, None)  # so that the order is that of the sequences
            found[stored.subject] = stored
    return list(found.values())


def _stored(answer: Message) -> Stored:
    values = answer.headers
    return Stored(
        subject=values[header_block.STREAM_SUBJECT],
        data=answer.data,
        sequence=int(values[header_block.STREAM_SEQUENCE]),
        headers=values,
        at_ns=jetstream.parse_time(values[header_block.TIME_STAMP]),
    )
