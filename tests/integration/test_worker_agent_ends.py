"""Workers that are stopped, killed, cut off or told to cancel: nothing is lost, nobody is charged."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.support.gates import Gate
from tests.support.nats import TestServer
from tests.support.processes import gone
from tests.support.wards import ward
from tests.support.workers import PIPELINE, Lab
from tests.support.workers import lab as make_lab

from trunkline.bus import topology
from trunkline.bus.publishing import Window
from trunkline.contracts import attempts, messages, subjects
from trunkline.contracts.messages import Claim, Drain
from trunkline.contracts.states import Cause, DatumState
from trunkline.worker_agent import service

QUICK = "test $TRUNKLINE_DATUM_INDEX -lt 10"
"""Ends the first ten datums at once: datums are fetched ahead of others once they are known to be short."""


@pytest.fixture(params=["python", pytest.param("static", marks=pytest.mark.slow)])
async def lab(nats_server: TestServer, request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with make_lab(nats_server, static=request.param == "static") as made:
        yield made


async def text_of(path: Path) -> str:
    """Return what a command has written, once there is a whole line."""
    async with asyncio.timeout(20):
        while not (path.exists() and path.read_text().endswith("\n")):
            await asyncio.sleep(0.01)
    return path.read_text()


# A claim may still hold what is on its way out: so it holds at least as many as are fetched ahead.
def running(claim: Claim) -> int | None:
    """Return the index of the datum that is executing."""
    return next((each.index for each in claim.held if each.executing), None)


async def tell_to_drain(lab: Lab, worker: str, incarnation: str = "") -> None:
    async with lab.server.connect("scaler-data") as scaler:
        drain = Drain(incarnation=incarnation, reason="test")
        await scaler.publish(subjects.control(ward(PIPELINE), worker), messages.encode(drain))
        await scaler.flush()


async def test_a_worker_that_is_told_to_stop_finishes_and_gives_back_the_rest(
    lab: Lab, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    ticket = await lab.shell(f"{QUICK} || test $TRUNKLINE_WORKER = w2 || {{ {gate.waits}; }}")
    tasks = (await lab.datums(ticket, 10 + 9))[10:]
    worker = await lab.worker("w1", ticket, prefetch=4, ahead_s=600, give_back_s=60)
    await lab.claim("w1", lambda claim: running(claim) == 10 and len(claim.held) >= 5)
    worker.kill(signal.SIGTERM)
    await lab.claim("w1", lambda claim: claim.draining and len(claim.held) == 1)
    gate.open()
    assert await worker.code() == 0
    claim = await lab.claim("w1", lambda claim: claim.closing)
    assert (claim.held, claim.draining) == ((), True)
    assert (await lab.outcome(tasks[0])).state is DatumState.PROCESSED
    assert await lab.unsettled(ticket) == 8
    await lab.worker("w2", ticket)
    assert {each.attempts for each in await lab.outcomes(tasks)} == {1}


async def test_a_hundred_leases_are_claimed_and_given_back_at_once(lab: Lab) -> None:
    ticket = await lab.shell(f"{QUICK} || sleep 60")
    await lab.datums(ticket, 10 + 400)
    await lab.worker("w1", ticket, prefetch=200, ahead_s=600, give_back_s=600)
    claim = await lab.claim("w1", lambda claim: running(claim) == 10 and len(claim.held) >= 100)
    assert sum(each.executing for each in claim.held) == 1
    await tell_to_drain(lab, "w1", claim.incarnation)
    await lab.claim("w1", lambda claim: claim.draining and len(claim.held) == 1)
    assert await lab.unsettled(ticket) == 400
    await lab.worker("w2", ticket, give_back_s=600)
    await lab.executing("w2")


async def test_what_runs_too_long_is_given_back_at_a_stop_and_charged_to_nobody(lab: Lab) -> None:
    ticket = await lab.shell("sleep 60", tries=1)
    task = await lab.datum(ticket)
    worker = await lab.worker("w1", ticket, drain_limit_s=0.3)
    await lab.executing("w1")
    worker.kill(signal.SIGTERM)
    assert await worker.code() == 0
    ledger = await lab.ledger(task)
    assert [each.cause for each in ledger.attempts] == [Cause.DRAINED]
    assert await lab.unsettled(ticket) == 1
    await lab.worker("w2", ticket)
    await lab.executing("w2")


async def test_a_stop_is_heard_before_there_is_a_server(lab: Lab) -> None:
    ticket = await lab.shell("true")
    url = "nats://nobody:nothing@127.0.0.1:1"
    worker = await lab.worker("w1", ticket, data_url=url)
    async with asyncio.timeout(10):
        while not (worker.directory / "pfs").exists():
            await asyncio.sleep(0.01)
    worker.kill(signal.SIGTERM)
    assert await worker.code() == 0


async def test_a_drained_worker_says_so_and_takes_nothing_more(lab: Lab, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    ticket = await lab.shell(gate.waits)
    tasks = await lab.datums(ticket, 2)
    worker = await lab.worker("w1", ticket, give_back_s=60)
    claim = await lab.claim("w1", lambda claim: len(claim.held) == 2)
    await tell_to_drain(lab, "w1", "of another life")
    await tell_to_drain(lab, "w1", claim.incarnation)
    await lab.claim("w1", lambda claim: claim.draining and len(claim.held) == 1)
    gate.open()
    drained = await lab.claim("w1", lambda claim: claim.draining and not claim.held)
    assert not drained.closing
    assert await lab.has_outcome(tasks[0])
    assert not await lab.has_outcome(tasks[1])
    await lab.worker("w2", ticket)
    await lab.outcomes(tasks)
    assert worker.process.poll() is None
    worker.kill(signal.SIGTERM)
    assert await worker.code() == 0


async def test_a_cancelled_job_is_killed_and_tells_nothing(lab: Lab, tmp_path: Path) -> None:
    ticket = await lab.shell(f"echo $$ > {tmp_path}/pid; sleep 60")
    other = await lab.shell("true # " + ticket.job)
    other = msgspec.structs.replace(other, code_hash=ticket.code_hash)
    lab.tickets[1] = other
    await lab.assign()
    task = await lab.datum(ticket)
    await lab.worker("w1", ticket)
    pid = int(await text_of(tmp_path / "pid"))
    await lab.withdraw(ticket)
    await gone(pid)
    await lab.until_settled(ticket)
    assert not await lab.has_outcome(task)
    assert not await lab.has_ledger(task)
    following = await lab.datum(other)
    assert (await lab.outcome(following)).state is DatumState.PROCESSED


async def test_a_restarted_datum_is_killed_and_only_its_new_generation_is_reported(
    lab: Lab, tmp_path: Path
) -> None:
    """Its ledger begins anew, and what the old generation had to say does not get into it."""
    ticket = await lab.shell(f"echo $$ > {tmp_path}/pid; test -e {tmp_path}/quick || sleep 60")
    task = await lab.datum(ticket)
    await lab.worker("w1", ticket)
    pid = int(await text_of(tmp_path / "pid"))
    (tmp_path / "quick").touch()
    lab.tickets[0] = msgspec.structs.replace(ticket, generations={"0": 2})
    await lab.assign()
    await gone(pid)
    await lab.until_settled(ticket)
    assert not await lab.has_outcome(task)
    assert not await lab.has_ledger(task)
    anew = msgspec.structs.replace(task, generation=2)
    await lab.put(anew)
    assert (await lab.outcome(anew)).state is DatumState.PROCESSED
    ledger = await lab.ledger(anew)
    assert (ledger.generation, len(ledger.attempts)) == (2, 1)
    late = msgspec.structs.replace(task, round=2)
    await lab.put(late)
    await lab.until_settled(ticket)
    assert not await lab.has_outcome(task)
    assert await lab.ledger(anew) == ledger


async def test_the_end_of_a_pipeline_ends_what_runs_for_it(lab: Lab, tmp_path: Path) -> None:
    ticket = await lab.shell(f"echo $$ > {tmp_path}/pid; sleep 60")
    await lab.datum(ticket)
    await lab.worker("w1", ticket, heartbeat_s=0.3)
    pid = int(await text_of(tmp_path / "pid"))
    await topology.delete_pipeline(lab.data, ward(PIPELINE))
    await gone(pid)


async def test_a_killed_worker_leaves_no_process_and_its_datums_to_others(
    lab: Lab, tmp_path: Path
) -> None:
    ticket = await lab.shell(
        f"setsid sleep 60 & echo $$ $! > {tmp_path}/$TRUNKLINE_WORKER; wait", ack_wait_s=1.0
    )
    await lab.datum(ticket)
    worker = await lab.worker("w1", ticket, heartbeat_s=0.3)
    pids = (await text_of(tmp_path / "w1")).split()
    await lab.executing("w1")
    shim = worker.shim
    worker.kill()
    for pid in [*map(int, pids), shim]:
        await gone(pid)
    await lab.worker("w2", ticket, heartbeat_s=0.3)
    await text_of(tmp_path / "w2")


async def test_a_worker_claims_in_an_order_that_no_clock_makes(lab: Lab) -> None:
    """The later process of a name has the higher number, also after the earlier one has come back."""
    ticket = await lab.shell("true")
    first = await lab.worker("w1", ticket, heartbeat_s=0.2, instance="a")
    before = await lab.claim("w1", lambda claim: claim.order > 0)
    assert before.instance == "a"
    await lab.server.restart()
    await lab.claim("w1", lambda c: c.order == before.order and c.connection != before.connection)
    first.kill()
    first.process.wait(10)
    await lab.worker("w1", ticket, heartbeat_s=0.2, instance="b")
    after = await lab.claim("w1", lambda claim: claim.instance == "b" and claim.order > 0)
    assert after.order > before.order


async def test_a_killed_shim_ends_the_worker_and_charges_nobody(lab: Lab, tmp_path: Path) -> None:
    ticket = await lab.shell(f"echo $$ > {tmp_path}/$TRUNKLINE_WORKER; exec sleep 60", tries=1)
    task = await lab.datum(ticket)
    worker = await lab.worker("w1", ticket)
    pid = int(await text_of(tmp_path / "w1"))
    await lab.executing("w1")
    os.kill(worker.shim, signal.SIGKILL)
    await gone(pid)
    assert await worker.code() == service.EXIT_SHIM_LOST
    ledger = await lab.ledger(task)
    assert [each.cause for each in ledger.attempts] == [Cause.CONTAINER_LOST]
    claim = await lab.claim("w1", lambda claim: claim.closing)
    assert claim.held == ()
    await lab.worker("w2", ticket)
    await text_of(tmp_path / "w2")


async def test_what_waits_unbegun_goes_to_another_worker(lab: Lab) -> None:
    ticket = await lab.shell("test $TRUNKLINE_DATUM_INDEX = 1 || sleep 60")
    tasks = await lab.datums(ticket, 2)
    await lab.worker("w1", ticket, give_back_s=0.3)
    await lab.executing("w1", 0)
    await lab.worker("w2", ticket, give_back_s=0.3)
    outcome = await lab.outcome(tasks[1])
    assert (outcome.state, outcome.worker) == (DatumState.PROCESSED, "w2")
    assert not await lab.has_ledger(tasks[0])


@pytest.mark.parametrize("crash", [True, False])
async def test_a_server_s_restart_loses_nothing_and_charges_nobody(lab: Lab, crash: bool) -> None:
    ticket = await lab.shell("sleep 0.02; cp $images $PFS/out/$TRUNKLINE_DATUM_INDEX", ack_wait_s=3)
    tasks = await lab.datums(ticket, 80)
    for name in ("w1", "w2"):
        await lab.worker(name, ticket, prefetch=3, heartbeat_s=0.5)
    await lab.outcome(tasks[10])
    if crash:
        await lab.server.restart()
    else:
        await lab.server.stop()
        await lab.server.start()
    for task, outcome in zip(tasks, await lab.outcomes(tasks), strict=True):
        assert outcome.state is DatumState.PROCESSED
        assert await lab.read(outcome) == {f"/{task.index}": b"content %d\n" % task.index}
    await lab.until_settled(ticket)


async def test_a_datum_that_runs_over_a_server_s_restart_is_reported_by_whoever_ran_it(
    lab: Lab, tmp_path: Path
) -> None:
    ticket = await lab.shell(
        f"echo begun >> {tmp_path}/runs; while ! [ -e {tmp_path}/go ]; do sleep 0.02; done"
    )
    task = await lab.datum(ticket)
    await lab.worker("w1", ticket)
    before = await lab.executing("w1")
    await text_of(tmp_path / "runs")
    await lab.server.restart()
    after = await lab.claim("w1", lambda claim: claim.at_ns > before.at_ns and bool(claim.held))
    assert after.incarnation == before.incarnation
    assert after.held[0].executing
    (tmp_path / "go").touch()
    outcome = await lab.outcome(task)
    assert outcome.incarnation == before.incarnation
    assert await text_of(tmp_path / "runs") == "begun\n"


async def test_a_result_that_comes_after_another_one_is_refused_once(
    lab: Lab, tmp_path: Path
) -> None:
    """1. w1 is stopped while its command runs; its lease ends. 2. w2 runs the datum and reports it.
    3. w1 wakes up and reports, too: refused, and that is all.
    """
    wait = f"while ! [ -e {tmp_path}/go ]; do sleep 0.02; done"
    ticket = await lab.shell(wait, ack_wait_s=1)
    task = await lab.datum(ticket)
    asleep = await lab.worker("w1", ticket, ack_wait_s=1, heartbeat_s=0.3)
    await lab.executing("w1")
    asleep.kill(signal.SIGSTOP)
    await lab.worker("w2", ticket, ack_wait_s=1, heartbeat_s=0.3)
    await lab.executing("w2")
    (tmp_path / "go").touch()
    first = await lab.outcome(task)
    assert (first.state, first.worker) == (DatumState.PROCESSED, "w2")
    asleep.kill(signal.SIGCONT)
    await lab.claim("w1", lambda claim: not claim.held)
    assert asleep.log.read_text().count("another worker's outcome was first") == 1
    assert await lab.outcome(task) == first
    await lab.until_settled(ticket)
    assert (await lab.ledger(task)).attempts[0].worker == "w2", (
        "w1 had it first, and free of record"
    )


async def test_a_worker_that_comes_back_withdraws_what_it_was_charged(
    lab: Lab, tmp_path: Path
) -> None:
    ticket = await lab.shell(f"while ! [ -e {tmp_path}/go ]; do sleep 0.02; done", tries=1)
    task = await lab.datum(ticket)
    await lab.worker("w1", ticket)
    claim = await lab.executing("w1")
    lost = attempts.Attempt(
        worker="w1",
        incarnation=claim.incarnation,
        started_ns=1,
        ended_ns=2,
        cause=Cause.WORKER_LOST,
    )
    async with lab.server.connect("scaler-data") as reaper:
        ledger = attempts.Ledger(attempts=(lost,))
        await Window(reaper).put(
            subjects.attempts(ward(PIPELINE), ticket.job, 0), messages.encode(ledger)
        )
    await lab.server.restart()
    ledger = await lab.ledger(task, lambda found: found.attempts[-1].cause is Cause.SERVER_RESTART)
    (tmp_path / "go").touch()
    assert (await lab.outcome(task)).state is DatumState.PROCESSED


async def test_a_store_that_is_away_delays_and_charges_nobody(lab: Lab) -> None:
    ticket = await lab.shell("cp $images $PFS/out/x", tries=1)
    store, away = lab.directory / "store", lab.directory / "away"
    first = await lab.datum(ticket)
    await lab.worker("w1", ticket)
    await lab.outcome(first)
    store.rename(away)
    task = msgspec.structs.replace(first, index=1, datum="f" * 32)
    await lab.put(task)
    await lab.executing("w1", 1)
    away.rename(store)
    assert (await lab.outcome(task)).state is DatumState.PROCESSED
    assert not await lab.has_ledger(task)


async def test_an_outcome_stream_that_is_full_is_not_taken_for_an_outcome(
    lab: Lab, tmp_path: Path
) -> None:
    """Both are refused by the same code; acking then would lose the datum."""

    async def limit(count: int) -> None:
        verb = f"STREAM.{{}}.{subjects.OUTCOMES_STREAM}"
        info = await lab.data.js_api(verb.format("INFO"))
        config = {**info["config"], "max_msgs": count}
        await lab.data.js_api(verb.format("UPDATE"), config)

    gate = Gate(tmp_path / "gate")
    ticket = await lab.shell(f"test $TRUNKLINE_DATUM_INDEX = 0 || {{ {gate.waits}; }}")
    first = await lab.datum(ticket, 0)
    await lab.worker("w1", ticket)
    await lab.outcome(first)
    await limit(1)
    second = await lab.datum(ticket, 1)
    await lab.executing("w1", 1)
    gate.open()
    await lab.claim("w1", lambda claim: not any(each.executing for each in claim.held))
    await asyncio.sleep(1)
    assert await lab.unsettled(ticket) == 1
    await limit(-1)
    assert (await lab.outcome(second)).state is DatumState.PROCESSED
    await lab.until_settled(ticket)
