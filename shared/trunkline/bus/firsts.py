"""Messages of which the first on a subject counts, put by batches and settled one by one.

A put is always in one of these states:

    waiting     for its batch to be sent: no longer than `LINGER_S`, and not at all if that is asked
                for; a batch of a few costs nearly as much as one of a hundred
    sent        in a batch
    stored      the server has vouched for it (a flow-ack or the batch's PubAck): it is ours
    unknown     its batch ended before: an error, a gap, no answer, a lost connection
    looked up   what the subject holds, if anything, is the answer: ours, by its bytes, or the first
    put alone   nothing was there; a publish of its own, after which it is looked up again

The stream refuses a second message on a subject for ever, so that repeating can store nothing
twice: an earlier copy that was only late makes the repeat refused, and the look finds it. The
refusal itself says nothing, since a stream that is full, or broken, refuses with the same code.
From *unknown* on, each put goes its own way, over and over with a pause, until the subject has a
message or the caller cancels it; one refused message costs its batch a look each.

A crash of this process loses what waits; of what was sent, any part may be stored. Whoever put it
puts it again, or somebody else something else: the first counts.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

from trunkline.bus import headers as header_block
from trunkline.bus.batches import Batch, Batches
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Publisher, Stored
from trunkline.bus.wire import Violation
from trunkline.contracts import errors, subjects

LINGER_S = 0.005
"""Seconds that a put may wait for others."""
MOST = 128
"""Messages of a batch."""
WINDOW = 4 * MOST
"""Messages under way: far below the 10,000 at which the server drops what comes to a stream."""
PAUSE_S = 0.1, 10.0
"""Seconds between tries of a put that is not stored: at first, and at most."""
TOLD_EACH = 10
ALONE_S = 30.0
"""Seconds for which batches are not tried once the server has refused one as such."""


class _Put:
    """A message until it is known what became of it."""

    __slots__ = ("block", "data", "known", "subject")

    def __init__(
        self, subject: str, data: bytes, block: bytes, known: asyncio.Future[bool]
    ) -> None:
        self.subject, self.data, self.block, self.known = subject, data, block, known

    def tell(self, *, stored: bool) -> None:
        if not self.known.done():
            self.known.set_result(stored)


class Firsts:
    """See `ports.FirstPublisher`. Any number of callers may wait in `put` at once."""

    def __init__(self, connection: NatsConnection, publisher: Publisher) -> None:
        """Make it.

        Args:
            connection: On which it listens until that is closed.
            publisher: For what is put alone.
        """
        self._connection, self._publisher = connection, publisher
        self._batches = Batches(connection)
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Put] = deque()
        self._sent: dict[Batch, list[_Put]] = {}
        self._under_way = 0
        """How many messages are in `_sent`."""
        self._turn: asyncio.Handle | None = None
        """When what waits is sent, if that is settled."""
        self._hurried = False
        """Whether that is this turn of the loop."""
        self._alone_until = 0.0
        connection.on_violation(self._violated)

    async def put(
        self,
        subject: str,
        data: bytes,
        *,
        hurry: bool = False,
        told: Callable[[errors.TrunklineError], None] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Stored | None:
        """Return once the subject has a message; see ports.FirstPublisher."""
        block = header_block.encode(headers) if headers else b""
        if len(block) + len(data) > self._connection.max_payload:
            return await self._insist(subject, data, headers, told)
        known = self._loop.create_future()
        self._waiting.append(_Put(subject, data, block, known))
        if len(self._waiting) == MOST:
            self.flush()
        elif hurry and not self._hurried:
            self._unset_turn()
            # with all that others put before this turn of the loop is over
            self._turn, self._hurried = self._loop.call_soon(self.flush), True
        elif self._turn is None:
            self._turn = self._loop.call_later(LINGER_S, self.flush)
        if await known:
            return None
        return await self._insist(subject, data, headers, told)

    def flush(self) -> None:
        """Send what waits, as far as there is room."""
        self._unset_turn()
        while self._waiting and self._under_way < WINDOW:
            most = MOST if self._loop.time() >= self._alone_until else 1
            puts: list[_Put] = []
            while self._waiting and len(puts) < most:
                each = self._waiting.popleft()
                if not each.known.done():  # cancelled
                    puts.append(each)
            if puts:
                entries = [(each.subject, each.data, each.block) for each in puts]
                self._sent[self._batches.send(entries, self._heard)] = puts
                self._under_way += len(puts)

    def _unset_turn(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
        self._turn, self._hurried = None, False

    def _heard(self, batch: Batch, before: int) -> None:
        """Settle what is known of a batch."""
        puts = self._sent[batch]
        for each in puts[before : batch.stored]:
            each.tell(stored=True)
        if not batch.ended:
            return
        del self._sent[batch]
        self._under_way -= len(puts)
        for each in puts[batch.stored :]:
            each.tell(stored=False)
        if batch.refused:
            self._alone_until = self._loop.time() + ALONE_S
        if self._waiting and self._turn is None:
            self._turn = self._loop.call_soon(self.flush)  # there was no room

    def _violated(self, violation: Violation) -> bool:
        ours = False
        for puts in self._sent.values():
            for each in puts:
                if each.subject.lower() == violation.subject and not each.known.done():
                    each.known.set_exception(errors.PermissionViolationError(each.subject))
                    ours = True
        return ours

    async def _insist(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str] | None,
        told: Callable[[errors.TrunklineError], None] | None,
    ) -> Stored | None:
        """Look, and put alone what is not there, until something is."""
        failures = 0
        while True:
            problem = await self._alone(subject, data, headers)
            if problem is None or isinstance(problem, Stored):
                return problem
            if told is not None and failures % TOLD_EACH == 0:
                told(problem)
            first, most = PAUSE_S
            await asyncio.sleep(min(most, first * 2 ** min(failures, 9)))
            failures += 1

    async def _alone(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None
    ) -> Stored | errors.TrunklineError | None:
        """Return what was first if that is not ours, None if it is, or why there is nothing."""
        try:
            found = await self._look(subject)
            if found is None:
                try:
                    await self._publisher.put(subject, data, headers=headers)
                except errors.RefusedError as error:  # perhaps because it is there by now
                    found = await self._look(subject)
                    if found is None:
                        return error
                else:
                    return None
        except errors.UnavailableError as error:
            return error
        return None if found.data == data else found

    async def _look(self, subject: str) -> Stored | None:
        return await self._connection.last(subjects.stream_of(subject), subject)
