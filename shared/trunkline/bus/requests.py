"""Requests and their answers, over one inbox.

Each request has a reply subject of its own below the inbox. It ends with an answer, or with the
first of: nobody listens (NATS says so at once), its time is over, the connection is lost, or the
server refuses one of the subjects.
"""

import asyncio
import secrets
from collections.abc import Callable

from trunkline.bus import headers as header_block
from trunkline.bus import jetstream
from trunkline.bus.ports import Message
from trunkline.bus.wire import Violation, Wire
from trunkline.contracts import errors

SWEEP_S = 0.1
"""Seconds between looks for requests whose time is over; how exact time-outs are."""
NO_RESPONDERS = 503
_TOKEN_BYTES = 12
"""Of a reply subject: it must not be guessed from others (see `contracts.wards`)."""


class _Waiting:
    """A request without its answer; with `parts`, one whose answer has many."""

    __slots__ = ("deadline", "future", "parts", "subject")

    def __init__(
        self, subject: str, deadline: float, future: asyncio.Future[Message], *, many: bool
    ) -> None:
        self.subject, self.deadline, self.future = subject, deadline, future
        self.parts: list[Message] | None = [] if many else None

    def fail(self, error: errors.TrunklineError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Requests:
    """All requests of one connection that are under way."""

    def __init__(self, wire: Wire, inbox: str, before: Callable[[str], None]) -> None:
        """Make them; `before` is called with each subject, and raises what must not be asked now."""
        self._wire, self._inbox, self._before = wire, inbox, before
        self._waiting: dict[str, _Waiting] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Listen for answers."""
        self._wire.listen(f"{self._inbox}.*", self._answered)

    def close(self) -> None:
        """Look for nothing any more."""
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def ask(self, subject: str, data: bytes, headers: bytes, timeout_s: float) -> Message:
        """Return the answer."""
        waiting = await self._until_answered(subject, data, headers, timeout_s, many=False)
        return waiting.future.result()

    async def ask_many(
        self, subject: str, data: bytes, timeout_s: float
    ) -> tuple[list[Message], Message]:
        """Return the messages of an answer that ends with a status, and that end."""
        waiting = await self._until_answered(subject, data, b"", timeout_s, many=True)
        return waiting.parts or [], waiting.future.result()

    def lost(self) -> None:
        """Fail all: the connection is away."""
        for waiting in self._waiting.values():
            waiting.fail(errors.UnavailableError(waiting.subject, "the connection was lost"))

    def violated(self, violation: Violation) -> bool:
        """Fail those on a subject that was refused; all, when it is our inbox.

        Returns:
            Whether there are any.
        """
        everything = violation.subject.startswith(self._inbox.lower())
        told = False
        for waiting in self._waiting.values():
            if everything or waiting.subject.lower() == violation.subject:
                waiting.fail(errors.PermissionViolationError(waiting.subject))
                told = True
        return told

    async def _until_answered(
        self, subject: str, data: bytes, headers: bytes, timeout_s: float, *, many: bool
    ) -> _Waiting:
        loop = asyncio.get_running_loop()
        self._before(subject)
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._wire.send(subject, data, reply=f"{self._inbox}.{token}", headers=headers)
        waiting = _Waiting(subject, loop.time() + timeout_s, loop.create_future(), many=many)
        self._waiting[token] = waiting
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP_S, self._sweep)
        try:
            await waiting.future
        finally:
            self._waiting.pop(token, None)
        return waiting

    def _answered(self, subject: str, reply: str, data: bytes, block: bytes | None) -> None:
        waiting = self._waiting.get(subject.rpartition(".")[2])
        if waiting is None or waiting.future.done():
            return
        values = header_block.decode(block)
        # a stored message says where it lies, in the server's words: a status is its publisher's then
        stored = header_block.STREAM_SEQUENCE in values
        status, description = (0, "") if stored else header_block.status(block)
        if status == NO_RESPONDERS and not data:
            waiting.fail(jetstream.NoRespondersError(waiting.subject))
            return
        values.pop("Status", None)  # said by whoever sent the message, not by the server
        if status:
            values["Status"], values["Description"] = str(status), description
        message = Message(subject=subject, data=data, headers=values, reply=reply)
        if waiting.parts is not None and not status:
            waiting.parts.append(message)
        else:
            waiting.future.set_result(message)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for waiting in self._waiting.values():
            if waiting.deadline <= now:
                waiting.fail(errors.UnavailableError(waiting.subject, "no answer in time"))
        self._sweeper = loop.call_later(SWEEP_S, self._sweep) if self._waiting else None
