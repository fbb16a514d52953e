"""What comes after a failed try: `err_cmd`, and a try on another worker."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.nats import TestServer
from tests.support.workers import Lab
from tests.support.workers import lab as make_lab

from trunkline.contracts.states import Cause, DatumState


@pytest.fixture
async def lab(nats_server: TestServer) -> AsyncIterator[Lab]:
    async with make_lab(nats_server) as made:
        yield made


async def test_err_cmd_finds_all_as_the_command_left_it_and_recovers_the_datum_at_once(
    lab: Lab, tmp_path: Path
) -> None:
    left = "cat $images $PFS/out/part; . $PFS/.env; echo $PACH_DATUM_ID $MINE; cat >&2"
    ticket = await lab.shell(
        f"echo x >> {tmp_path}/ran; echo part > $PFS/out/part; echo why >&2; exit 3",
        env={"MINE": "it's"},
        err_cmd=["sh", "-c", left],
        err_stdin=["a line"],
    )
    task = await lab.datum(ticket)
    await lab.worker("w1", ticket)
    outcome = await lab.outcome(task)
    assert (outcome.state, outcome.attempts) == (DatumState.RECOVERED, 1)
    assert (outcome.files, outcome.manifest) == (None, "")
    assert outcome.reason == "recovered by err_cmd: exit code 3"
    assert (outcome.exit_code, outcome.log_tail) == (3, "why")
    assert [each.cause for each in outcome.history] == [Cause.USER_EXIT]
    await lab.until_settled(ticket)
    assert (tmp_path / "ran").read_text() == "x\n"
    assert not await lab.has_ledger(task)
    printed = [(each.stream, each.text) for each in await lab.logs(task)]
    assert ("stdout", f"content 0\npart\n{task.datum} it's\n") in printed
    assert ("stderr", "a line\n") in printed
    assert printed[:2] == [("stderr", "why\n"), ("agent", "exit code 3: err_cmd runs")]


@pytest.mark.parametrize(
    ("err_cmd", "state", "reason"),
    [
        ("exit 4", DatumState.RECOVERED, "recovered by err_cmd: exit code 3"),
        ("exit 5", DatumState.FAILED, "exit code 3; err_cmd: exit code 5 (try 2 of 2), input /d0"),
    ],
)
async def test_accepted_codes_count_for_err_cmd_too_and_another_one_fails_the_try(
    lab: Lab, err_cmd: str, state: DatumState, reason: str
) -> None:
    ticket = await lab.shell(
        "exit 3", tries=2, err_cmd=["sh"], err_stdin=[err_cmd], accept_return_code=[4]
    )
    task = await lab.datum(ticket)
    await lab.worker("w1", ticket)
    outcome = await lab.outcome(task)
    assert (outcome.state, outcome.reason) == (state, reason)


async def test_err_cmd_has_the_whole_time_of_a_try_for_itself(lab: Lab) -> None:
    ticket = await lab.shell("sleep 60", timeout_s=0.6, err_cmd=["sleep", "0.3"])
    task = await lab.datum(ticket)
    await lab.worker("w1", ticket)
    outcome = await lab.outcome(task)
    assert outcome.state is DatumState.RECOVERED
    assert outcome.reason == "recovered by err_cmd: timed out after 0.6 s"
    slow = await lab.shell("exit 1", tries=1, timeout_s=0.3, err_cmd=["sleep", "60"])
    task = await lab.datum(slow)
    await lab.worker("w2", slow)
    outcome = await lab.outcome(task)
    assert outcome.reason == "exit code 1; err_cmd: timed out after 0.3 s, input /d0"


async def test_a_failed_datum_is_tried_on_another_worker_if_there_is_one(lab: Lab) -> None:
    ticket = await lab.shell("exit 1", tries=5)
    for worker in ("w1", "w2"):
        await lab.worker(worker, ticket)
        await lab.claim(worker, lambda claim: claim.pulled_ns > 0)
    outcome = await lab.outcome(await lab.datum(ticket))
    assert outcome.state is DatumState.FAILED
    workers = [each.worker for each in outcome.history]
    assert sorted(set(workers)) == ["w1", "w2"]
    assert all(one != other for one, other in itertools.pairwise(workers))


async def test_a_worker_that_is_alone_tries_exactly_as_often_as_it_may(
    lab: Lab, tmp_path: Path
) -> None:
    ticket = await lab.shell(f"echo x >> {tmp_path}/tries; exit 1", tries=5)
    await lab.worker("w1", ticket)
    outcome = await lab.outcome(await lab.datum(ticket))
    assert (outcome.state, outcome.attempts) == (DatumState.FAILED, 5)
    assert outcome.reason == "exit code 1 (try 5 of 5), input /d0"
    assert (tmp_path / "tries").read_text() == "x\n" * 5
    await lab.until_settled(ticket)
