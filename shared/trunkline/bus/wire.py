"""nats-py's client, with what it must do differently for a bus that loses nothing silently.

It stays nats-py's connection: handshake, reconnecting and re-subscribing are its own. What is put
right here, by overriding the protocol's events:

- *Nothing crosses a disconnect.* A message that was taken while the connection was up, but not
  written yet, is dropped when the connection is lost, not sent some time later; a send while it is
  down raises. The loss is told at once and synchronously (`on_lost`), before any other task runs.
- *PING keeps its place.* nats-py writes a PING past what is still buffered, so its `flush` proves
  nothing; and a PONG for a `flush` that was cancelled kills its read loop. `barrier` does neither.
- *A permission violation is an event*, not a text in an error callback while the caller waits for a
  time-out. Other errors of the server end the connection only where it cannot come back by itself.
- *Dead peers do not hold up a reconnect*: the old socket is aborted, not closed politely.
- *A connection is renewed without a gap* (`renew`): the server sees the new one before the old one
  goes. Whoever watches who comes and goes sees a worker that was there all the time.
- `send` and `listen` are plain functions: a message is sent or handed over without a task switch,
  which is what makes the hot paths cheap, and state machines on top simple. `parsing` is, too.

All of this leans on the inner names of nats-py 2.16, which the lock pins; tests/integration proves
each point against a real server.
"""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

from trunkline.bus import jetstream
from trunkline.bus.nats_py import Client, Error, ProtocolError, Srv, Subscription, Transport
from trunkline.bus.parsing import Parser
from trunkline.contracts import errors

log = logging.getLogger(__name__)

Handler = Callable[[str, str, bytes, bytes | None], None]
"""Takes subject, reply, data and the header block of a message; must not block, nor raise."""

_VIOLATION = re.compile(
    r"permissions violation for (publish with reply of|publish|subscription)(?: to)? \"([^\"]*)\""
)
_FINAL = ("authorization", "authentication", "revoked", "expired")
_UNFIT = re.compile(r"[\s\x00]")

SILENT_PINGS = 2
"""At the third one the connection is given up."""

BACKLOG_BYTES = 1 << 20
"""How much may wait for the socket before `room` makes senders wait."""


class Violation(NamedTuple):
    """A subject that the server refused to this connection; lower-cased by nats-py."""

    kind: Literal["publish", "subscription", "reply"]
    subject: str


