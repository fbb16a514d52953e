"""Three NATS servers keep three copies of everything: each fault of theirs in the middle of a job.

The job's result must be exact each time: an outcome for each datum, none twice, and the bytes that
an undisturbed run gives. Nobody is told of anything: all clients find the servers again by themselves.
"""

import asyncio
import contextlib
import hashlib
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support import gates, installation, nats_servers
from tests.support.gates import Gate
from tests.support.installation import Installation
from tests.support.nats_servers import NUMBERS, Servers

from trunkline.chaos import leaders
from trunkline.chaos.core.schedule import Target
from trunkline.contracts import api, attempts, errors, records, subjects
from trunkline.contracts.durability import Durability
from trunkline.local.home import Home

pytestmark = [pytest.mark.nats, pytest.mark.timeout(200)]

UPPER = 'sleep 0.03; for f in "$PFS"/in/*; do tr a-z A-Z <"$f" >"$PFS/out/${f##*/}"; done'
DATUMS = 600
IN = api.BranchNamed(repo="in", branch="master")


def spec(home: Path) -> dict[str, Any]:
    """Return the pipeline; of many datums one waits at the gate of its job, which is not over before it may be."""
    wait = gates.of_job(home, f"*/w{DATUMS - 1:05}")
    return {
        "pipeline": {"name": "upper"},
        "transform": {"cmd": ["/bin/sh"], "stdin": [wait, UPPER]},
        "parallelism_spec": {"constant": 4},
        "input": {"pfs": {"repo": "in", "glob": "/*"}},
    }


def words(count: int) -> dict[str, bytes]:
    return {f"/w{number:05}": f"word {number}\n".encode() for number in range(count)}


@asynccontextmanager
async def working(
    level: Durability = Durability.REPLICATED,
) -> AsyncIterator[tuple[Installation, Servers]]:
    """An installation on three servers, with four workers that wait for data."""
    settings = {"TRUNKLINE_DURABILITY": level.value}
    async with (
        installation.running(nodes=4, servers=3, settings=settings) as here,
        nats_servers.watched(here) as servers,
    ):
        await here.repo("in")
        await here.apply(spec(here.home))
        await here.workers("upper", 4)
        yield here, servers


def undisturbed(contents: Mapping[str, bytes]) -> dict[str, str]:
    """Return path -> sha256 of what comes out, worked out without Trunkline."""
    return {path: hashlib.sha256(data.upper()).hexdigest() for path, data in contents.items()}


async def exact(here: Installation, job: str, contents: Mapping[str, bytes]) -> None:
    """Let the job end, and compare it with an undisturbed run."""
    Gate(here.home / job).open()

    async def look() -> bool:
        # a request gets no answer for as long as it takes to find out that a server is silent
        with contextlib.suppress(errors.UnavailableError):
            return (await here.job("upper", job)).state.ended
        return False

    await installation.until(look, what="the job's end", within_s=120)
    ended = await here.succeeded("upper", job)
    assert ended.total == ended.counts.processed == len(contents)
    views = await here.datums("upper", job)
    assert [view.index for view in views] == list(range(len(contents)))
    assert {view.state for view in views} == {"PROCESSED"}
    assert await here.content("upper", job) == undisturbed(contents)


async def charged(here: Installation, job: str) -> list[attempts.Attempt]:
    recorded = await here.attempts("upper", job)
    return [each for each in recorded if each.cause in attempts.CHARGED]


