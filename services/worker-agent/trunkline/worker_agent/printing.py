"""Sends what commands print to the log stream, in pieces, without holding any command up.

Pieces are sent when they are full, after a short time, and at the end of a command; again until the
server has vouched for them, under Msg-Ids of which the stream takes one each. So a server that is killed, or away
for STORE_S, costs no line and doubles none. What cannot be stored in that time, or does not fit into
HELD_BYTES meanwhile, is lost and counted: logs are a help, never the truth.

There are several who flush: the loop, and each datum before its outcome is published, so that whoever
sees the outcome finds the lines. They take turns, and a piece is waiting until it is stored. Else a datum
that ends while the loop is sending would find nothing to wait for, or overtake its own lines.

A worker that is killed takes along what was printed since the last flush (`flush_s`, and of a line
without an end `printed.UNFINISHED_S`), and what was on its way to the server.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from trunkline.bus.ports import BatchPublisher, Outgoing
from trunkline.contracts import errors, messages, subjects
from trunkline.contracts.messages import LogLine
from trunkline.contracts.states import Cause
from trunkline.contracts.wards import Ward
from trunkline.runtime import tracing
from trunkline.runtime.clock import Clock
from trunkline.worker_agent.core.printed import AGENT, Piece, Printed
from trunkline.worker_agent.work import Datum

log = logging.getLogger(__name__)

STORE_S = 10.0
"""Seconds in which no piece was stored, after which those that are being sent are given up: an outcome
waits for the lines that belong to it, and longer than that it is not to."""
AT_ONCE = 64
"""Pieces that are sent together: at most 1 MiB as it was printed."""
HELD_BYTES = 4 * 1024 * 1024
"""Of text in UTF-8, for all outputs together: what several runs may print while the server is away."""


class Output:
    """What one run of a datum's command prints."""

    def __init__(self, datum: Datum, printed: Printed, printer: "Printer") -> None:
        self._datum = datum
        self._printed = printed
        self._printer = printer

    def take(self, stream: str, data: bytes) -> None:
        """Take what was printed; called from the loop."""
        self._printer.add(self._datum, self._printed.take(stream, data))

    def say(self, text: str) -> None:
        """Add a line of our own, after what was printed so far."""
        self._printer.add(self._datum, [*self._printed.rest(), Piece(AGENT, text)])

    @property
    def tail(self) -> str:
        """The last lines."""
        return self._printed.tail

    def due(self, now_s: float) -> None:
        """Hand on the whole lines that are there."""
        self._printer.add(self._datum, self._printed.due(now_s))

    def end(self) -> None:
        """Hand on the rest, and have the datum's figures say how much there was in all."""
        pieces = self._printed.end()
        if self._datum.lost_bytes:
            lost = f"{self._datum.lost_bytes} bytes of output were lost: they could not be stored"
            pieces.append(Piece(AGENT, lost))
        self._printer.add(self._datum, pieces)
        self._printer.dropped_lines += self._printed.unkept_lines
        if self._printed.size:
            before = self._datum.figures
            self._datum.measure(
                printed_bytes=before.printed_bytes + self._printed.size,
                unkept_bytes=before.unkept_bytes + self._printed.unkept,
                unkept_lines=before.unkept_lines + self._printed.unkept_lines,
            )


class Printer:
    """The one sender of a worker's log lines."""

    def __init__(
        self,
        publisher: BatchPublisher,
        ward: Ward,
        *,
        worker: str,
        incarnation: str,
        clock: Clock,
        limit_bytes: int,
        flush_s: float,
    ) -> None:
        self._publisher = publisher
        self._ward = ward
        self._worker, self._incarnation = worker, incarnation
        self._clock = clock
        self._limit = limit_bytes
        self._flush_s = flush_s
        self._waiting: deque[_Sent] = deque()
        self._held = 0
        self._open: set[Output] = set()
        self._more = asyncio.Event()
        self._turn = asyncio.Lock()
        self._sent = 0
        self.dropped_lines = 0
        """Lines that are in no log: over the limit, or not stored in time."""

    @contextlib.contextmanager
    def output(self, datum: Datum) -> Iterator[Output]:
        """Give what takes a command's output, until the end of the block."""
        output = Output(datum, Printed(limit_bytes=self._limit), self)
        self._open.add(output)
        try:
            yield output
        finally:
            self._open.discard(output)
            output.end()

    @property
    def waiting(self) -> bool:
        """Whether there is anything to be sent, or that is being sent."""
        return bool(self._waiting) or self._turn.locked()

    def tell(self, datum: Datum, text: str, ends: Cause) -> None:
        """Add a line that says what the attempt has ended of."""
        self.add(datum, [Piece(AGENT, text)], ends)

    def add(self, datum: Datum, pieces: Sequence[Piece], ends: Cause | None = None) -> None:
        """Have pieces sent soon."""
        for piece in pieces:
            size = len(piece.text.encode())
            if self._held + size > HELD_BYTES and piece.stream != AGENT:
                self._lose(datum, piece, size)
                continue
            self._held += size
            self._waiting.append(_Sent(datum, piece, size, self._message(datum, piece, ends)))
            self._more.set()

    def _message(self, datum: Datum, piece: Piece, ends: Cause | None) -> Outgoing:
        task = datum.task
        line = LogLine(
            worker=self._worker,
            datum=task.datum,
            index=task.index,
            stream=piece.stream,
            text=piece.text,
            at_ns=self._clock.wall_ns(),
            attempt=datum.attempt,
            generation=task.generation,
            incarnation=self._incarnation,
            ends=ends,
        )
        subject = subjects.logs(self._ward, task.job, task.index, self._worker, piece.stream)
        self._sent += 1
        return Outgoing(
            subject,
            f"{self._incarnation}/{self._sent}",
            messages.encode(line),
            tracing.headers(datum.traceparent),
        )

    async def send_forever(self) -> None:
        """Send what is due, as it comes and after each `flush_s`; a quiet run wakes nobody."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._flush_s):
                    await self._more.wait()
            now_s = self._clock.monotonic_s()
            for each in self._open:
                each.due(now_s)
            await self.flush()

    async def flush(self) -> None:
        """Return once all that is waiting is stored, by whomever, or given up."""
        async with self._turn:
            self._more.clear()
            left = len(self._waiting)  # what comes meanwhile has its own flush
            while left > 0:
                left -= await self._send()

    async def _send(self) -> int:
        """Send some of what waits; return how much that was."""
        sent = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
        try:
            await self._publisher.put_all([each.message for each in sent], timeout_s=STORE_S)
        except (errors.UnavailableError, errors.RefusedError) as error:
            log.warning("log lines are lost", extra={"pieces": len(sent), "reason": str(error)})
            for each in sent:
                self._lose(each.datum, each.piece, each.size)
        except BaseException:  # whoever flushed is cut short; the lines may be others'
            self._waiting.extendleft(reversed(sent))
            self._more.set()
            raise
        self._held -= sum(each.size for each in sent)
        return len(sent)

    def _lose(self, datum: Datum, piece: Piece, size: int) -> None:
        if piece.stream == AGENT:
            self.dropped_lines += 1  # of ours each piece is a line
            return
        lines = piece.text.count("\n")
        self.dropped_lines += lines
        datum.lost_bytes += size
        before = datum.figures
        datum.measure(
            unkept_bytes=before.unkept_bytes + size, unkept_lines=before.unkept_lines + lines
        )


class _Sent(NamedTuple):
    """A piece until it is stored."""

    datum: Datum
    piece: Piece
    size: int
    """Of its text, in bytes."""
    message: Outgoing
