"""What leads ends when another one does, also where a cancellation is lost on the way."""

import asyncio

import pytest

from trunkline.runtime import leading

pytestmark = pytest.mark.looptime


async def test_what_leads_ends_although_what_it_waited_for_came_with_its_cancellation() -> None:
    """1. A leader is stopped while it connects. 2. It goes on: its server's answer is there, and that another one leads.
    3. The answer takes the cancellation's place. 4. It is told once more; nobody could lead after it otherwise.
    """
    answer = asyncio.get_running_loop().create_future()

    async def lead() -> None:
        await asyncio.wait_for(answer, 60)  # noqa: TID251 - NATS' client does so
        await asyncio.Event().wait()

    async with asyncio.timeout(2 * leading.END_S), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(lead())
        await asyncio.sleep(0.1)
        answer.set_result(None)
        await leading.end(task)
    assert task.cancelled()


async def test_what_leads_has_time_to_end() -> None:
    put_away = False

    async def lead() -> None:
        nonlocal put_away
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(leading.END_S / 2)
            put_away = True

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(lead())
        await asyncio.sleep(0)
        await leading.end(task)
    assert put_away