class Wire(Client):
    """One NATS connection on which sending and receiving are synchronous."""

    def __init__(
        self, *, on_lost: Callable[[], None], on_violation: Callable[[Violation], None]
    ) -> None:
        super().__init__()
        self._ps = Parser(self._take, self._take_control)
        self._handlers: dict[int, Handler] = {}
        self._barriers: set[asyncio.Future[bool]] = set()
        self._retired: list[Transport] = []
        self.ended_by = ""
        """What the server said when it ended the connection for good."""
        self._on_lost = on_lost
        self._on_violation = on_violation

    def send(self, subject: str, data: bytes, *, reply: str = "", headers: bytes = b"") -> None:
        """Hand a message to the socket, or raise UnavailableError while there is none."""
        if not self.is_connected:
            raise errors.UnavailableError(subject, "the connection is away")
        if _UNFIT.search(subject) or not subject:
            message = f"{subject!r} is no NATS subject"
            raise ValueError(message)
        size = len(headers) + len(data)
        if size > self._max_payload:
            raise errors.RefusedError(
                subject, jetstream.MESSAGE_TOO_LARGE, f"{size} bytes are over {self._max_payload}"
            )
        if headers:
            line = f"HPUB {subject} {reply} {len(headers)} {size}\r\n".encode()
        else:
            line = f"PUB {subject} {reply} {size}\r\n".encode()
        self._enqueue(b"".join((line, headers, data, b"\r\n")))

    def listen(self, subject: str, handler: Handler) -> int:
        """Subscribe, now and after each reconnect; return what `unlisten` takes."""
        self._sid += 1
        self._subs[self._sid] = Subscription(self, self._sid, subject)
        self._handlers[self._sid] = handler
        if self.is_connected:
            self._enqueue(f"SUB {subject}  {self._sid}\r\n".encode())
        return self._sid

    def unlisten(self, sid: int) -> None:
        """Unsubscribe; what was on its way is handed over until the next barrier is passed."""
        self._subs.pop(sid, None)
        if self.is_connected:
            self._enqueue(f"UNSUB {sid}\r\n".encode())
        self.barrier().add_done_callback(lambda _: self._handlers.pop(sid, None))

    def barrier(self) -> asyncio.Future[bool]:
        """Return what becomes True once the server has taken all that was sent before.

        False: the connection was lost first.
        """
        passed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self.is_connected:
            self._barriers.add(passed)
            passed.add_done_callback(self._barriers.discard)
            self._pongs.append(passed)
            self._enqueue(b"PING\r\n")
        else:
            passed.set_result(False)
        return passed

    @property
    def crowded(self) -> bool:
        """Whether so much waits for the socket that senders should wait for a barrier."""
        return self._pending_data_size > BACKLOG_BYTES

    @property
    def silent(self) -> bool:
        """Whether two pings in a row have no answer: the peer hangs, or the way to it is cut."""
        return self.is_connected and self._pings_outstanding >= SILENT_PINGS

    @property
    def at_server(self) -> str:
        """What the server that was reached last calls this connection: `<server>/<client id>`."""
        server, client = self._server_info.get("server_id"), self._server_info.get("client_id")
        return f"{server}/{client}" if server and client else ""

    @property
    def clustered(self) -> bool:
        """Whether the server has others beside it."""
        return bool(self._server_info.get("cluster"))

    def abort(self) -> None:
        """Drop the socket without waiting for what it has not sent."""
        _abort(self._transport)

    def renew(self) -> None:
        """Log in anew on another socket, and drop this one once that is done.

        First nothing is let come here any more, and what was on its way is handed over; what waits
        for an answer fails as at any loss. If the connection is lost meanwhile, the reconnect that
        follows is a new login, too. While no new login succeeds the old socket stays, and answers no
        ping: the server drops it after some 15 s, as it does any that is silent.
        """
        if not self.is_connected:
            return
        for sid in self._subs:
            self._enqueue(f"UNSUB {sid}\r\n".encode())
        self.barrier().add_done_callback(self._change_sockets)

    def _change_sockets(self, passed: asyncio.Future[bool]) -> None:
        if passed.cancelled() or not passed.result() or not self.is_connected:
            return
        if self._transport is not None:
            self._retired.append(self._transport)
        self._transport = None  # so that nats-py does not close it
        self._status = Client.RECONNECTING
        self._ps.reset()
        self._reconnection_task = asyncio.get_running_loop().create_task(self._attempt_reconnect())
        self._lose()

    def drop_retired(self) -> None:
        """Drop the sockets that were renewed."""
        while self._retired:
            _abort(self._retired.pop())

    def _enqueue(self, command: bytes) -> None:
        self._pending.append(command)
        self._pending_data_size += len(command)
        queue = self._flush_queue
        if queue is not None and queue.empty():
            queue.put_nowait(asyncio.get_running_loop().create_future())

    def _lose(self) -> None:
        self._pending.clear()
        self._pending_data_size = 0
        for passed in tuple(self._barriers):
            if not passed.done():
                passed.set_result(False)
        self._on_lost()

    # --- events of the protocol, as nats-py calls them --------------------------------------------

    def _take(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> Awaitable[None] | None:
        handler = self._handlers.get(sid)
        if handler is None:
            return self._process_msg(sid, subject, reply, data, headers)  # type: ignore[arg-type]
        try:
            handler(subject.decode(), reply.decode(), data, headers)
        except (
            Exception
        ):  # the read loop is the outermost loop: an error here would end it silently
            extra = {"subject": errors.shown(subject.decode())}
            log.exception("message handler failed", extra=extra)
        return None

    async def _take_control(self, verb: bytes, rest: bytes) -> None:
        match verb:
            case b"PING":
                await self._process_ping()
            case b"PONG":
                await self._process_pong()
            case b"-ERR":
                await self._process_err(rest.decode().lower())
            case b"INFO":
                await self._process_info(json.loads(rest))
            case b"+OK":
                pass
            case _:
                raise ProtocolError

    async def _process_pong(self) -> None:
        if self._pongs:
            passed = self._pongs.pop(0)
            if not passed.done():
                passed.set_result(True)
            self._pongs_received += 1
            self._pings_outstanding = 0

    async def _process_err(self, err_msg: str) -> None:
        violation = _VIOLATION.search(err_msg.lower())
        if violation:
            kind, subject = violation.groups()
            self._on_violation(
                Violation("reply", subject)
                if kind.startswith("publish with")
                else Violation("publish" if kind == "publish" else "subscription", subject)
            )
        elif "stale connection" in err_msg:  # we were silent for too long, and connect again
            log.warning("server ends the connection", extra={"reason": err_msg})
            await super()._process_err(err_msg)
        elif any(word in err_msg for word in _FINAL):
            log.error("server ends the connection", extra={"reason": err_msg})
            self.ended_by = err_msg.strip(" '")
            await super()._process_err(err_msg)
        else:  # the server closes the connection where it must; nats-py would close it for ever
            log.error("server reports an error", extra={"reason": err_msg})

    def _connect_command(self) -> bytes:
        try:
            return super()._connect_command()
        except errors.TrunklineError as error:  # the one kind after which nats-py tries on
            raise Error(str(error)) from error

    async def _connect_to_server(self, s: Srv) -> None:
        self.abort()  # the socket of a try that the server refused, which nats-py forgets
        await super()._connect_to_server(s)

    async def _process_op_err(self, e: Exception) -> None:
        was_connected = self.is_connected
        await super()._process_op_err(e)
        if was_connected and not self.is_connected:
            self.abort()
            self._lose()

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        was_connected = self.is_connected
        self.drop_retired()
        await super()._close(status, do_cbs)
        if was_connected:
            self._lose()


def _abort(transport: Transport | None) -> None:
    writer = getattr(transport, "_io_writer", None)
    if writer is not None:
        writer.transport.abort()
