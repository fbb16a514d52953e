"""Datums that took their worker or its container along: what is said of them, and how they run again."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.gates import Gate
from tests.support.nats import TestServer
from tests.support.wards import ward
from tests.support.workers import PIPELINE, Lab
from tests.support.workers import lab as make_lab

from trunkline.bus.publishing import Window
from trunkline.contracts import attempts, messages, subjects
from trunkline.contracts.messages import Claim, DatumTask
from trunkline.contracts.states import Cause, DatumState

LOST = [
    attempts.Attempt(worker=by, incarnation=by, started_ns=1, ended_ns=2, cause=Cause.WORKER_LOST)
    for by in ("w8", "w9")
]


@pytest.fixture
async def lab(nats_server: TestServer) -> AsyncIterator[Lab]:
    async with make_lab(nats_server) as made:
        yield made


async def suspect(lab: Lab, task: DatumTask) -> None:
    """Enter that the datum was executing when two workers were lost."""
    subject = subjects.attempts(ward(PIPELINE), task.job, task.index)
    async with lab.server.connect("scaler-data") as reaper:
        ledger = messages.encode(attempts.Ledger(attempts=tuple(LOST)))
        await Window(reaper).put(subject, ledger)


def alone(index: int):
    def check(claim: Claim) -> bool:
        return [(each.executing, each.index) for each in claim.held] == [(True, index)]

    return check


async def test_a_suspected_datum_runs_beside_nothing_else_and_all_goes_on_after(
    lab: Lab, tmp_path: Path
) -> None:
    """Datums are fetched ahead of one that takes long; of this one they are given back."""
    gate = Gate(tmp_path / "gate")
    ticket = await lab.shell(f"test $TRUNKLINE_DATUM_INDEX -ne 0 || {{ {gate.waits}; }}")
    task = await lab.task(ticket, 0, round=2)
    await suspect(lab, task)
    await lab.put(task)
    others = [await lab.datum(ticket, index) for index in range(1, 9)]
    await lab.worker("w1", ticket, prefetch=4, ahead_s=600, give_back_s=600)
    await lab.claim("w1", alone(0))
    gate.open()
    outcome, *rest = await lab.outcomes([task, *others])
    assert [each.cause for each in outcome.history] == [Cause.WORKER_LOST] * 2 + [Cause.DONE]
    assert {each.state for each in rest} == {DatumState.PROCESSED}
    assert {each.cause for one in rest for each in one.history} <= {Cause.DONE}


async def test_of_a_set_what_comes_before_a_suspect_has_its_outcome_first(
    lab: Lab, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    ticket = await lab.shell(f"test $TRUNKLINE_DATUM_INDEX -ne 2 || {{ {gate.waits}; }}")
    tasks = [await lab.task(ticket, index, round=2) for index in range(5)]
    await suspect(lab, tasks[2])
    await lab.put(*tasks)
    await lab.worker("w1", ticket, prefetch=4, ahead_s=600)
    await lab.executing("w1", 2)
    assert [await lab.has_outcome(each) for each in tasks] == [True, True, False, False, False]
    gate.open()
    outcomes = await lab.outcomes(tasks)
    assert [len(each.history) for each in outcomes] == [1, 1, 3, 1, 1]


async def test_claims_say_what_the_end_of_a_container_has_cut_short(lab: Lab) -> None:
    ticket = await lab.shell("sleep 60", tries=2)
    task = await lab.datum(ticket)
    worker = await lab.worker("w1", ticket)
    (runs,) = (await lab.executing("w1")).held
    os.kill(worker.shim, signal.SIGKILL)
    claim = await lab.claim("w1", lambda claim: claim.closing)
    ledger = await lab.ledger(task)
    (attempt,) = ledger.attempts
    assert attempt.cause is Cause.CONTAINER_LOST
    assert attempt.claimed_ns == runs.since_ns > 0
    assert claim.cut is not None
    assert claim.cut.incarnation == claim.incarnation == attempt.incarnation
    assert claim.cut.since_ns < attempt.started_ns < claim.cut.at_ns
    (held,) = claim.cut.held
    assert (held.job, held.index, held.since_ns) == (ticket.job, 0, attempt.started_ns)
