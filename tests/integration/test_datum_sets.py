"""Messages that hold several datums: each has its own outcome, and only what has none runs again."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.support.nats import TestServer
from tests.support.workers import Lab
from tests.support.workers import lab as make_lab

from trunkline.contracts.messages import Claim
from trunkline.contracts.states import Cause, DatumState


@pytest.fixture(params=["python", pytest.param("static", marks=pytest.mark.slow)])
async def lab(nats_server: TestServer, request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with make_lab(nats_server, static=request.param == "static") as made:
        yield made


def runs(directory: Path) -> list[int]:
    """Return the indexes of the datums whose commands were started, in order."""
    path = directory / "runs"
    return [int(each) for each in path.read_text().split()] if path.exists() else []


def noting(directory: Path, script: str) -> str:
    return f"echo $TRUNKLINE_DATUM_INDEX >>{directory}/runs; {script}"


def executes(index: int):
    def check(claim: Claim) -> bool:
        return any(each.executing and each.index == index for each in claim.held)

    return check


async def test_each_datum_of_a_set_runs_once_in_order_and_has_its_outcome(
    lab: Lab, tmp_path: Path
) -> None:
    copy = "cp $images $PFS/out/$TRUNKLINE_DATUM_INDEX"
    ticket = await lab.shell(noting(tmp_path, copy))
    tasks = await lab.set_of(ticket, 7)
    await lab.worker("w1", ticket)
    for task, outcome in zip(tasks, await lab.outcomes(tasks), strict=True):
        assert await lab.read(outcome) == {f"/{task.index}": b"content %d\n" % task.index}
        assert (outcome.state, outcome.attempts) == (DatumState.PROCESSED, 1)
    await lab.until_settled(ticket)
    assert runs(tmp_path) == list(range(7))


async def test_of_a_set_a_restarted_datum_is_killed_and_the_others_run_once(
    lab: Lab, tmp_path: Path
) -> None:
    ticket = await lab.shell(noting(tmp_path, "test $TRUNKLINE_DATUM_INDEX -ne 1 || sleep 60"))
    tasks = await lab.set_of(ticket, 3)
    await lab.worker("w1", ticket)
    await lab.claim("w1", executes(1))
    await lab.outcome(tasks[0])
    lab.tickets[0] = msgspec.structs.replace(ticket, generations={"1": 2})
    await lab.assign()
    await lab.outcome(tasks[2])
    await lab.until_settled(ticket)
    assert runs(tmp_path) == [0, 1, 2]
    assert not await lab.has_outcome(tasks[1])


async def test_of_a_set_only_the_datum_that_failed_runs_again(lab: Lab, tmp_path: Path) -> None:
    script = noting(tmp_path, "test $TRUNKLINE_DATUM_INDEX -ne 1")
    ticket = await lab.shell(script, tries=2)
    tasks = await lab.set_of(ticket, 3)
    await lab.worker("w1", ticket)
    states = [each.state for each in await lab.outcomes(tasks)]
    assert states == [DatumState.PROCESSED, DatumState.FAILED, DatumState.PROCESSED]
    await lab.until_settled(ticket)
    assert runs(tmp_path) == [0, 1, 2, 1]


async def test_a_killed_worker_costs_a_set_what_has_no_outcome_yet(
    lab: Lab, tmp_path: Path
) -> None:
    """The one that executed is told apart by the claim, though the message is one."""
    wait = f"test $TRUNKLINE_DATUM_INDEX -ne 2 || test -e {tmp_path}/go || sleep 60"
    ticket = await lab.shell(noting(tmp_path, wait), ack_wait_s=1)
    tasks = await lab.set_of(ticket, 5)
    worker = await lab.worker("w1", ticket)
    await lab.claim("w1", executes(2))
    await lab.outcomes(tasks[:2])
    worker.kill(signal.SIGKILL)
    (tmp_path / "go").touch()
    await lab.worker("w2", ticket)
    outcomes = await lab.outcomes(tasks)
    assert [each.worker for each in outcomes] == ["w1", "w1", "w2", "w2", "w2"]
    await lab.until_settled(ticket)
    assert runs(tmp_path) == [0, 1, 2, 2, 3, 4]


async def test_a_worker_that_stops_in_a_set_finishes_one_datum_and_gives_back_the_rest(
    lab: Lab, tmp_path: Path
) -> None:
    wait = f"while test $TRUNKLINE_DATUM_INDEX -eq 1 -a ! -e {tmp_path}/go; do sleep 0.01; done"
    ticket = await lab.shell(noting(tmp_path, wait))
    tasks = await lab.set_of(ticket, 4)
    worker = await lab.worker("w1", ticket)
    await lab.claim("w1", executes(1))
    worker.kill(signal.SIGTERM)
    await lab.claim("w1", lambda claim: claim.draining)
    (tmp_path / "go").touch()
    assert await worker.code() == 0
    await lab.worker("w2", ticket)
    outcomes = await lab.outcomes(tasks)
    assert [each.worker for each in outcomes] == ["w1", "w1", "w2", "w2"]
    await lab.until_settled(ticket)
    assert runs(tmp_path) == [0, 1, 2, 3]


async def test_a_set_whose_job_is_gone_ends_where_it_is(lab: Lab, tmp_path: Path) -> None:
    wait = "test $TRUNKLINE_DATUM_INDEX -ne 1 || sleep 60"
    ticket = await lab.shell(noting(tmp_path, wait))
    tasks = await lab.set_of(ticket, 3)
    await lab.worker("w1", ticket)
    await lab.claim("w1", executes(1))
    await lab.withdraw(ticket)
    await lab.claim("w1", lambda claim: not claim.held)
    assert [await lab.has_outcome(each) for each in tasks] == [True, False, False]
    assert runs(tmp_path) == [0, 1]


async def test_a_set_is_given_back_at_the_end_of_a_drain_and_charged_to_nobody(
    lab: Lab, tmp_path: Path
) -> None:
    ticket = await lab.shell(noting(tmp_path, "sleep 60"))
    tasks = await lab.set_of(ticket, 2)
    worker = await lab.worker("w1", ticket, drain_limit_s=0.3)
    await lab.claim("w1", executes(0))
    worker.kill(signal.SIGTERM)
    assert await worker.code() == 0
    assert [each.cause for each in (await lab.ledger(tasks[0])).attempts] == [Cause.DRAINED]
    assert not await lab.has_ledger(tasks[1])
    async with asyncio.timeout(10):
        assert await lab.unsettled(ticket) == 1


async def test_a_worker_that_slept_longer_than_its_lease_leaves_the_rest_of_a_set_to_others(
    lab: Lab, tmp_path: Path
) -> None:
    """1. w1 is stopped in a set; its lease ends. 2. w2 goes on with the set. 3. w1 wakes up.

    Both finish the datum that both have begun; from then on w1 must not run beside w2.
    """
    wait = f"while test $TRUNKLINE_DATUM_INDEX -eq 1 -a ! -e {tmp_path}/go; do sleep 0.01; done"
    ticket = await lab.shell(noting(tmp_path, wait), ack_wait_s=1)
    tasks = await lab.set_of(ticket, 6)
    asleep = await lab.worker("w1", ticket, ack_wait_s=1, heartbeat_s=0.3)
    await lab.claim("w1", executes(1))
    await lab.outcome(tasks[0])
    asleep.kill(signal.SIGSTOP)
    await lab.worker("w2", ticket, ack_wait_s=1, heartbeat_s=0.3)
    await lab.claim("w2", executes(1))
    asleep.kill(signal.SIGCONT)
    (tmp_path / "go").touch()
    await lab.outcomes(tasks)
    await lab.until_settled(ticket)
    await lab.claim("w1", lambda claim: not claim.held)
    assert sorted(runs(tmp_path)) == [0, 1, 1, 2, 3, 4, 5]
