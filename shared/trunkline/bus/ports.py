"""What the services see of NATS: the shapes, without the library.

A service takes these Protocols, never nats-py. `connection`, `pulls`, `publishing`, `tables` and
`tails` implement them on a real server.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from trunkline.contracts import errors

R = TypeVar("R", bound=msgspec.Struct)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A core message as it came in."""

    subject: str
    data: bytes
    headers: Mapping[str, str] = {}
    reply: str = ""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a stream holds."""

    subject: str
    data: bytes
    sequence: int
    headers: Mapping[str, str] = {}
    at_ns: int = 0
    """When the server stored it, wall clock of the server."""


class Acked(msgspec.Struct, frozen=True, kw_only=True):
    """The server's word that a publish is stored."""

    stream: str
    sequence: int
    duplicate: bool = False
    """Whether a message with this Msg-Id was stored before."""


class Delivery(Protocol):
    """One message of a work queue in this process's hands, to be settled once."""

    @property
    def subject(self) -> str:
        """On which it was published."""
        ...

    @property
    def data(self) -> bytes:
        """What it says."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """What it came with."""
        ...

    @property
    def sequence(self) -> int:
        """In the stream."""
        ...

    @property
    def delivered(self) -> int:
        """How often it was delivered, as the server believes: a hint, reset by a server crash."""
        ...

    @property
    def pending(self) -> int:
        """How many more waited in the queue, for this consumer, when it was sent."""
        ...

    @property
    def current(self) -> bool:
        """False once the connection was lost since receipt: drop it unless it is being worked on."""
        ...

    async def ack(self) -> None:
        """Take it off the queue; not waited for, and lost if the connection is: it comes again."""
        ...

    async def nak(self, delay_s: float = 0.0) -> None:
        """Give it back."""
        ...

    async def renew(self) -> bool:
        """Extend the lease by ack_wait; return False when no consumer takes that.

        Either it is gone (the job was cancelled), or a server that has come up has not got to it
        yet: a holder is to ask what its assignment says.
        """
        ...


class Connection(Protocol):
    """One connection, in one account. It reconnects for ever."""

    @property
    def connected(self) -> bool:
        """Whether there is a server on the other side, as far as is known."""
        ...

    @property
    def at_server(self) -> str:
        """What the server calls it, in its events, too: `<server>/<client id>`; empty before there is one."""
        ...

    @property
    def max_payload(self) -> int:
        """The most bytes that one message may have, headers included."""
        ...

    @property
    def violations(self) -> int:
        """How many subjects the server has refused: anything but 0 is a fault of ours."""
        ...

    @property
    def problems(self) -> list[str]:
        """What is wrong with it, in sentences for people; nothing while all is well."""
        ...

    async def publish(
        self, subject: str, data: bytes, *, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send without waiting; raise UnavailableError when disconnected (nothing is buffered).

        Raises:
            PermissionViolationError: the server has refused the subject before.
        """
        ...

    async def request(
        self,
        subject: str,
        data: bytes,
        *,
        timeout_s: float = 5.0,
        headers: Mapping[str, str] | None = None,
    ) -> Message:
        """Return the first answer.

        Raises:
            UnavailableError: none came in time, nobody listens, or the connection is away.
            PermissionViolationError: at once, when the server refuses the subject.
        """
        ...

    async def serve(self, subject: str, handler: Callable[[Message], Awaitable[None]]) -> None:
        """Call `handler` for each message on the subject, one at a time, from now on.

        Returns once the server knows; goes on, over reconnects, until the connection is closed. An
        error of the handler is logged and ends nothing.

        Raises:
            PermissionViolationError: at once, when the server refuses the subject.
        """
        ...

    def on_reconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back after each reconnect; return what ends that."""
        ...

    async def last(self, stream: str, subject: str) -> Stored | None:
        """Return a stream's last message on exactly this subject (direct get), or None.

        Raises:
            UnavailableError: the server did not answer.
        """
        ...

    async def scan(self, stream: str, subject_filter: str) -> list[Stored]:
        """Return the last message of every subject that matches, by sequence.

        Raises:
            UnavailableError: the server did not answer.
        """
        ...

    async def flush(self) -> None:
        """Return once the server has everything that was published; UnavailableError if not.

        Raises:
            PermissionViolationError: the server has refused a subject, and nobody was told yet.
        """
        ...

    async def closed(self) -> None:
        """Return once the connection is closed for good: the process should end then."""
        ...


class Publisher(Protocol):
    """Acknowledged publishes, up to a window of them at once; more wait their turn."""

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
        """Return once the message is stored.

        An unanswered publish is repeated (also over a reconnect) until `timeout_s`; the stream
        knows the repeat by its Msg-Id, the caller's or one that is made for this call.

        Args:
            subject: Where to.
            data: The message.
            msg_id: Nats-Msg-Id; a second message with it inside the window is a duplicate.
            expected_last: Nats-Expected-Last-Subject-Sequence (0: there must be none).
            timeout_s: After which UnavailableError is raised; whether it is stored is unknown then.
            headers: More of them.

        Raises:
            RefusedError: the server did not store it; `code` says why.
            UnavailableError: no answer in time.
        """
        ...


class FirstPublisher(Protocol):
    """Publishes into a stream that takes one message on a subject, and no second one ever."""

    async def put(
        self,
        subject: str,
        data: bytes,
        *,
        hurry: bool = False,
        told: Callable[[errors.TrunklineError], None] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Stored | None:
        """Return once the subject has a message: None if it is this one, else what was first.

        Tries for ever, also on a full stream and without a server; the caller may cancel it, and
        does not know then whether it is stored.

        Args:
            subject: Where to.
            data: The message. The same bytes count as the same message.
            hurry: Whether it is sent now, rather than in some milliseconds together with more.
            told: Called with what is in the way, at first and then at every tenth try.
            headers: Of the message.

        Raises:
            PermissionViolationError: the server refuses the subject.
        """
        ...

    def flush(self) -> None:
        """Have what was put sent now, rather than in some milliseconds together with more."""
        ...


class Outgoing(NamedTuple):
    """A message to be stored once, however often it is sent."""

    subject: str
    msg_id: str
    data: bytes
    headers: Mapping[str, str] = {}


class BatchPublisher(Protocol):
    """Acknowledged publishes of very many messages into one stream."""

    async def put_all(self, messages: Iterable[Outgoing], *, timeout_s: float = 30.0) -> None:
        """Return once all of these messages are stored, or were before.

        Args:
            messages: All for the same stream; taken one by one as there is room for them.
            timeout_s: For how long nothing may come to be stored.

        Raises:
            RefusedError: the server did not store one of them.
            UnavailableError: no answer in time. After either, any of them may be stored.
        """
        ...


class Pull(Protocol):
    """A standing pull on one consumer: messages come by themselves, up to what is asked for."""

    def want(self, count: int) -> None:
        """Let up to this many further messages come (an absolute number, not an increment)."""
        ...

    async def stop(self) -> list[Delivery]:
        """Ask for no more; return what arrived and was not handed out."""
        ...


class Entry(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """A record in a bucket; `value` is None where it was deleted."""

    key: str
    value: R | None
    revision: int
    at_ns: int = 0
    """When it was stored, by the server's clock; 0 where one has just written it oneself."""


