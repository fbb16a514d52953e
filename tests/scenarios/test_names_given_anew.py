"""Workers that were given up and live on, while others have their names, in simulated time."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support.memory import TIME, LoopClock, MemoryBus
from tests.support.simulated import World
from tests.support.wards import WARDS

from trunkline.contracts import messages
from trunkline.contracts.attempts import Ledger
from trunkline.contracts.states import Cause
from trunkline.scaler.core.plan import Drain
from trunkline.scaler.drains import Drains

pytestmark = TIME


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World(nodes=1).turning() as made:
        yield made


def causes(world: World) -> list[Cause | None]:
    return [
        attempt.cause
        for subject, stored in world.bus.stored.items()
        if subject.startswith("trunkline.attempts.")
        for attempt in messages.decode(subject, stored.data, Ledger).attempts
    ]


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_worker_that_was_given_up_and_speaks_on_harms_nobody_of_its_name(
    world: World, restarted: bool
) -> None:
    """A former worker's claims made the scaler take its successor for dead, again and again.

    1. A worker is cut off with its node, and given up; another one gets its name, and its datum.
    2. Perhaps the scaler is another one by now, and knows nothing of that.
    3. The first one speaks on. It is told to drain, and the second one is charged nothing.
    """
    await world.pipeline(parallelism_spec={"constant": 1})
    async with world.scaled():
        await asyncio.sleep(1)
        work = await world.job(2, 120)
        await asyncio.sleep(1)
        (name,) = world.busy()
        first = world.give_up(name)
        await asyncio.sleep(2)
        assert world.busy() == {name}
        if not restarted:
            await asyncio.sleep(60)
    if restarted:
        async with world.scaled():
            await asyncio.sleep(60)
    async with world.scaled():
        assert world.busy() == {name}
        await asyncio.sleep(300)
    assert first.draining
    assert not world.workers[name].draining
    assert set(causes(world)) == {Cause.NODE_LOST}
    assert [number for _, number in world.created].count(name) == 2
    assert sorted(set(work.done)) == [0, 1]


async def test_a_drain_that_comes_after_its_worker_is_not_the_next_ones() -> None:
    """A model of scaling had a worker too many for ever.

    1. A drain is planned, and its worker is gone before it is asked. 2. Another one gets its name, and works.
    """
    drains = Drains(MemoryBus(), WARDS, lambda _: None, LoopClock())
    await drains.ask("p", Drain("w-0", "i1", "2 of 3 workers are wanted", "uid-1"))
    assert drains.asked_s("w-0", "uid-1") == 0
    assert drains.asked_s("w-0", "uid-2") is None
    drains.keep({("w-0", "uid-2")})
    assert not drains.unanswered
    await drains.ask("p", Drain("w-0", "i2", "1 of 3 workers are wanted", "uid-2"))
    assert drains.asked_s("w-0", "uid-2") == 0
