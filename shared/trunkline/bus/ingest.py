"""Many messages into one stream, acknowledged: a window of them under way, without a task for each.

Every message has a Msg-Id and a number, and waits in `_unanswered` until the server has said what
became of its number: stored (or stored before), or refused. A lost connection, a silent server or one
that has no leader right now leaves it unknown; what is unknown is sent again with the same Msg-Id,
and the stream tells the copies apart. An answer that comes after its number was settled says nothing
new. So `put_all` returns only when the server has vouched for each message by itself; if it raises,
or the process dies, any part may be stored, and the caller puts all of them again.
"""

import asyncio
from collections.abc import Iterable

import msgspec

from trunkline.bus import headers as header_block
from trunkline.bus import jetstream
from trunkline.bus.connection import BUSY_S, TRY_S, NatsConnection
from trunkline.bus.wire import Violation
from trunkline.contracts import errors

LIMIT = 1024
"""Messages without an answer: enough that the server never waits, and little to send again."""

_decode = msgspec.json.Decoder(jetstream.PubAck).decode


class Ingest:
    """See `ports.BatchPublisher`."""

    def __init__(self, connection: NatsConnection, limit: int = LIMIT) -> None:
        self._connection, self._limit = connection, limit

    async def put_all(
        self, subject: str, messages: Iterable[tuple[str, bytes]], *, timeout_s: float = 30.0
    ) -> None:
        """Return once all are stored; see ports.BatchPublisher."""
        load = _Load(self._connection, subject, self._limit, timeout_s)
        try:
            await load.run(messages)
        finally:
            load.close()


class _Load:
    """One call of `put_all`."""

    def __init__(
        self, connection: NatsConnection, subject: str, limit: int, timeout_s: float
    ) -> None:
        self._connection, self._subject = connection, subject
        self._limit, self._timeout_s = limit, timeout_s
        self._unanswered: dict[int, tuple[bytes, bytes]] = {}
        self._again = False
        """Whether some of them must be sent again, after a pause."""
        self._failure: errors.TrunklineError | None = None
        self._woken = asyncio.Event()
        self._room = 0
        """How many may be unanswered when the sender is to be woken."""
        self._inbox, self._sid = connection.listen(self._answered, below=True)
        self._ends = (connection.on_loss(self._lost), connection.on_violation(self._violated))
        self._loop = asyncio.get_running_loop()
        self._told_at = self._loop.time()

    def close(self) -> None:
        """Listen no more."""
        self._connection.unlisten(self._sid)
        for end in self._ends:
            end()

    async def run(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Send all, and wait for all answers."""
        for number, (msg_id, data) in enumerate(messages):
            if len(self._unanswered) >= self._limit:
                await self._until(self._limit // 2)
            block = header_block.encode({header_block.MSG_ID: msg_id})
            self._unanswered[number] = (data, block)
            self._send(number, data, block)
        await self._until(0)

    async def _until(self, room: int) -> None:
        """Return once no more than so many are unanswered."""
        self._room = room
        while self._failure is None and len(self._unanswered) > room:
            self._woken.clear()
            try:
                async with asyncio.timeout(TRY_S):
                    await self._woken.wait()
            except TimeoutError:
                self._again = True
            if self._again and self._failure is None and self._unanswered:
                await self._repeat()
        if self._failure is not None:
            raise self._failure

    async def _repeat(self) -> None:
        deadline = self._told_at + self._timeout_s
        if self._loop.time() >= deadline:
            raise errors.UnavailableError(self._subject, "no answer in time")
        await asyncio.sleep(BUSY_S)
        try:
            async with asyncio.timeout_at(deadline):
                await self._connection.until_connected()
        except TimeoutError:
            raise errors.UnavailableError(self._subject, "the connection is away") from None
        self._again = False
        for number, (data, block) in self._unanswered.items():
            self._send(number, data, block)

    def _send(self, number: int, data: bytes, block: bytes) -> None:
        try:
            self._connection.send(
                self._subject, data, reply=f"{self._inbox}.{number}", headers=block
            )
        except errors.UnavailableError:
            self._lost()

    def _answered(self, subject: str, _reply: str, data: bytes, _block: bytes | None) -> None:
        number = int(subject.rpartition(".")[2])
        if not data:  # nobody listens: a server that has just come up
            self._again = True
            self._woken.set()
            return
        ack = _decode(data)
        if ack.error is None:
            if self._unanswered.pop(number, None) is not None:
                self._told_at = self._loop.time()
        elif ack.error.err_code in jetstream.NOT_NOW:
            self._again = True
            self._woken.set()
        elif number in self._unanswered:
            self._fail(
                errors.RefusedError(self._subject, ack.error.err_code, ack.error.description)
            )
        if len(self._unanswered) <= self._room:
            self._woken.set()

    def _lost(self) -> None:
        self._again = True
        self._woken.set()

    def _violated(self, violation: Violation) -> None:
        if violation.subject in (self._subject.lower(), f"{self._inbox}.*".lower()):
            self._fail(errors.PermissionViolationError(self._subject))

    def _fail(self, error: errors.TrunklineError) -> None:
        self._failure = error
        self._woken.set()