async def test_a_job_survives_the_kill_of_the_servers_that_lead():
    contents = words(DATUMS)
    async with working() as (here, servers):
        job = await here.put("in", contents)
        await here.listed("upper", job, DATUMS // 10)
        led = await servers.leader(subjects.OUTCOMES_STREAM)
        assert await leaders.of(Home(here.home), Target.NATS) == f"nats-server-{led}"
        await servers.restart(led, signal.SIGKILL)
        await servers.restart(servers.meta_leader(), signal.SIGKILL)
        await servers.restart(await servers.leader(subjects.datums_stream("upper")), signal.SIGKILL)
        await exact(here, job, contents)
        assert await charged(here, job) == []


async def test_three_rolling_restarts_under_load_charge_nobody():
    contents: dict[str, bytes] = {}
    jobs: list[str] = []
    async with working() as (here, servers), asyncio.TaskGroup() as tasks:

        async def load() -> None:
            while True:
                more = {f"{path}-{len(jobs)}": data for path, data in words(100).items()}
                contents.update(more)
                jobs.append(await here.put("in", more))
                await here.succeeded("upper", jobs[-1], within_s=100)

        loading = tasks.create_task(load(), name="load")
        for _ in range(3):
            for number in NUMBERS:
                await servers.restart(number)
        ended = len(jobs)
        await installation.until(
            lambda: asyncio.sleep(0, len(jobs) > ended), what="a job after the last restart"
        )
        loading.cancel()
        for each in jobs[:ended]:
            job = await here.job("upper", each)
            assert job.counts.processed == 100
            assert job.total == 100 + job.counts.skipped
            assert await charged(here, each) == []
        first = dict(list(contents.items())[: 100 * ended])
        assert await here.content("upper", jobs[ended - 1]) == undisturbed(first)


async def test_a_server_that_is_cut_off_holds_up_nobody_for_good():
    contents = words(DATUMS)
    async with working() as (here, servers):
        job = await here.put("in", contents)
        await here.listed("upper", job, DATUMS // 10)
        silent = await servers.leader(subjects.datums_stream("upper"))
        servers.kill(silent, signal.SIGSTOP)
        await exact(here, job, contents)
        servers.kill(silent, signal.SIGCONT)
        await servers.whole()
        again = await here.put("in", {"/after": b"that\n"})
        await here.succeeded("upper", again)


async def test_all_servers_may_be_killed_at_once():
    contents = words(DATUMS)
    async with working() as (here, servers):
        job = await here.put("in", contents)
        await here.listed("upper", job, DATUMS // 10)
        starts = {number: servers.starts(number) for number in NUMBERS}
        for number in NUMBERS:
            servers.kill(number)
        async with asyncio.timeout(30):
            for number in NUMBERS:
                await servers.restarted(number, starts[number])
        await exact(here, job, contents)
        assert await charged(here, job) == []


async def test_one_copy_that_is_synced_outlives_each_server_in_turn():
    """Streams are spread over the servers: while one is away, what it has is, and nothing is lost."""
    contents = words(DATUMS)
    async with working(Durability.SYNCED) as (here, servers):
        job = await here.put("in", contents)
        await here.listed("upper", job, DATUMS // 10)
        for number in NUMBERS:
            await servers.restart(number, signal.SIGKILL)
        await exact(here, job, contents)
        assert await charged(here, job) == []


async def test_three_synced_copies_outlive_the_server_that_leads():
    contents = words(DATUMS)
    async with working(Durability.REPLICATED_SYNCED) as (here, servers):
        job = await here.put("in", contents)
        await here.listed("upper", job, DATUMS // 10)
        await servers.restart(await servers.leader(subjects.OUTCOMES_STREAM), signal.SIGKILL)
        await exact(here, job, contents)
        assert await charged(here, job) == []


async def test_what_lay_in_memory_is_lost_with_the_servers_and_the_next_job_is_not():
    """Whoever says it all again finds everything at work."""
    contents = words(DATUMS // 10)
    async with working(Durability.MEMORY) as (here, servers):
        lost = await here.put("in", contents)
        await here.listed("upper", lost, 1)
        starts = {number: servers.starts(number) for number in NUMBERS}
        for number in NUMBERS:
            servers.kill(number)
        for number in NUMBERS:
            await servers.restarted(number, starts[number])
        await servers.whole()
        again = await said_again(here, contents)
        await exact(here, again, contents)


async def test_what_one_server_had_in_memory_is_lost_and_each_error_says_what_helps():
    """Streams are spread over the servers. What of the others names what is lost, is told, and never waited for."""
    contents = words(DATUMS // 10)
    async with working(Durability.MEMORY) as (here, servers):
        await exact(here, await here.put("in", contents), contents)
        for number in NUMBERS:
            starts = servers.starts(number)
            servers.kill(number)
            await servers.restarted(number, starts)
            await servers.whole()
            async with asyncio.timeout(60):
                again = await said_again(here, contents)
                await here.succeeded("upper", again)
            assert await here.content("upper", again) == undisturbed(contents)


async def said_again(here: Installation, contents: Mapping[str, bytes]) -> str:
    """Make what is gone, and commit; return the commit's id."""
    while True:
        with contextlib.suppress(errors.RequestRefusedError):  # it is there
            await here.repo("in")
        try:
            await here.nodes(4)
            await here.apply(spec(here.home))
            return await here.put("in", contents)
        except errors.UnavailableError:
            await asyncio.sleep(0.1)
        except errors.RequestRefusedError as error:
            if "delete branch in@master" in str(error):
                await here.client.call("branch.delete", IN, records.Branch)
            await asyncio.sleep(0.1)  # a leader that has only just found its buckets gone