class Table(Protocol[R]):
    """A key-value bucket of one kind of record, with compare-and-set.

    A record that cannot be read is as if it was not there, but is told. Who owns the bucket sees what it was
    before, and mends it.
    """

    @property
    def problems(self) -> list[str]:
        """Return which records cannot be read, of those that were looked at, in a sentence each."""
        ...

    async def get(self, key: str) -> Entry[R] | None:
        """Return the record, or None; raise UnavailableError if the server does not answer."""
        ...

    async def create(self, key: str, value: R) -> int:
        """Store a record that is not there (or was deleted); return its revision.

        Raises:
            AlreadyExistsError: there is one. UnavailableError: unknown whether it was stored.
        """
        ...

    async def update(self, key: str, value: R, revision: int) -> int:
        """Replace the record at this revision; return the new one; ConflictError if it moved."""
        ...

    async def put(self, key: str, value: R) -> int:
        """Store without a check; only where one writer alone has the key."""
        ...

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Delete the record (at this revision); nothing happens if it is not there."""
        ...

    async def all(self, prefix: str = "") -> list[Entry[R]]:
        """Return all live records whose key starts with the prefix, sorted by key."""
        ...

    @property
    def spoiled(self) -> bool:
        """Whether a record was found since the last mending that cannot be read."""
        ...

    async def mend(self, known: Callable[[str], R | None]) -> list[str]:
        """Write again what somebody has overwritten with what cannot be read; return the keys.

        Args:
            known: What a reader holds of a record, where the bucket itself does not say.
        """
        ...

    def watch(self) -> AbstractAsyncContextManager[AsyncIterator[Sequence[Entry[R]]]]:
        """Follow the bucket: first a batch of all that is there, then batches of changes.

        Survives reconnects and server restarts: after one, changes that were missed come first.
        A first batch may be empty.
        """
        ...
