"""Standing pulls: messages of a consumer come by themselves, as many as were asked for.

nats-py's `fetch` asks and waits; over a server's restart it waits for nothing. Here the requests
(`MSG.NEXT`, 30 s each) stand on the server, and the server beats every second for each of them. A
pull is always in one of these states, and every change is a plain function call, so that no two can
interleave:

    resting    nothing is wanted beyond what is asked for
    asking     requests stand; `_Asked.count` messages may still come on the generation's inbox
    backing    the consumer is not there (no responders) or the request was refused: a timer runs
    away       the connection is lost; what was asked for is forgotten, what is wanted is not
    ended      stopped, or the server refuses us the subject

A *generation* is one inbox subscription with the requests on it. It is given up when the connection
is lost, when two beats are missed (checked every beat), on a 409 (consumer deleted, leader changed,
server going down) and when less is wanted than is asked for: leaving the inbox is the only way to
take a request back. What the server had sent before it learned of that is still handed out.

    100 beat        408 a request ran out; its header says how many did not come
    404, 409, 503   give up the generation and ask again, after a while if it is not the first time
"""

import asyncio
import logging
from collections.abc import Callable

from trunkline.bus import headers as header_block
from trunkline.bus import jetstream
from trunkline.bus.connection import NatsConnection
from trunkline.bus.deliveries import PulledDelivery
from trunkline.bus.ports import Delivery
from trunkline.bus.silence import MOVE_S
from trunkline.bus.wire import Violation
from trunkline.contracts import errors

log = logging.getLogger(__name__)

BEAT_S = 1
EXPIRES_S = 30
SILENCE_S = 2.2
"""Two missed beats, and a little."""
BACK_S = 0.05, 1.0
"""Seconds to wait before asking a consumer that was not there: at first, and at most."""

Taker = Callable[[str, str, bytes, bytes | None], None]
"""Takes subject, ack subject, data and header block of a message."""


class _Asked:
    """One generation."""

    __slots__ = ("count", "heard", "inbox", "sid")

    def __init__(self, heard: float) -> None:
        self.count = 0
        self.heard = heard
        self.inbox, self.sid = "", 0


