"""Who has seen an outcome finds the lines of its command, whoever it was that sent them."""

import asyncio
from collections.abc import Iterable

import pytest
from tests.support.wards import ward

from trunkline.bus.ports import Outgoing
from trunkline.contracts import errors
from trunkline.contracts.messages import DatumTask, JobTicket, LogLine, decode
from trunkline.contracts.spec import Transform
from trunkline.contracts.states import Cause
from trunkline.runtime.clock import SystemClock
from trunkline.worker_agent import printing
from trunkline.worker_agent.core.printed import AGENT, Piece
from trunkline.worker_agent.printing import Printer
from trunkline.worker_agent.work import Datum

TASK = DatumTask(
    pipeline="p", job="0" * 32, index=0, datum="d" * 32, fingerprint="f" * 32, inputs=()
)
TICKET = JobTicket(job=TASK.job, version=1, code_hash="c", transform=Transform(cmd=("x",)))


class Crowded:
    """A stream into which nothing goes before it is let go, or nothing ever."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.asked = asyncio.Event()
        self.away = False
        self.stored: dict[str, LogLine] = {}

    @property
    def texts(self) -> list[str]:
        return [each.text for each in self.stored.values()]

    async def put_all(self, messages: Iterable[Outgoing], *, timeout_s: float = 30.0) -> None:
        self.asked.set()
        await self.let_go.wait()
        if self.away:
            raise errors.UnavailableError("it", f"is away for {timeout_s} s")
        for each in messages:
            line = decode(each.subject, each.data, LogLine)
            self.stored.setdefault(each.msg_id, line)


@pytest.fixture
def stream() -> Crowded:
    return Crowded()


@pytest.fixture
def printer(stream: Crowded) -> Printer:
    return Printer(
        stream,
        ward("p"),
        worker="w1",
        incarnation="i1",
        clock=SystemClock(),
        limit_bytes=1000,
        flush_s=1000.0,
    )


@pytest.fixture
def datum() -> Datum:
    return Datum(TASK, TICKET, fresh=True, received_s=0.0)


async def test_a_flush_waits_for_what_another_one_is_sending(stream, printer, datum):
    printer.add(datum, [Piece("stdout", "1")])
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(printer.flush(), name="first")
        await stream.asked.wait()
        assert printer.waiting  # though nothing else is to be sent
        printer.add(datum, [Piece("stdout", "2")])
        second = tasks.create_task(printer.flush(), name="second")
        await asyncio.sleep(0)
        assert not second.done()
        stream.let_go.set()
        await second
        assert stream.texts == ["1", "2"]
    assert not printer.waiting


async def test_lines_of_others_are_not_lost_with_who_was_sending_them(stream, printer, datum):
    for number in range(3):
        printer.add(datum, [Piece("stdout", f"{number}")])
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        first = tasks.create_task(printer.flush(), name="first")
        await stream.asked.wait()
        first.cancel()
        stream.let_go.set()
    assert printer.waiting
    await printer.flush()
    assert stream.texts == ["0", "1", "2"]


async def test_what_cannot_be_stored_is_counted_and_said(stream, printer, datum):
    stream.let_go.set()
    with printer.output(datum) as output:
        output.take("stdout", "größe\n".encode())
        output.due(0.0)
        stream.away = True
        await printer.flush()
        stream.away = False
        output.take("stdout", b"more\n")
    await printer.flush()
    assert stream.texts == ["more\n", "8 bytes of output were lost: they could not be stored"]
    assert (datum.figures.printed_bytes, datum.figures.unkept_bytes) == (13, 8)
    assert printer.dropped_lines == 1


@pytest.mark.parametrize("character", ["x", "ö", "字", "🚂"])
async def test_what_is_held_for_a_server_that_is_away_is_bounded_in_bytes(
    character, stream, printer, datum
):
    piece = Piece("stdout", character * (16_384 // len(character.encode()) - 1) + "\n")
    size = len(piece.text.encode())
    for _ in range(1000):
        printer.add(datum, [piece])
    most = printing.HELD_BYTES // size
    assert printer.dropped_lines == 1000 - most
    assert datum.figures.unkept_bytes == size * (1000 - most)
    stream.let_go.set()
    await printer.flush()
    assert len(stream.texts) == most
    printer.add(datum, [piece])
    assert printer.dropped_lines == 1000 - most  # there is room again


async def test_lines_over_the_limit_and_lost_words_of_ours_are_counted_whatever_becomes_of_the_attempt(
    stream, printer, datum
):
    stream.let_go.set()
    with printer.output(datum) as output:
        output.take("stdout", b"x\n" * 1_000_000)
    await printer.flush()
    assert printer.dropped_lines == datum.figures.unkept_lines > 0
    over, stream.away = printer.dropped_lines, True
    printer.tell(datum, "exit code 3", Cause.USER_EXIT)
    await printer.flush()
    assert printer.dropped_lines == over + 1


async def test_the_end_of_an_attempt_is_said_with_its_cause(stream, printer, datum):
    stream.let_go.set()
    printer.tell(datum, "exit code 3", Cause.USER_EXIT)
    await printer.flush()
    (line,) = stream.stored.values()
    assert (line.stream, line.ends, line.attempt) == (AGENT, Cause.USER_EXIT, 1)
    assert (line.worker, line.incarnation) == ("w1", "i1")
