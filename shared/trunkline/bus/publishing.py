"""Acknowledged publishes: a window of them under way at once, each repeated until it is answered.

A publish has three ends: stored (PubAck), refused (the server's error), or unknown. Unknown is what
a lost connection or a silent server leaves behind, and it is resolved by sending the same message
again: every publish carries a Msg-Id, the caller's or a fresh one, so that the stream answers the
second copy with the first one's sequence, marked as a duplicate. The stream remembers Msg-Ids for
its duplicate window (minutes), also over a crash; `timeout_s` must be shorter.

Compare-and-set is checked before the Msg-Id, so the repeat of a publish that was stored is refused
with "wrong last sequence". Then the subject's last message is looked up: if it carries our Msg-Id,
it is ours. (If somebody has replaced it since, the refusal stands: the caller reads again anyway.)

While the connection is away nothing is sent; at its return each unanswered message goes again at
once. The window bounds what is unanswered, and with it what a reconnect sends again.
"""

import asyncio
from collections.abc import Mapping

import msgspec

from trunkline.bus import headers as header_block
from trunkline.bus import jetstream
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Acked
from trunkline.bus.repeats import BUSY_S, TRY_S
from trunkline.contracts import errors, subjects

_decode = msgspec.json.Decoder(jetstream.PubAck).decode


class Window:
    """See `ports.Publisher`. Any number of callers may wait in `put` at once."""

    def __init__(self, connection: NatsConnection, limit: int = 256) -> None:
        self._connection = connection
        self._slots = asyncio.Semaphore(limit)

    async def put(
        self,
        subject: str,
        data: bytes,
        *,
        msg_id: str = "",
        expected_last: int | None = None,
        timeout_s: float = 30.0,
        headers: Mapping[str, str] | None = None,
    ) -> Acked:
        """Return once the message is stored; see ports.Publisher for what is raised."""
        values = dict(headers) if headers else {}
        values[header_block.MSG_ID] = msg_id = msg_id or self._connection.unique()
        if expected_last is not None:
            values[header_block.EXPECTED_LAST] = str(expected_last)
        deadline = asyncio.get_running_loop().time() + timeout_s
        await self._slot(subject, deadline)
        try:
            return await self._store(_Put(subject, data, msg_id, values, deadline))
        finally:
            self._slots.release()

    async def _slot(self, subject: str, deadline: float) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        except TimeoutError:
            raise errors.UnavailableError(subject, "the window stayed full") from None

    async def _store(self, put: "_Put") -> Acked:
        loop = asyncio.get_running_loop()
        repeated = False
        while True:
            try:
                answer = await self._connection.ask(
                    put.subject,
                    put.data,
                    put.block,
                    timeout_s=min(TRY_S, put.deadline - loop.time()),
                )
            except errors.UnavailableError as error:
                await self._connection.repeats.before_next(error, put.deadline)
                repeated = True
                continue
            ack = _decode(answer.data)
            if ack.error is None:
                return Acked(stream=ack.stream, sequence=ack.seq, duplicate=ack.duplicate)
            if ack.error.err_code not in jetstream.NOT_NOW:
                found = await self._find(put) if repeated else None
                if found is None:
                    raise errors.RefusedError(
                        put.subject, ack.error.err_code, ack.error.description
                    )
                return found
            if loop.time() + BUSY_S >= put.deadline:
                raise errors.UnavailableError(put.subject, _reason(ack.error))
            await asyncio.sleep(BUSY_S)

    async def _find(self, put: "_Put") -> Acked | None:
        """Return where an earlier try of this very publish was stored, if it is there."""
        stream = subjects.stream_of(put.subject)
        stored = await self._connection.last(stream, put.subject)
        if stored is None or stored.headers.get(header_block.MSG_ID) != put.msg_id:
            return None
        return Acked(stream=stream, sequence=stored.sequence, duplicate=True)


class _Put:
    """One publish until it is answered."""

    __slots__ = ("block", "data", "deadline", "msg_id", "subject")

    def __init__(
        self, subject: str, data: bytes, msg_id: str, headers: Mapping[str, str], deadline: float
    ) -> None:
        self.subject, self.data, self.msg_id, self.deadline = subject, data, msg_id, deadline
        self.block = header_block.encode(headers)


def _reason(error: jetstream.ApiError) -> str:
    """Return why the server does not store it now, for people."""
    if error.err_code != jetstream.NO_ROOM:
        return error.description
    told = "the server has stored as much as it may: raise max_file_store in its configuration"
    return f"{error.description}: {told} and start it again, or free space"
