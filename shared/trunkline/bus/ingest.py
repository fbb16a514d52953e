"""Very many messages into one stream, by batches, each message known again by its Msg-Id.

The messages are cut into parts, and some parts are under way at once. What is unknown of a part
after its batch has ended (see `batches`) waits in `_unknown`: a lost connection, a silent server,
one that has no leader or too many batches right now, or a message that was lost on the way leave
that behind. It is sent again, after a pause, under the same Msg-Ids, and the stream passes over
those that it has. So `put_all` returns only when the server has vouched for every message; if it
raises, or the process dies, any part may be stored, and the caller puts all of them again.
"""

import asyncio
import functools
import itertools
from collections.abc import Iterable, Iterator

from trunkline.bus import headers as header_block
from trunkline.bus import jetstream
from trunkline.bus.batches import Batch, Batches, Entry
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Outgoing
from trunkline.bus.repeats import BUSY_S
from trunkline.bus.wire import Violation
from trunkline.contracts import errors

PART = 500
"""Messages of a batch: the server need not say more than two words about it."""
AHEAD = 2
"""Parts under way: enough that the server never waits, and little to send again."""

_PASSING = jetstream.NOT_NOW | {
    jetstream.NO_RESPONDERS,
    jetstream.BATCH_UNKNOWN,
    jetstream.BATCHES_TOO_MANY,
    jetstream.BATCHES_NOT_ALLOWED,  # a stream that is about to be declared anew
}
"""Refusals that pass by themselves."""


class Ingest:
    """See `ports.BatchPublisher`. It listens until its connection is closed."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection, self._batches = connection, Batches(connection)

    async def put_all(self, messages: Iterable[Outgoing], *, timeout_s: float = 30.0) -> None:
        """Return once all are stored; see ports.BatchPublisher."""
        load = _Load(self._connection, self._batches, timeout_s)
        end = self._connection.on_violation(load.violated)
        try:
            await load.run(messages)
        finally:
            end()


class _Load:
    """One call of `put_all`."""

    def __init__(self, connection: NatsConnection, batches: Batches, timeout_s: float) -> None:
        self._connection, self._batches, self._timeout_s = connection, batches, timeout_s
        self._subjects: set[str] = set()
        self._under_way = 0
        self._unknown: list[list[Entry]] = []
        self._reason = "no answer in time"
        """Why there is something unknown, as far as we were told."""
        self._failure: errors.TrunklineError | None = None
        self._woken = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._stored_at = self._loop.time()

    async def run(self, messages: Iterable[Outgoing]) -> None:
        """Send all, and wait until all are stored."""
        for part in self._parts(messages):
            await self._until(AHEAD - 1)
            self._send(part)
        await self._until(0)

    def violated(self, violation: Violation) -> bool:
        """Take notice of a refused subject; return whether it is ours."""
        refused = [each for each in self._subjects if each.lower() == violation.subject]
        ours = bool(refused) or self._batches.answered_on(violation)
        if ours:
            self._fail(errors.PermissionViolationError(refused[0] if refused else self._subject))
        return ours

    def _parts(self, messages: Iterable[Outgoing]) -> Iterator[list[Entry]]:
        entries = (
            (each.subject, each.data, header_block.with_id(each.msg_id, each.headers))
            for each in messages
        )
        while part := list(itertools.islice(entries, PART)):
            self._subjects |= {subject for subject, _, _ in part}
            yield part

    @property
    def _subject(self) -> str:
        """One of the subjects, to name what is wrong."""
        return next(iter(self._subjects), "a batch")

    def _send(self, part: list[Entry]) -> None:
        self._under_way += 1
        self._batches.send(part, functools.partial(self._heard, part))

    async def _until(self, most: int) -> None:
        """Return once no more than so many parts are not stored."""
        while self._failure is None and self._under_way + len(self._unknown) > most:
            if self._unknown:
                await self._repeat()
            else:
                self._woken.clear()
                await self._woken.wait()
        if self._failure is not None:
            raise self._failure

    async def _repeat(self) -> None:
        deadline = self._stored_at + self._timeout_s
        if self._loop.time() >= deadline:
            raise errors.UnavailableError(self._subject, self._reason)
        await asyncio.sleep(BUSY_S)
        try:
            async with asyncio.timeout_at(deadline):
                await self._connection.until_connected()
        except TimeoutError:
            raise errors.UnavailableError(self._subject, "the connection is away") from None
        unknown, self._unknown = self._unknown, []
        for part in unknown:
            self._send(part)

    def _heard(self, part: list[Entry], batch: Batch, before: int) -> None:
        if batch.stored > before:
            self._stored_at = self._loop.time()
        if not batch.ended:
            return
        self._under_way -= 1
        if batch.stored < batch.count:
            self._unknown.append(part[batch.stored :])
            self._judge(batch.error)
        self._woken.set()

    def _judge(self, error: jetstream.ApiError | None) -> None:
        if error is None:
            return
        if error.err_code in _PASSING:
            self._reason = error.description
        else:
            self._fail(errors.RefusedError(self._subject, error.err_code, error.description))

    def _fail(self, error: errors.TrunklineError) -> None:
        self._failure = error
        self._woken.set()
