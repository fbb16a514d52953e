"""Turns, and that none is kept which nobody takes."""

import asyncio

from trunkline.runtime.turns import Turns


async def test_those_who_want_one_thing_come_one_after_the_other_and_others_at_once() -> None:
    turns, said = Turns(), list[str]()
    may_end = asyncio.Event()

    async def work(name: str, mark: str) -> None:
        async with turns.of(name):
            said.append(f"{mark} begins")
            await may_end.wait()
            said.append(f"{mark} ends")

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        for name, mark in (("edges", "first"), ("edges", "second"), ("lines", "other")):
            tasks.create_task(work(name, mark))
        while len(said) < 2:
            await asyncio.sleep(0)
        assert said == ["first begins", "other begins"]
        may_end.set()
    assert said.index("first ends") < said.index("second begins")


async def test_a_turn_that_nobody_holds_or_waits_for_is_kept_nowhere() -> None:
    turns = Turns()
    for number in range(1000):
        async with turns.of(number):
            assert len(turns) == 1
    assert len(turns) == 0


async def test_who_waits_for_a_turn_gets_it_from_who_is_cancelled() -> None:
    turns = Turns()

    async def hold() -> None:
        async with turns.of("edges"):
            await asyncio.Event().wait()

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        holder = tasks.create_task(hold())
        await asyncio.sleep(0)
        waiting = tasks.create_task(turns.of("edges").acquire())
        await asyncio.sleep(0)
        holder.cancel()
        assert await waiting
