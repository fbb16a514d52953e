"""One connection to NATS, in one account: publish, request, serve, and read streams directly.

A connection is *connected* or *away*; it goes back and forth until it is closed for good. While it
is away nothing is sent and nothing is kept to be sent later. Each loss fails every request that is
waiting, at once, with UnavailableError (whether it took effect is unknown), and raises `epoch`:
what was received in an earlier epoch may be somebody else's by now. After a reconnect nats-py has
subscribed again before anything else is sent; then the `on_reconnect` callbacks run.

Requests share one subscription on an inbox of this connection's own, below its role's prefix. Every
token in it is random, and each answer's its own: who hears a message of ours hears its reply subject,
too, and must not guess from it where our other answers go (see `contracts.wards`).

A subject that the server refuses fails what waits on it with PermissionViolationError, at once. A
`publish` waits for nothing; its refusal is told by the next `flush`, and by each further `publish` on
that subject. All are counted, and make `problems`: a violation is a fault of ours, never an event.

A connection of a process that leads others is *fenced*: it asks, right before each message is handed to
the socket, whether the process leads at this instant, and raises NotLeadingError if not. To who uses the
connection that is a server which is away; what it hears, and the pulls by which it hears, go on. It is the
one place through which all effects on NATS pass.

A connection with a file of credentials looks at it every LOOK_S, and logs in anew when it holds
others (see `logins`, `Wire.renew`): to who uses the connection that is a loss and a reconnect, to the
server it is a client that is there all the time. Without that the server ends it when they expire,
for good: the process ends, and is started again.

Reading requests (`reads`) are repeated until their time is over, so that a server's restart is no event
for who reads. Writing ones are not: see `publishing` for what makes a repeated publish harmless.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from trunkline.bus import headers as header_block
from trunkline.bus import jetstream
from trunkline.bus.logins import Login
from trunkline.bus.nats_py import Msg
from trunkline.bus.ports import Message, Stored
from trunkline.bus.reads import Reads
from trunkline.bus.refusals import Refusals
from trunkline.bus.repeats import Repeats
from trunkline.bus.requests import Requests
from trunkline.bus.silence import Silence
from trunkline.bus.wire import Handler, Violation, Wire
from trunkline.contracts import errors

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

PING_S = 5
"""Seconds between pings; the third unanswered one ends the connection."""
RECONNECT_S = 0.05, 0.5
"""Seconds between tries to connect: at first, and at most."""
LOOK_S = 1.0
"""Seconds between looks at the file of credentials: a kilobyte. Who holds the same file is told of
others at other times (a kubelet's, for each pod), so not all log in at once."""


class NatsConnection:
    """See `ports.Connection`. Made by `connect`."""

    def __init__(
        self,
        name: str,
        inbox: str,
        api: str = jetstream.API,
        fence: Callable[[], bool] | None = None,
    ) -> None:
        self.name = name
        self._fence = fence
        self.epoch = 0
        """How often the connection was lost."""
        self._inbox = f"{inbox}.{self.unique()}"
        self._wire = Wire(on_lost=self._lost, on_violation=self._violated)
        self._requests = Requests(self._wire, self._inbox, self._must_lead)
        self._refusals = Refusals()
        self._loss_callbacks: set[Callable[[], None]] = set()
        self._reconnect_callbacks: set[Callable[[], None]] = set()
        self._login: Login | None = None
        self._look: asyncio.TimerHandle | None = None
        self._up = asyncio.Event()
        self._closed = asyncio.Event()
        self.repeats = Repeats(self._requests, self.until_connected, self._closed)
        self._failed_tries = 0
        self.reads = Reads(self.repeats, api)
        self.silence = Silence(name, self._wire)

    # --- what ports.Connection promises -----------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether there is a server on the other side, as far as is known."""
        return self._wire.is_connected

    @property
    def at_server(self) -> str:
        """What the server calls it, in its events, too."""
        return self._wire.at_server

    @property
    def max_payload(self) -> int:
        """The most bytes that one message may have, headers included."""
        return self._wire.max_payload

    @property
    def violations(self) -> int:
        """How many subjects the server has refused."""
        return self._refusals.count

    @property
    def problems(self) -> list[str]:
        """What is wrong with this connection, for people; nothing while all is well."""
        found = [] if self.connected else [f"{self.name} has no connection to NATS"]
        if self._wire.ended_by:
            found.append(f"NATS has ended it for good: {self._wire.ended_by}")
        if self._login is not None:
            found += self._login.problems(time.time_ns() / 1e9)
        if self._wire.silent:
            found.append(f"NATS does not answer {self.name}")
        elif self.connected:
            found += self.silence.problems
        if self.violations:
            found.append(f"NATS has refused {self.violations} subjects to {self.name}: see its log")
        return found

    async def publish(
        self, subject: str, data: bytes, *, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send without waiting, unless very much waits for the socket already."""
        self._refusals.before_publish(subject)
        self.send(subject, data, headers=header_block.encode(headers) if headers else b"")
        if self._wire.crowded:
            await self.flush()

    async def request(
        self,
        subject: str,
        data: bytes,
        *,
        timeout_s: float = 5.0,
        headers: Mapping[str, str] | None = None,
    ) -> Message:
        """Return the first answer; see ports.Connection for what is raised."""
        block = header_block.encode(headers) if headers else b""
        return await self.ask(subject, data, block, timeout_s=timeout_s)

    async def serve(self, subject: str, handler: Callable[[Message], Awaitable[None]]) -> None:
        """Call the handler for each message, one at a time; return once the server has it.

        It goes on until the connection is closed. An error of the handler is logged and ends
        nothing: a message from outside must not.

        Raises:
            PermissionViolationError: this connection may not subscribe to the subject.
        """

        async def take(raw: Msg) -> None:
            message = Message(
                subject=raw.subject, data=raw.data, headers=raw.headers or {}, reply=raw.reply
            )
            try:
                await handler(message)
            except errors.MalformedMessageError as error:
                log.warning("message is not readable", extra={"reason": str(error)})
            except Exception:  # the outermost loop of whatever the message asks for
                log.exception("handler failed", extra={"subject": errors.shown(subject)})

        self._refusals.before_subscribe(subject)
        await self._wire.subscribe(subject, cb=take)
        while not await self.barrier():
            await self.until_connected()
        self._refusals.after_subscribe(subject)

    def on_reconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back after each reconnect; return what ends that."""
        return _register(self._reconnect_callbacks, callback)

    async def last(self, stream: str, subject: str, *, timeout_s: float = 5.0) -> Stored | None:
        """Return a stream's last message on exactly this subject, or None."""
        return await self.reads.last(stream, subject, timeout_s=timeout_s)

    async def flush(self) -> None:
        """Return once the server has everything that was published."""
        if not await self.barrier():
            raise errors.UnavailableError("NATS", "the connection was lost")
        self._refusals.after_flush()

    async def closed(self) -> None:
        """Return once the connection is closed for good."""
        await self._closed.wait()

    # --- what the rest of the bus builds on -------------------------------------------------------

    def unique(self) -> str:
        """Return a token that nobody else makes or can guess.

        It names messages as well: who could guess a Msg-Id could use it up in a shared stream.
        """
        return secrets.token_urlsafe(16)

    def send(self, subject: str, data: bytes, *, reply: str = "", headers: bytes = b"") -> None:
        """Hand a message to the socket, or raise UnavailableError."""
        self._must_lead(subject)
        self._wire.send(subject, data, reply=reply, headers=headers)

    def pull(self, subject: str, data: bytes, *, reply: str) -> None:
        """Hand a request for messages to the socket, also where nothing may be sent that has an effect."""
        self._wire.send(subject, data, reply=reply)

    def listen(self, handler: Handler, *, below: bool = False) -> tuple[str, int]:
        """Subscribe to a fresh inbox, or to all subjects below it.

        Returns:
            The inbox, and what `unlisten` takes.
        """
        subject = f"{self._inbox}.p.{self.unique()}"
        return subject, self._wire.listen(f"{subject}.>" if below else subject, handler)

    def unlisten(self, sid: int) -> None:
        """Unsubscribe; what was on its way is handed over until a barrier is passed."""
        self._wire.unlisten(sid)

    async def barrier(self) -> bool:
        """Return once the server has taken, and we have handed over, all that was before.

        False: the connection was lost first, and nothing of before can come any more.
        """
        return await self._wire.barrier()

    def on_loss(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back at the instant of each loss, once `connected` is False."""
        return _register(self._loss_callbacks, callback)

    def on_violation(self, callback: Callable[[Violation], bool]) -> Callable[[], None]:
        """Call back for each refused subject; return what ends that.

        It returns whether the subject is its own, so that whoever waits for it is told.
        """
        return _register(self._refusals.callbacks, callback)

    async def until_connected(self) -> None:
        """Return once connected; raise UnavailableError when closed for good."""
        while not self.connected:
            if self._closed.is_set():
                raise errors.UnavailableError("NATS", "the connection is closed")
            self._up.clear()
            await self._up.wait()

    async def ask(
        self, subject: str, data: bytes, headers: bytes = b"", *, timeout_s: float
    ) -> Message:
        """Return the answer to a request, sent once."""
        return await self._requests.ask(subject, data, headers, timeout_s)

    async def js_api(
        self, verb: str, payload: Mapping[str, Any] | None = None, *, timeout_s: float = 5.0
    ) -> dict[str, Any]:
        """Return the answer to a request to JetStream's API; see `Reads.js_api`."""
        return await self.reads.js_api(verb, payload, timeout_s=timeout_s)

    async def scan(self, stream: str, subject_filter: str) -> list[Stored]:
        """Return the last message of every subject that matches the filter; see `Reads.scan`."""
        return await self.reads.scan(stream, subject_filter)

    def _must_lead(self, subject: str) -> None:
        if self._fence is not None and not self._fence():
            raise errors.NotLeadingError(subject)

    # --- events of the wire -----------------------------------------------------------------------

    def _lost(self) -> None:
        self.epoch += 1
        if not self._closed.is_set():
            log.warning("connection lost", extra={"connection": self.name})
        self._requests.lost()
        for callback in tuple(self._loss_callbacks):
            callback()

    def _violated(self, violation: Violation) -> None:
        self._refusals.add(self.name, violation, told=self._requests.violated(violation))

    async def _on_error(self, error: Exception) -> None:
        if self._wire.is_connected or self._wire.is_closed:
            log.warning("nats: %s", error, extra={"connection": self.name})
            return
        self._failed_tries += 1
        first, most = RECONNECT_S
        self._wire.options["reconnect_time_wait"] = min(
            most, first * 2 ** min(self._failed_tries, 9)
        )
        if self._failed_tries % 20 == 1:
            extra = {"connection": self.name, "reason": errors.said(error)}
            log.warning("cannot connect, trying on", extra=extra)

    def _follow(self) -> None:
        """Log in anew if there are other credentials; look again later."""
        assert self._login is not None
        if self._closed.is_set():
            return
        if self.connected and self._login.renewed:
            log.info("credentials renewed", extra={"connection": self.name})
            self._wire.renew()
        self._look = asyncio.get_running_loop().call_later(LOOK_S, self._follow)

    async def _on_reconnected(self) -> None:
        self._wire.drop_retired()
        self._refusals.at_another_server()
        self._came_up()
        for callback in tuple(self._reconnect_callbacks):
            callback()

    async def _on_closed(self) -> None:
        if self._wire.ended_by:
            log.error(
                "credentials count no more, the connection is closed for good",
                extra={"connection": self.name, "reason": self._wire.ended_by},
            )
        self._closed.set()
        self._up.set()

    def _came_up(self) -> None:
        self._failed_tries = 0
        self._wire.options["reconnect_time_wait"] = RECONNECT_S[0]
        self._up.set()
        log.info("connected", extra={"connection": self.name})

    async def open(self, url: str) -> None:
        """Connect, however long that takes; raise ValueError if the url is none of NATS'."""
        login = Login(url)
        who: dict[str, Any] = {"user": login.user or None, "password": login.password or None}
        if login.file is not None:
            who = {"signature_cb": login.sign, "user_jwt_cb": login.jwt}
        await self._wire.connect(
            list(login.servers),  # nats-py tries them in an order of chance, now and at each loss
            name=self.name,
            inbox_prefix=self._inbox,
            error_cb=self._on_error,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
            ping_interval=PING_S,
            max_outstanding_pings=2,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_S[0],  # type: ignore[arg-type]
            pending_size=0,
            **who,
        )
        if login.file is not None:
            self._login = login
            self._follow()
        self._requests.open()
        self._came_up()

    async def close(self) -> None:
        """Let the server take what was sent, if it does so soon, and close."""
        if self._wire.is_connected:
            await asyncio.wait([self._wire.barrier()], timeout=1.0)
        self._closed.set()
        if self._look is not None:
            self._look.cancel()
        self._requests.close()
        try:
            async with asyncio.timeout(1.0):
                await self._wire.close()
        except TimeoutError:
            self._wire.abort()
        self._up.set()


@contextlib.asynccontextmanager
async def connect(
    url: str,
    *,
    name: str,
    inbox: str,
    api: str = jetstream.API,
    fence: Callable[[], bool] | None = None,
) -> AsyncIterator[NatsConnection]:
    """Connect to a server, waiting for one that is not up or does not know the user yet.

    Args:
        url: In one of the forms of `logins`.
        name: What the server shows, and tells others when the connection is gone.
        inbox: The prefix below which this role may subscribe.
        api: Where JetStream's API is in its account, if it has any.
        fence: Whether something may be sent at this instant; see the module.
    """
    connection = NatsConnection(name, inbox, api, fence)
    await connection.open(url)
    try:
        yield connection
    finally:
        await connection.close()


def _register(callbacks: set[Callable[P, R]], callback: Callable[P, R]) -> Callable[[], None]:
    callbacks.add(callback)
    return lambda: callbacks.discard(callback)
