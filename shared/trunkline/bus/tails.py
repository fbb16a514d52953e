"""Tails: all messages of a stream on some subjects, in order and without gaps, as they come.

A tail reads by an ephemeral consumer (in memory, no acks) with a standing pull. The consumer's
cursor cannot be trusted over a break: what it sent into a lost connection is not sent again. So a
consumer is never continued: when its pull breaks (connection, silence, consumer gone), or a message
does not carry the next consumer sequence, the tail makes another one that starts after the last
sequence it has handed on. What the tail has seen is therefore the only state, and a restart of the
server or of the reader costs no message and repeats none.

If the stream ends before that sequence (somebody deleted and remade it), it is read again from its
beginning: readers that fold into a state by key or by index can take a message twice.

Nothing runs between two reads: the pull fills a buffer, whose bound is what is asked for.

A tail is for whoever follows for long: the server has room for about a thousand consumers of a stream, and
keeps each for some seconds after its end. What is read once is read by `present`. Where there is no room, or
JetStream refuses a consumer for whatever else, a tail says so and waits: whoever follows has other work, too.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

from trunkline.bus import headers as header_block
from trunkline.bus import jetstream
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Stored
from trunkline.bus.pulls import RawPull
from trunkline.contracts import errors

log = logging.getLogger(__name__)

BUFFER = 500
"""Messages that may wait for the reader."""
LINGER_S = 10
"""Seconds after which the server drops a consumer that nobody asks."""
RETRY_S = 0.2
"""Seconds between tries to make a consumer on a stream that is not there; at first, where it is refused."""
RETRY_MOST_S = 5.0
"""Those between tries that are refused again and again: the stream has as many consumers as it may."""


class _Tail:
    def __init__(
        self,
        connection: NatsConnection,
        stream: str,
        subjects: Sequence[str],
        *,
        after: int,
        last_per_subject: bool,
    ) -> None:
        self._connection, self._stream, self._subjects = connection, stream, list(subjects)
        self._last_per_subject = last_per_subject
        self._last = after
        """The sequence of the last message that went into the buffer."""
        self._collecting = last_per_subject
        """Whether the first batch, of all that is there, is still being gathered."""
        self._caught_up = False
        """Whether all is read that was there when the consumer was made."""
        self._buffer: list[Stored] = []
        self._woken = asyncio.Event()
        self._pull: RawPull | None = None
        """None: there is no consumer to read from."""

    async def batches(self) -> AsyncIterator[Sequence[Stored]]:
        """Yield what comes, as soon as it comes."""
        while True:
            if self._pull is None:
                await self._begin()
            self._top_up()
            if self._ready():
                batch, self._buffer, self._collecting = self._buffer, [], False
                yield batch
            else:
                self._woken.clear()
                await self._woken.wait()

    async def close(self) -> None:
        """Ask for no more; the server drops the consumer by itself."""
        if self._pull is not None:
            await self._pull.end()

    def _ready(self) -> bool:
        return self._caught_up if self._collecting else bool(self._buffer)

    def _top_up(self) -> None:
        if self._pull is not None:
            room = BUFFER if self._collecting else BUFFER - len(self._buffer)
            if self._pull.wanted <= room // 2:
                self._pull.want(room)

    async def _begin(self) -> None:
        """Read by a consumer that starts after what was seen, however long that takes."""
        reason, pause_s = "", RETRY_S
        while True:
            await self._connection.until_connected()
            try:
                await self._notice_rewind()
                made = await self._make()
            except (errors.UnavailableError, jetstream.JetStreamError) as error:
                made, said, pause_s = None, str(error), min(RETRY_MOST_S, pause_s * 2)
            else:
                said, pause_s = "it is not there yet", RETRY_S
            if made is not None:
                break
            if not reason:
                log.info("tail waits", extra={"stream": self._stream, "reason": said})
            reason = said
            await asyncio.sleep(pause_s)
        name, pending = made
        self._caught_up = pending == 0
        reader = _Reader(self)
        self._pull = RawPull(
            self._connection,
            self._stream,
            name,
            reader.take,
            on_broken=self._break,
            on_idle=self._idle,
        )
        reader.pull = self._pull
        self._pull.start()

    async def _make(self) -> tuple[str, int] | None:
        """Return a new consumer's name and how much it has to read; None: there is no stream."""
        name = f"tail-{self._connection.unique()}"
        try:
            made = await self._connection.js_api(
                f"CONSUMER.CREATE.{self._stream}.{name}", self._config(name)
            )
        except jetstream.JetStreamError as error:
            if error.err_code == jetstream.STREAM_NOT_FOUND:
                return None
            raise
        return name, made["num_pending"]

    async def _notice_rewind(self) -> None:
        if self._last == 0:
            return
        try:
            info = await self._connection.js_api(f"STREAM.INFO.{self._stream}")
        except jetstream.JetStreamError as error:
            if error.err_code != jetstream.STREAM_NOT_FOUND:
                raise
            return
        if info["state"]["last_seq"] < self._last:
            log.warning("stream was remade, reading it again", extra={"stream": self._stream})
            self._last = 0
            self._collecting = self._last_per_subject
            self._buffer.clear()

    def _config(self, name: str) -> dict[str, Any]:
        config: dict[str, Any] = {
            "name": name,
            "ack_policy": "none",
            "filter_subjects": self._subjects or [">"],
            "inactive_threshold": LINGER_S * jetstream.SECOND_NS,
            "mem_storage": True,
            "num_replicas": 1,
        }
        if self._last > 0:
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": self._last + 1}
        else:
            config["deliver_policy"] = "last_per_subject" if self._last_per_subject else "all"
        return {"stream_name": self._stream, "config": config}

    def received(self, stored: Stored, pending: int) -> None:
        """Take the next message."""
        self._last = stored.sequence
        self._buffer.append(stored)
        self._caught_up = self._caught_up or pending == 0
        if self._collecting:
            self._top_up()
        self._woken.set()

    def _idle(self) -> None:
        """Take it that nothing is left to come: what the count still held was deleted meanwhile."""
        if self._pull is not None and self._pull.wanted > 0:
            self._caught_up = True
            self._woken.set()

    def _break(self) -> None:
        pull, self._pull = self._pull, None
        self._woken.set()
        if pull is not None and pull.failure is not None:
            self._pull = pull  # whose `want` raises the failure to the reader


