"""Who leads is killed, or stopped for longer than its claim lives: another goes on, and the old one does no harm."""

import asyncio
import os
import signal

import pytest
from tests.support import installation
from tests.support.gates import Gate
from tests.support.installation import Installation, api
from tests.system.test_kills import spec, upper, words

DATUMS = 400
ASLEEP_S = 60.0
"""The time itself is what is tried: it ends all that a process could still have had in hand."""
SERVICES = ("coordinator", "scaler")


async def standing(here: Installation, service: str) -> api.Standing:
    status = await here.client.call("status", None, api.Status)
    (found,) = (each for each in status.services if each.service == service)
    return found


async def next_leader(here: Installation, before: api.Standing) -> api.Standing:
    """Return who leads once that is another term."""

    async def look() -> api.Standing | None:
        found = await standing(here, before.service)
        return found if found.term > before.term and found.leader else None

    return await installation.until(look, what=f"another {before.service}")


async def both(here: Installation, service: str) -> api.Standing:
    """Return who leads once the other one stands by."""

    async def look() -> api.Standing | None:
        found = await standing(here, service)
        names = {found.leader, *found.standbys}
        return found if names == {service, f"{service}-2"} and found.standbys else None

    return await installation.until(look, what=f"two of {service}")


async def exact(here: Installation, job: str, contents: dict[str, bytes]) -> None:
    """Let the job go on; say that each datum was done once, and that what came of them is right."""
    Gate(here.home / job).open()
    ended = await here.succeeded("upper", job, within_s=100)
    assert (ended.counts.processed, ended.total) == (DATUMS, DATUMS)
    views = await here.datums("upper", job)
    assert [view.index for view in views] == list(range(DATUMS))
    assert await here.content("upper", job) == upper(contents)


@pytest.mark.slow
async def test_a_leader_that_is_stopped_or_killed_is_followed_and_its_job_is_exact() -> None:
    """Each of both is stopped in mid-job, the scaler while a worker's leases are to be given back, until
    another leads; then it wakes, and stands by. After that each leader is killed.
    """
    async with installation.running(nodes=2, standbys=True) as here:
        await here.repo("words")
        await here.apply(spec(here.home))
        for service in SERVICES:
            contents = words(DATUMS, f"stop {service}")
            before = await both(here, service)
            await here.workers("upper", 2)
            job = await here.put("words", contents)
            await here.listed("upper", job, DATUMS // 10)
            victim = (await Gate(here.home / job).reached())[-1]
            here.stack.kill(before.leader, signal.SIGSTOP)
            if service == "scaler":
                await here.kill_worker(victim)
            after = await next_leader(here, before)
            assert after.leader != before.leader
            os.kill(here.stack.pids[before.leader], signal.SIGCONT)
            await exact(here, job, contents)
            now = await both(here, service)
            assert (now.leader, now.term) == (after.leader, after.term), "the old one does no harm"
        contents = words(DATUMS, "kill both")
        await here.workers("upper", 2)
        job = await here.put("words", contents)
        await here.listed("upper", job, DATUMS // 10)
        standings = [await standing(here, service) for service in SERVICES]
        victim = (await Gate(here.home / job).reached())[-1]
        for each in standings:
            here.stack.kill(each.leader, signal.SIGKILL)
        await here.kill_worker(victim)
        for each in standings:
            await next_leader(here, each)
        await exact(here, job, contents)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_leaders_that_sleep_for_a_minute_do_no_harm_when_they_wake() -> None:
    """1. Both leaders are stopped in mid-job, and a worker is killed. 2. Their standbys finish the job. 3. A minute
    later, when their connections, claims and requests are long over, they wake in the middle of another one.
    """
    async with installation.running(nodes=2, standbys=True) as here:
        await here.repo("words")
        await here.apply(spec(here.home))
        first, second = words(DATUMS, "asleep"), words(DATUMS, "awake")
        before = [await both(here, service) for service in SERVICES]
        await here.workers("upper", 2)
        job = await here.put("words", first)
        await here.listed("upper", job, DATUMS // 10)
        victim = (await Gate(here.home / job).reached())[-1]
        for each in before:
            here.stack.kill(each.leader, signal.SIGSTOP)
        await here.kill_worker(victim)
        after = [await next_leader(here, each) for each in before]
        await exact(here, job, first)
        await asyncio.sleep(ASLEEP_S)
        job = await here.put("words", second)
        await here.listed("upper", job, DATUMS // 10)
        for each in before:
            os.kill(here.stack.pids[each.leader], signal.SIGCONT)
        await exact(here, job, second)
        for each in after:
            now = await both(here, each.service)
            assert (now.leader, now.term) == (each.leader, each.term), "the old one does no harm"
