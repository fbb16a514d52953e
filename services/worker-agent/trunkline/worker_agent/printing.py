"""Sends what commands print to the log stream, in pieces, without holding anybody up.

Pieces are sent when they are full, after a short time, and at the end of a command. A piece that
cannot be sent (the connection is away) is lost and counted: logs are a help, never the truth.

There are several who flush: the loop, and each datum before its outcome is published, so that whoever
sees the outcome finds the lines. They take turns, and a piece is waiting until it is sent. Else a datum
that ends while the loop is sending would find nothing to wait for, or overtake its own lines.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterator

from trunkline.bus.ports import Connection
from trunkline.contracts import errors, messages, subjects
from trunkline.contracts.messages import DatumTask, LogLine
from trunkline.contracts.wards import Ward
from trunkline.runtime.clock import Clock
from trunkline.worker_agent.core.printed import AGENT, Piece, Printed

log = logging.getLogger(__name__)


class Output:
    """What one run of a datum's command prints."""

    def __init__(self, task: DatumTask, printed: Printed, printer: "Printer") -> None:
        self.task = task
        self._printed = printed
        self._printer = printer

    def take(self, stream: str, data: bytes) -> None:
        """Take what was printed; called from the loop."""
        self._printer.add(self.task, self._printed.take(stream, data))

    def say(self, text: str) -> None:
        """Add a line of our own, after what was printed so far."""
        self._printer.add(self.task, [*self._printed.rest(), Piece(AGENT, text)])

    @property
    def tail(self) -> str:
        """The last lines."""
        return self._printed.tail

    def due(self) -> None:
        """Hand on the whole lines that are there."""
        self._printer.add(self.task, self._printed.due())

    def end(self) -> None:
        """Hand on the rest."""
        self._printer.add(self.task, self._printed.end())


class Printer:
    """The one sender of a worker's log lines."""

    def __init__(
        self,
        connection: Connection,
        ward: Ward,
        *,
        worker: str,
        clock: Clock,
        limit_bytes: int,
        flush_s: float,
    ) -> None:
        self._connection = connection
        self._ward = ward
        self._worker = worker
        self._clock = clock
        self._limit = limit_bytes
        self._flush_s = flush_s
        self._waiting: deque[tuple[DatumTask, Piece]] = deque()
        self._open: set[Output] = set()
        self._more = asyncio.Event()
        self._turn = asyncio.Lock()
        self._lost = 0

    @contextlib.contextmanager
    def output(self, task: DatumTask) -> Iterator[Output]:
        """Give what takes a command's output, until the end of the block."""
        output = Output(task, Printed(limit_bytes=self._limit), self)
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

    def add(self, task: DatumTask, pieces: list[Piece]) -> None:
        """Have pieces sent soon."""
        if pieces:
            self._waiting += [(task, each) for each in pieces]
            self._more.set()

    async def send_forever(self) -> None:
        """Send what is due, as it comes and after each `flush_s`; a quiet run wakes nobody."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._flush_s):
                    await self._more.wait()
            for each in self._open:
                each.due()
            await self.flush()

    async def flush(self) -> None:
        """Return once all that is waiting is sent, by whomever."""
        async with self._turn:
            self._more.clear()
            for _ in range(len(self._waiting)):  # what comes meanwhile has its own flush
                await self._send(*self._waiting.popleft())
            if self._lost and self._connection.connected:
                log.warning("log lines were lost", extra={"pieces": self._lost})
                self._lost = 0

    async def _send(self, task: DatumTask, piece: Piece) -> None:
        line = LogLine(
            worker=self._worker,
            datum=task.datum,
            index=task.index,
            stream=piece.stream,
            text=piece.text,
            at_ns=self._clock.wall_ns(),
        )
        subject = subjects.logs(self._ward, task.job, task.index)
        try:
            await self._connection.publish(subject, messages.encode(line))
        except errors.UnavailableError:
            self._lost += 1