class _Reader:
    """The messages of one consumer, which must come with consecutive consumer sequences."""

    def __init__(self, tail: _Tail) -> None:
        self._tail = tail
        self._next = 1
        self.pull: RawPull | None = None

    def take(self, subject: str, reply: str, data: bytes, block: bytes | None) -> None:
        """Hand a message on; one that comes after a gap ends the consumer."""
        if self.pull is None or not self.pull.running:
            return
        place = jetstream.parse_ack(reply)
        if place.consumer_sequence != self._next:
            self.pull.give_up()
            return
        self._next += 1
        stored = Stored(
            subject=subject,
            data=data,
            sequence=place.stream_sequence,
            headers=header_block.decode(block),
            at_ns=place.at_ns,
        )
        self._tail.received(stored, place.pending)


@contextlib.asynccontextmanager
async def tail(
    connection: NatsConnection,
    stream: str,
    subjects: Sequence[str],
    *,
    after: int = 0,
    last_per_subject: bool = False,
) -> AsyncIterator[AsyncIterator[Sequence[Stored]]]:
    """Follow a stream; see the module for what holds over breaks.

    Args:
        connection: Where to.
        stream: The stream's name; it may not be there yet.
        subjects: Filters that do not overlap; empty for all.
        after: The sequence after which to begin.
        last_per_subject: Begin with one batch of each subject's last message (it may be empty).
    """
    follower = _Tail(connection, stream, subjects, after=after, last_per_subject=last_per_subject)
    try:
        async with contextlib.aclosing(follower.batches()) as batches:  # type: ignore[type-var]
            yield batches
    finally:
        await follower.close()
