"""Who has seen an outcome finds the lines of its command, whoever it was that sent them."""

import asyncio

import pytest
from tests.support.wards import ward

from trunkline.contracts import messages
from trunkline.contracts.messages import DatumTask, LogLine
from trunkline.runtime.clock import SystemClock
from trunkline.worker_agent.core.printed import Piece
from trunkline.worker_agent.printing import Printer

TASK = DatumTask(
    pipeline="p", job="0" * 32, index=0, datum="d" * 32, fingerprint="f" * 32, inputs=()
)


class Crowded:
    """A connection on which nothing goes out before it is let go."""

    connected = True

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.asked = asyncio.Event()
        self.sent: list[str] = []

    async def publish(self, subject: str, data: bytes) -> None:
        self.asked.set()
        await self.let_go.wait()
        self.sent.append(messages.decode(subject, data, LogLine).text)


@pytest.fixture
def connection() -> Crowded:
    return Crowded()


@pytest.fixture
def printer(connection: Crowded) -> Printer:
    return Printer(
        connection,  # type: ignore[arg-type]  # all that is needed of one
        ward("p"),
        worker="w1",
        clock=SystemClock(),
        limit_bytes=1000,
        flush_s=1000.0,
    )


async def test_a_flush_waits_for_what_another_one_is_sending(connection, printer):
    printer.add(TASK, [Piece("stdout", "1")])
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(printer.flush(), name="first")
        await connection.asked.wait()
        assert printer.waiting  # though nothing else is to be sent
        printer.add(TASK, [Piece("stdout", "2")])
        second = tasks.create_task(printer.flush(), name="second")
        await asyncio.sleep(0)
        assert not second.done()
        connection.let_go.set()
        await second
        assert connection.sent == ["1", "2"]
    assert not printer.waiting