class RawPull:
    """The standing pull on messages as they come; StandingPull and tails are made of it."""

    def __init__(
        self,
        connection: NatsConnection,
        stream: str,
        consumer: str,
        take: Taker,
        *,
        on_broken: Callable[[], None] | None = None,
        on_idle: Callable[[], None] | None = None,
        on_failure: Callable[[], None] | None = None,
    ) -> None:
        """Make a pull that does nothing yet.

        Args:
            connection: Where to.
            stream: The stream's name.
            consumer: A durable pull consumer's name; it need not exist yet.
            take: Called for each message.
            on_broken: Called instead of asking again when a generation is given up, for consumers
                that must not be continued then; the pull is ended.
            on_idle: Called when nothing has come for a beat, though it was asked for.
            on_failure: Called once when the server has refused the pull's subject.
        """
        self._connection = connection
        self._subject = f"{jetstream.API}.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._take = take
        self._on_broken, self._on_idle, self._on_failure = on_broken, on_idle, on_failure
        self._wanted = 0
        self._asked: _Asked | None = None
        self._failures = 0
        self._mute_s: float | None = None
        """Since when every generation was given up without a message or a beat."""
        self._timer: asyncio.TimerHandle | None = None
        self._backing = False
        self._running = False
        self._ending: list[Callable[[], None]] = []
        self.failure: errors.PermissionViolationError | None = None
        """Set once the server has refused the pull's subject: nothing will come then."""

    def start(self) -> None:
        """Begin to ask for what is wanted."""
        self._running = True
        self._ending = [
            self._connection.on_loss(self._lost),
            self._connection.on_reconnect(self._advance),
            self._connection.on_violation(self._violated),
        ]
        self._advance()

    def want(self, count: int) -> None:
        """Let up to this many further messages come.

        Raises:
            PermissionViolationError: the server has refused the pull.
        """
        if self.failure is not None:
            raise self.failure
        self._wanted = max(0, count)
        self._advance()

    @property
    def wanted(self) -> int:
        """How many may still come."""
        return self._wanted

    @property
    def running(self) -> bool:
        """Whether it was started and not ended yet, by us or by a break."""
        return self._running

    def give_up(self) -> None:
        """Take it as broken."""
        self._again(later=False)

    async def end(self) -> None:
        """Ask for no more; return when nothing can come any more."""
        self._leave(self._finish())
        await self._connection.barrier()

    def _finish(self) -> _Asked | None:
        self._running = False
        self._wanted = 0
        for unregister in self._ending:
            unregister()
        if self._timer is not None:
            self._timer.cancel()
        asked, self._asked = self._asked, None
        return asked

    def _advance(self) -> None:
        """Make what is asked for what is wanted."""
        if not self._running or self._backing or not self._connection.connected:
            return
        if self._asked is not None and self._asked.count > self._wanted:
            if self._on_broken is not None:
                return  # an ordered reader takes what it has asked for
            self._give_up()
        if self._wanted == 0 or (self._asked is not None and self._asked.count >= self._wanted):
            return
        asked = self._asked
        now = asyncio.get_running_loop().time()
        if asked is None:
            asked = self._asked = _Asked(now)
            asked.inbox, asked.sid = self._connection.listen(self._handler(asked))
        if asked.count == 0:
            asked.heard = now
        more = self._wanted - asked.count
        asked.count = self._wanted
        request = b'{"batch":%d,"expires":%d,"idle_heartbeat":%d}' % (
            more,
            EXPIRES_S * jetstream.SECOND_NS,
            BEAT_S * jetstream.SECOND_NS,
        )
        self._connection.pull(self._subject, request, reply=asked.inbox)
        if self._timer is None:
            self._set_timer(SILENCE_S, self._watch)

    def _handler(self, asked: _Asked) -> Taker:
        now = asyncio.get_running_loop().time

        def handle(subject: str, reply: str, data: bytes, block: bytes | None) -> None:
            asked.heard = now()
            if reply.startswith("$JS.ACK."):
                asked.count -= 1
                if asked is self._asked:
                    if self._wanted:
                        self._wanted -= 1
                    self._failures = 0
                    self._mute_s = None
                self._take(subject, reply, data, block)
            elif asked is self._asked:
                self._told(asked, *header_block.status(block), block)

        return handle

    def _told(self, asked: _Asked, status: int, description: str, block: bytes | None) -> None:
        match status:
            case 100:
                self._failures = 0
                self._mute_s = None
                if self._on_idle is not None:
                    self._on_idle()
            case 408 if missing := header_block.decode(block).get(header_block.PENDING):
                asked.count = max(0, asked.count - int(missing))
                self._advance()
            case _:
                if self._failures == 0 and status not in (408, 409):
                    log.info(
                        "pull has to wait",
                        extra={
                            "subject": errors.shown(self._subject),
                            "status": status,
                            "reason": description,
                        },
                    )
                self._again(later=status not in (408, 409) or self._failures > 0)

    def _give_up(self) -> None:
        self._leave(self._asked)
        self._asked = None

    def _leave(self, asked: _Asked | None) -> None:
        if asked is not None:
            self._connection.unlisten(asked.sid)

    def _again(self, *, later: bool) -> None:
        """Give up the generation and ask anew, after a while or now."""
        if self._on_broken is not None:
            self._break()
            return
        self._give_up()
        self._failures += 1
        self._doubt_server()
        if not later:
            self._advance()
            return
        first, most = BACK_S
        self._backing = True
        self._set_timer(min(most, first * 2 ** min(self._failures, 9)), self._resume)

    def _doubt_server(self) -> None:
        """Leave a server at which nothing has come for long: it may be cut off from the others."""
        now = asyncio.get_running_loop().time()
        if self._mute_s is None:
            self._mute_s = now
        elif now - self._mute_s >= MOVE_S:
            self._connection.silence.leave()

    def _break(self) -> None:
        assert self._on_broken is not None
        self._leave(self._finish())
        self._on_broken()

    def _resume(self) -> None:
        self._timer = None
        self._backing = False
        self._advance()

    def _watch(self) -> None:
        """Look for silence, every beat, as long as anything is asked for."""
        self._timer = None
        asked = self._asked
        if asked is None or asked.count == 0:
            self._advance()
            return
        if asyncio.get_running_loop().time() - asked.heard >= SILENCE_S:
            log.info(
                "pull fell silent, asking again", extra={"subject": errors.shown(self._subject)}
            )
            self._again(later=False)
        if self._timer is None and self._running:
            self._set_timer(BEAT_S, self._watch)

    def _set_timer(self, delay_s: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay_s, callback)

    def _lost(self) -> None:
        if self._on_broken is not None:
            self._break()
            return
        self._give_up()
        self._backing = False
        self._failures = 0
        self._mute_s = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _violated(self, violation: Violation) -> bool:
        if violation.subject != self._subject.lower():
            return False
        self.failure = errors.PermissionViolationError(self._subject)
        self._leave(self._finish())
        for tell in (self._on_broken, self._on_failure):
            if tell is not None:
                tell()
        return True


class StandingPull:
    """See `ports.Pull`: a standing pull that hands out deliveries."""

    def __init__(
        self,
        connection: NatsConnection,
        stream: str,
        consumer: str,
        on_delivery: Callable[[Delivery], None],
        *,
        on_failure: Callable[[errors.PermissionViolationError], None] | None = None,
    ) -> None:
        """Ask for nothing yet.

        Args:
            connection: In the stream's account.
            stream: The stream's name.
            consumer: Its durable pull consumer's.
            on_delivery: Called for each message.
            on_failure: Called at once when the server has refused the pull, for who waits for a
                message and wants nothing more until then; `want` raises it, too.
        """
        self._connection = connection
        self._on_delivery, self._on_failure = on_delivery, on_failure
        self._pull = RawPull(connection, stream, consumer, self._take, on_failure=self._failed)
        self._left: list[Delivery] | None = None

    @property
    def failure(self) -> errors.PermissionViolationError | None:
        """Set once the server has refused the pull: `want` raises it, and nothing will come."""
        return self._pull.failure

    def start(self) -> None:
        """Begin to ask for what is wanted, now and after each reconnect."""
        self._pull.start()

    def want(self, count: int) -> None:
        """Let up to this many further messages come (an absolute number, not an increment)."""
        self._pull.want(count)

    async def stop(self) -> list[Delivery]:
        """Ask for no more; return what still arrived, to be given back."""
        self._left = []
        await self._pull.end()
        return self._left

    def _failed(self) -> None:
        if self._on_failure is not None and self._pull.failure is not None:
            self._on_failure(self._pull.failure)

    def _take(self, subject: str, reply: str, data: bytes, block: bytes | None) -> None:
        delivery = PulledDelivery(self._connection, subject, reply, data, block)
        if self._left is not None:
            self._left.append(delivery)
        else:
            self._on_delivery(delivery)
