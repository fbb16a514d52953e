"""What people are told of the scaler's decisions, in simulated time."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support.memory import LoopClock, MemoryBus, MemoryTable

from trunkline.contracts import records, subjects
from trunkline.scaler.status import Status

pytestmark = pytest.mark.looptime

WRITE_S = 2.0


class SlowTable(MemoryTable[records.Scaling]):
    """A table behind a slow network."""

    async def put(self, key: str, value: records.Scaling) -> int:
        await asyncio.sleep(WRITE_S)
        return await super().put(key, value)


@pytest.fixture
async def bus() -> MemoryBus:
    return MemoryBus()


@pytest.fixture
async def table() -> SlowTable:
    return SlowTable()


@pytest.fixture
async def status(bus: MemoryBus, table: SlowTable) -> AsyncIterator[Status]:
    made = Status(table, bus, LoopClock())
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(made.write_forever(frozenset()), name="status")
        yield made
        writing.cancel()


def scaling(have: int, want: int = 2) -> records.Scaling:
    return records.Scaling(
        pipeline="p",
        cap=want,
        want=want,
        have=have,
        ready=have,
        busy=0,
        pending=0,
        in_flight=0,
        reason="as it is wanted",
    )


async def test_what_is_noted_while_the_last_is_written_is_written_next(
    status: Status, table: SlowTable
) -> None:
    """1. A first record is on its way. 2. The last worker comes; then nothing happens any more."""
    status.note(scaling(1), acts={})
    await asyncio.sleep(WRITE_S / 2)
    status.note(scaling(2), acts={})
    await asyncio.sleep(3 * WRITE_S)
    written = await table.get("p")
    assert written is not None
    assert written.value is not None
    assert written.value.have == 2


async def test_a_decision_that_changes_no_figure_is_told_at_once(
    status: Status, bus: MemoryBus
) -> None:
    status.note(scaling(2), acts={})
    await asyncio.sleep(2 * WRITE_S)
    before = bus.stored[subjects.event("p", "scaled")]
    status.note(scaling(2), acts={"create": ["p-0"]})
    await asyncio.sleep(2 * WRITE_S)
    assert bus.stored[subjects.event("p", "scaled")].sequence > before.sequence
