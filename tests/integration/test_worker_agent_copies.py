"""Two workers on one datum at once: the first outcome counts, and the other attempt is ended and charged to nobody."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.nats import TestServer
from tests.support.workers import Lab
from tests.support.workers import lab as make_lab

from trunkline.contracts.attempts import Attempt
from trunkline.contracts.messages import DatumTask, JobTicket
from trunkline.contracts.states import Cause, DatumState

STORY = """
read turn < $images
echo $$ > {0}/$turn.$TRUNKLINE_WORKER
echo begun >> {0}/$turn.begun
until [ -e {0}/$turn.go.$TRUNKLINE_WORKER ]; do sleep 0.01; done
[ ! -e {0}/$turn.fails.$TRUNKLINE_WORKER ] || exit 3
echo done > $PFS/out/$turn
"""
"""Ends when it is told to, by worker."""


@pytest.fixture
async def lab(nats_server: TestServer) -> AsyncIterator[Lab]:
    async with make_lab(nats_server) as made:
        yield made


class Story:
    """A job whose datums end when they are told to, and its two workers."""

    def __init__(self, lab: Lab, place: Path, ticket: JobTicket) -> None:
        self.lab, self.place, self.ticket = lab, place, ticket

    async def both(self, index: int) -> tuple[DatumTask, str, str]:
        """Have a datum executed twice; return it, who was first, and who has the copy."""
        task = await self.lab.datum(self.ticket, index, f"t{index}\n".encode())
        slow = await self.begun(index, 1)
        claim = await self.lab.executing(slow, index)
        beside = Attempt(worker=slow, incarnation=claim.incarnation, started_ns=1)
        await self.lab.datum(self.ticket, index, f"t{index}\n".encode(), beside=beside)
        await self.begun(index, 2)
        return task, slow, "w2" if slow == "w1" else "w1"

    async def begun(self, index: int, times: int) -> str:
        """Return a worker that executes a datum, once so many do."""
        file = self.place / f"t{index}.begun"
        async with asyncio.timeout(20):
            while not file.exists() or len(file.read_text().splitlines()) < times:
                await asyncio.sleep(0.01)
        return next(each for each in ("w1", "w2") if (self.place / f"t{index}.{each}").exists())

    def end(self, index: int, worker: str, *, badly: bool = False) -> None:
        if badly:
            (self.place / f"t{index}.fails.{worker}").touch()
        (self.place / f"t{index}.go.{worker}").touch()

    async def until_killed(self, index: int, worker: str) -> None:
        pid = (self.place / f"t{index}.{worker}").read_text().strip()
        async with asyncio.timeout(20):
            while Path(f"/proc/{pid}").exists():
                await asyncio.sleep(0.01)


async def test_of_two_copies_the_first_outcome_counts_and_nobody_is_charged(
    lab: Lab, tmp_path: Path
) -> None:
    """With one try for each datum: the copy is faster, the first is faster, both end at once, the copy fails."""
    ticket = await lab.shell(STORY.format(tmp_path), tries=1, speculates=True)
    story = Story(lab, tmp_path, ticket)
    for name in ("w1", "w2"):
        await lab.worker(name, ticket, heartbeat_s=0.3)

    task, slow, other = await story.both(0)
    story.end(0, other)
    outcome = await lab.outcome(task)
    assert (outcome.state, outcome.worker) == (DatumState.PROCESSED, other)
    shown = [(each.worker, each.cause, each.copy) for each in outcome.history]
    assert shown == [(slow, Cause.SUPERSEDED, False), (other, Cause.DONE, True)]
    await story.until_killed(0, slow)

    task, slow, other = await story.both(1)
    await asyncio.sleep(1.1)  # what takes less is not looked up, since nobody copies it
    story.end(1, slow)
    outcome = await lab.outcome(task)
    assert outcome.worker == slow
    shown = [(each.worker, each.cause, each.copy) for each in outcome.history]
    assert shown == [(other, Cause.SUPERSEDED, True), (slow, Cause.DONE, False)]
    await story.until_killed(1, other)

    task, slow, other = await story.both(2)
    story.end(2, slow)
    story.end(2, other)
    outcome = await lab.outcome(task)
    assert outcome.state is DatumState.PROCESSED
    assert await lab.read(outcome) == {"/t2": b"done\n"}
    await lab.until_settled(ticket)

    task, slow, other = await story.both(3)
    story.end(3, other, badly=True)
    ledger = await lab.ledger(task, lambda ledger: ledger.attempts[-1].cause is not None)
    assert [(each.cause, each.copy) for each in ledger.attempts] == [(Cause.USER_EXIT, True)]
    story.end(3, slow)
    outcome = await lab.outcome(task)
    assert (outcome.state, outcome.worker) == (DatumState.PROCESSED, slow)
    await lab.until_settled(ticket)


async def test_a_copy_of_a_datum_that_was_tried_before_or_is_done_is_left_alone(
    lab: Lab, tmp_path: Path
) -> None:
    ticket = await lab.shell(f"echo ran >> {tmp_path}/runs", tries=3, speculates=True)
    beside = Attempt(worker="w9", incarnation="gone", started_ns=1)
    done = await lab.datum(ticket, 0)
    await lab.worker("w1", ticket)
    await lab.outcome(done)
    await lab.datum(ticket, 0, beside=beside)
    await lab.until_settled(ticket)
    assert (tmp_path / "runs").read_text() == "ran\n"
    assert not await lab.has_ledger(done)
