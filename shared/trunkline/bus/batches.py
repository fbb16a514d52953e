"""Batches by the server's fast ingest: many messages into one stream for a few words of the server.

An acknowledged publish costs the server an answer and us the reading of it. In fast ingest
(nats-server 2.14, ADR-50; the stream must say `allow_batched`) the messages of a batch are numbered
on their reply subjects, `<inbox>.<batch>.<flow>.<gap>.<number>.<operation>.$FI`, and the answers
are few. A batch here is sent whole, in one go, and its last message commits it:

    sent        `stored` of its messages are known to be stored: 0, or what the last flow-ack said
    ended       `stored` is final. If it is less than `count`, all after it are *unknown*

Which answers there are, by numbers in the batch:

    ack         everything up to `seq` is stored; comes with the start (`seq` 0) and every so often,
                as the server likes: more often the more publishers there are
    err, gap    this one was refused, that one is missing; both may be lost, and the end follows
    PubAck      the end. Its `count` is the whole batch, or how far it came before it was given up
    error       the end: the batch was refused, or is not known (any more)

The gap mode is always `fail`. With `ok` the server goes on behind a message that it has lost or
refused, and its acks cover that one, too. With `fail` it stores nothing of a batch after such a
place, and what it still gets of the batch is answered by `unknown`, each message.

Of a batch that ends early we believe the flow-acks only, not the count; of one without any answer
for `TRY_S`, or over which the connection was lost, nothing but them. A crash anywhere leaves a
beginning of the batch stored, of any length: what is unknown may be there. The batch's owner looks,
or sends it again in a way that the stream recognises.

A batch of one is a plain publish. None is ever open: the server's limits for batches that are
(1,000 a stream, 10 idle seconds) concern us only as a refusal, like that of a stream that does not
allow batches. The server drops what is too much at once for it, which is a gap; so owners bound
what is under way.
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from trunkline.bus import jetstream
from trunkline.bus.connection import NatsConnection
from trunkline.bus.repeats import TRY_S
from trunkline.bus.wire import Violation
from trunkline.contracts import errors

FLOW = 500
"""Messages between flow-acks that we propose; it is also the most that the server takes."""
START, APPEND, COMMIT = 0, 1, 2

Entry = tuple[str, bytes, bytes]
"""Subject, data and header block of a message."""


class _Answer(msgspec.Struct):
    """Any of the answers; which one it is, is told by what it has."""

    type: str = ""
    seq: int = 0
    count: int = 0
    error: jetstream.ApiError | None = None


_decode = msgspec.json.Decoder(_Answer).decode
_NOBODY = jetstream.ApiError(503, jetstream.NO_RESPONDERS, "nobody listens there")
_NO_BATCHES = frozenset({jetstream.BATCHES_NOT_ALLOWED, jetstream.BATCHES_TOO_MANY})


class Batch:
    """A batch under way, or ended."""

    __slots__ = ("count", "ended", "error", "sent_s", "stored", "told")

    def __init__(self, count: int, sent_s: float, told: "Told") -> None:
        self.count, self.sent_s, self.told = count, sent_s, told
        self.stored = 0
        """How many, from its first on, are surely stored."""
        self.ended = False
        """Whether no more will be known."""
        self.error: jetstream.ApiError | None = None
        """Why it ended early, if the server said so."""

    @property
    def refused(self) -> bool:
        """Whether it was refused for being a batch; its messages alone may be welcome."""
        return self.error is not None and self.error.err_code in _NO_BATCHES


Told = Callable[[Batch, int], None]
"""Takes a batch of which more is known, and how many of it were known as stored before."""


class Batches:
    """The batches of one connection; a few of them may be under way at once."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._under_way: dict[str, Batch] = {}
        self._name, self._next = connection.unique(), 0
        self._inbox, _ = connection.listen(self._answered, below=True)
        self._skip = len(self._inbox) + 1
        self._sweeper: asyncio.TimerHandle | None = None
        connection.on_loss(self._lost)

    def send(self, entries: Sequence[Entry], told: Told) -> Batch:
        """Send messages as a batch, all into one stream.

        Args:
            entries: At least one.
            told: Called whenever more of it is known, for the last time at its end, and not before
                this returns.

        Raises:
            RefusedError: one of them is too large; those before it may be stored.
        """
        self._next += 1
        name = f"{self._name}{self._next:x}"
        batch = self._under_way[name] = Batch(len(entries), self._loop.time(), told)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(TRY_S / 2, self._sweep)
        try:
            self._write(f"{self._inbox}.{name}", entries)
        except errors.UnavailableError:  # nothing went, or nobody knows how much
            self._loop.call_soon(self._end, name, None)
        except errors.RefusedError:
            del self._under_way[name]
            raise
        return batch

    def answered_on(self, violation: Violation) -> bool:
        """Return whether it is our inbox that was refused: then nothing can be answered."""
        return violation.subject.startswith(self._inbox.lower())

    def _write(self, reply: str, entries: Sequence[Entry]) -> None:
        send, last = self._connection.send, len(entries)
        if last == 1:
            subject, data, block = entries[0]
            send(subject, data, reply=reply, headers=block)
            return
        prefix = f"{reply}.{FLOW}.fail."
        operation = START
        for number, (subject, data, block) in enumerate(entries, 1):
            if number == last:
                operation = COMMIT
            send(subject, data, reply=f"{prefix}{number}.{operation}.$FI", headers=block)
            operation = APPEND

    def _answered(self, subject: str, _reply: str, data: bytes, _block: bytes | None) -> None:
        name = subject[self._skip :].partition(".")[0]
        batch = self._under_way.get(name)
        if batch is None:
            return  # ended: the answers to the rest of it
        if not data:
            self._end(name, _NOBODY)
            return
        answer = _decode(data)
        if answer.type == "ack":
            if answer.seq > batch.stored:
                before, batch.stored = batch.stored, answer.seq
                batch.told(batch, before)
        elif answer.type:
            batch.error = answer.error
        else:
            whole = answer.error is None and (batch.count == 1 or answer.count == batch.count)
            self._end(name, answer.error, whole=whole)

    def _end(self, name: str, error: jetstream.ApiError | None, *, whole: bool = False) -> None:
        batch = self._under_way.pop(name, None)
        if batch is None:
            return
        batch.ended = True
        batch.error = batch.error or error
        before = batch.stored
        if whole:
            batch.stored = batch.count
        batch.told(batch, before)

    def _lost(self) -> None:
        for name in tuple(self._under_way):
            self._end(name, None)

    def _sweep(self) -> None:
        """Give up what has had no answer for too long: the server's, or ours, was lost."""
        oldest = self._loop.time() - TRY_S
        for name, batch in tuple(self._under_way.items()):
            if batch.sent_s <= oldest:
                self._end(name, None)
        self._sweeper = None
        if self._under_way:
            self._sweeper = self._loop.call_later(TRY_S / 2, self._sweep)
