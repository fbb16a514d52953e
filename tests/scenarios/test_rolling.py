"""How new code and changed specs take the place of workers that are at work, in simulated time."""

import asyncio

from tests.support.memory import TIME
from tests.support.simulated import World

pytestmark = TIME

HOUR_S = 3600.0


async def test_new_code_rolls_in_as_old_jobs_finish(world: World) -> None:
    await world.pipeline(cmd="old")
    async with world.scaled():
        await asyncio.sleep(1)
        work = await world.job(4, 1000)
        await asyncio.sleep(1)
        await world.pipeline(cmd="new")
        await asyncio.sleep(1)
        codes = [worker.listed.code_hash for worker in world.workers.values()]
        assert len(set(codes)) == 2
        await asyncio.sleep(2000)
        await world.job_state(work, "SUCCESS")
        await asyncio.sleep(10)
        assert len({worker.listed.code_hash for worker in world.workers.values()}) == 1
        assert len(world.names()) == 4
    assert sorted(work.done) == [0, 1, 2, 3]
    assert world.killed_busy == []


async def test_workers_that_a_spec_would_make_otherwise_are_replaced_and_finish_what_they_do(
    world: World,
) -> None:
    """More memory, say: new ones start at once beside those that are busy still."""
    two = {"constant": 2}
    await world.pipeline(parallelism_spec=two)
    async with world.scaled():
        await asyncio.sleep(1)
        before = set(world.names())
        work = await world.job(2, 100)
        await asyncio.sleep(1)
        await world.pipeline(parallelism_spec=two, resource_limits={"memory_bytes": 2**30})
        await asyncio.sleep(2)
        assert before < set(world.names())
        assert len(world.names()) == 4
        await asyncio.sleep(200)
        assert work.done == [0, 1]
        after = set(world.names())
        assert len(after) == 2
        assert not after & before
        await world.pipeline(
            parallelism_spec={"constant": 3}, resource_limits={"memory_bytes": 2**30}
        )
        await asyncio.sleep(5)
        assert after < set(world.names())
    assert world.killed_busy == []


async def test_an_edit_that_no_node_can_hold_costs_one_of_three_workers_until_it_is_mended(
    world: World,
) -> None:
    three = {"constant": 3}
    await world.pipeline(parallelism_spec=three)
    async with world.scaled():
        await asyncio.sleep(1)
        before = set(world.names())
        world.no_room = True
        await world.pipeline(parallelism_spec=three, resource_limits={"memory_bytes": 2**50})
        await asyncio.sleep(HOUR_S)
        assert len(before & set(world.names())) == 2
        assert len(world.names()) == 3
        work = await world.job(4, 10)
        await asyncio.sleep(30)
        assert sorted(work.done) == [0, 1, 2, 3]
        world.no_room = False
        await world.pipeline(parallelism_spec=three, resource_limits={"memory_bytes": 2**30})
        await asyncio.sleep(30)
        assert len(world.names()) == 3
        assert {world.workers[name].listed.made_by for name in world.names()} == {str(2**30)}
        assert (await world.shown()).ready == 3


async def test_a_corrected_spec_does_not_wait_for_the_failures_of_the_former_one(
    world: World,
) -> None:
    await world.pipeline(parallelism_spec={"constant": 1})
    world.refuse = "no such image"
    async with world.scaled():
        await asyncio.sleep(300)
        assert (await world.shown()).problem
        world.refuse = ""
        await world.pipeline(parallelism_spec={"constant": 2})
        await asyncio.sleep(1)
        assert len(world.names()) == 2


async def test_with_one_worker_allowed_old_code_works_to_its_end_before_new_code_begins(
    world: World,
) -> None:
    one = {"constant": 1}
    await world.pipeline(cmd="old", parallelism_spec=one)
    async with world.scaled():
        await asyncio.sleep(1)
        [old] = world.names()
        before = await world.job(3, 100)
        await asyncio.sleep(1)
        await world.pipeline(cmd="new", parallelism_spec=one)
        after = await world.job(2, 100, number=2)
        await asyncio.sleep(250)
        assert world.names() == {old}
        assert (await world.shown()).want == 1
        await asyncio.sleep(100)
        assert before.done == [0, 1, 2]
        assert after.done == []
        await world.job_state(
            before, "MERGING"
        )  # it waits for nobody, but it needs no worker any more
        await asyncio.sleep(300)
        assert after.done == [0, 1]
        assert old not in world.names()
        assert len(world.names()) == 1
    assert world.killed_busy == []


async def test_a_scaler_that_is_restarted_again_and_again_rolls_new_code_in_all_the_same(
    world: World,
) -> None:
    await world.pipeline(cmd="old")
    async with world.scaled():
        await asyncio.sleep(1)
        before = await world.job(6, 100)
        await asyncio.sleep(1)
    await world.pipeline(cmd="new")
    after = await world.job(6, 100, number=2)
    for _ in range(40):
        async with world.scaled():
            await asyncio.sleep(20)
            if len(before.done) == 6:
                await world.job_state(before, "SUCCESS")
    assert sorted(before.done) == sorted(after.done) == list(range(6))
    assert len({worker.listed.code_hash for worker in world.workers.values()}) == 1
    assert len(world.names()) == 4
    assert world.killed_busy == []
