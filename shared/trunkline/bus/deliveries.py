"""One message of a work queue in this process's hands."""

from trunkline.bus import headers as header_block
from trunkline.bus import jetstream
from trunkline.bus.connection import NatsConnection
from trunkline.contracts import errors

ACK = b"+ACK"
NAK = b"-NAK"
PROGRESS = b"+WPI"


class PulledDelivery:
    """See `ports.Delivery`.

    JetStream does not fence: a stale holder's ack deletes the message, which is harmless once its
    outcome is stored, but its nak would take the message from whoever holds it now. So a delivery
    that is not `current` any more is acked, but never naked: the reaper gives it back, or ack_wait.
    """

    __slots__ = (
        "_block",
        "_connection",
        "_epoch",
        "_reply",
        "data",
        "delivered",
        "pending",
        "sequence",
        "subject",
    )

    def __init__(
        self,
        connection: NatsConnection,
        subject: str,
        reply: str,
        data: bytes,
        block: bytes | None = None,
    ) -> None:
        self._block = block
        place = jetstream.parse_ack(reply)
        self.subject = subject
        self.data = data
        self.sequence = place.stream_sequence
        self.delivered = place.delivered
        self.pending = place.pending
        self._connection, self._epoch, self._reply = connection, connection.epoch, reply

    @property
    def headers(self) -> dict[str, str]:
        """See `ports.Delivery`."""
        return header_block.decode(self._block)

    @property
    def current(self) -> bool:
        """Whether the connection has held since receipt."""
        return self._connection.connected and self._epoch == self._connection.epoch

    async def ack(self) -> None:
        """Take it off the queue, if the connection is there."""
        self._tell(ACK)

    async def nak(self, delay_s: float = 0.0) -> None:
        """Give it back, to be delivered again after the delay, if it is still ours."""
        if self.current:
            delay_ns = int(delay_s * jetstream.SECOND_NS)
            self._tell(NAK + b' {"delay": %d}' % delay_ns if delay_ns > 0 else NAK)

    async def renew(self) -> bool:
        """Extend the lease; return False when no consumer takes that.

        Raises:
            UnavailableError: the server did not answer; ask again.
        """
        try:
            await self._connection.ask(self._reply, PROGRESS, timeout_s=5.0)
        except jetstream.NoRespondersError:
            return False
        return True

    def _tell(self, payload: bytes) -> None:
        try:
            self._connection.send(self._reply, payload)
        except errors.UnavailableError:
            return  # it comes again, to us or to somebody else
