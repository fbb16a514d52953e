"""A worker whose commands are started by the static shim, from one end to the other: a pod's way.

All that holds for a worker (test_worker_agent.py and the others) holds for this one, too, which
`make test-slow` shows; here stands what only it does.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import psutil
import pytest
from tests.support.nats import TestServer
from tests.support.workers import Lab
from tests.support.workers import lab as make_lab

from trunkline.contracts.states import DatumState


@pytest.fixture
async def lab(nats_server: TestServer) -> AsyncIterator[Lab]:
    async with make_lab(nats_server, static=True) as made:
        yield made


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
async def test_a_command_runs_as_the_user_of_the_spec(lab: Lab) -> None:
    ticket = await lab.shell("test $(id -u):$(id -g) = 65534:0", user="nobody:0")
    other = await lab.shell("true", user="no-such-user", tries=1)
    lab.directory.chmod(0o755)
    task, doomed = await lab.datum(ticket), await lab.datum(other)
    await lab.worker("w1", ticket)
    await lab.worker("w2", other)
    assert (await lab.outcome(task)).state is DatumState.PROCESSED
    failed = await lab.outcome(doomed)
    assert (failed.state, failed.exit_code) == (DatumState.FAILED, 126)
    assert failed.reason.startswith("sh cannot be run as 'no-such-user'")


async def test_a_worker_that_is_told_to_stop_lets_its_shim_go(lab: Lab) -> None:
    ticket = await lab.shell("echo $images > $PFS/out/x")
    tasks = await lab.datums(ticket, 5)
    worker = await lab.worker("w1", ticket)
    assert [each.state for each in await lab.outcomes(tasks)] == [DatumState.PROCESSED] * 5
    shim = psutil.Process(worker.shim)
    shim.terminate()  # in a pod both containers are told, and the shim tells the agent
    assert await worker.code() == 0
    async with asyncio.timeout(10):  # the agent's last word reaches it, whoever ends first
        with contextlib.suppress(psutil.NoSuchProcess):
            while shim.status() != psutil.STATUS_ZOMBIE:
                await asyncio.sleep(0.01)
