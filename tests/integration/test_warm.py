"""Commands that stay up, on one worker, a real server and a real shim."""

import os
import signal
import sys
from collections.abc import AsyncIterator

import msgspec
import psutil
import pytest
from tests.support.nats import TestServer
from tests.support.processes import alive, gone
from tests.support.workers import Lab
from tests.support.workers import lab as make_lab

from trunkline.contracts.messages import JobTicket
from trunkline.contracts.states import Cause, DatumState

COPY = """
import os, sys, trunkline.worker
for datum in trunkline.worker.datums():
    with datum:
        text = open(datum.inputs["images"]).read()
        print("working on", text.strip())
        {more}
        with open(f"{{datum.out}}/copy", "w") as out:
            out.write(f"{{os.getpid()}} {{os.environ['TRUNKLINE_DATUM_INDEX']}} {{text}}")
{after}
"""


@pytest.fixture
async def lab(nats_server: TestServer) -> AsyncIterator[Lab]:
    async with make_lab(nats_server) as made:
        yield made


async def python(lab: Lab, more: str = "pass", after: str = "", **job: object) -> JobTicket:
    return await source(lab, COPY.format(more=more, after=after), **job)


async def source(lab: Lab, text: str, **job: object) -> JobTicket:
    return await lab.job(sys.executable, "-c", text, datum_batching=True, **job)  # type: ignore[arg-type]


async def copied(lab: Lab, task) -> tuple[int, int, str]:
    """Return who made a copy, as what index, and of what."""
    pid, index, text = (await lab.read(await lab.outcome(task)))["/copy"].decode().split(maxsplit=2)
    return int(pid), int(index), text


async def test_one_process_works_on_all_datums_of_a_job_and_of_the_next_one(lab: Lab) -> None:
    ticket = await python(lab)
    tasks = await lab.datums(ticket, 5)
    await lab.worker("w1", ticket)
    made = [await copied(lab, task) for task in tasks]
    assert [each[1:] for each in made] == [(index, f"content {index}\n") for index in range(5)]
    outcomes = await lab.outcomes(tasks)
    assert all(each.figures.peak_rss_bytes > 0 for each in outcomes)
    assert all(each.figures.cpu_s > 0 for each in outcomes)
    for index, task in enumerate(tasks):
        printed = [line.text for line in await lab.logs(task)]
        assert printed == [f"working on content {index}\n"]
    following = await python(lab)
    await lab.withdraw(ticket)
    made.append(await copied(lab, await lab.datum(following, 7)))
    assert len({pid for pid, _, _ in made}) == 1


async def test_an_error_in_the_body_fails_that_datum_only(lab: Lab) -> None:
    ticket = await python(lab, "assert datum.env['TRUNKLINE_DATUM_INDEX'] != '1', 'not 1'", tries=2)
    tasks = await lab.datums(ticket, 3)
    await lab.worker("w1", ticket)
    good, bad, last = await lab.outcomes(tasks)
    assert bad.state is DatumState.FAILED
    assert bad.reason.startswith("AssertionError: not 1 (try 2 of 2)")
    assert "Traceback" in bad.log_tail
    assert [each.cause for each in bad.history] == [Cause.USER_EXIT, Cause.USER_EXIT]
    assert (good.state, last.state) == (DatumState.PROCESSED, DatumState.PROCESSED)
    assert (await copied(lab, tasks[0]))[0] == (await copied(lab, tasks[2]))[0]


async def test_a_process_killed_in_the_middle_costs_its_datum_one_try(lab: Lab) -> None:
    flag = lab.directory / "killed"
    more = (
        f"if datum.env['TRUNKLINE_DATUM_INDEX'] == '1' and not os.path.exists({str(flag)!r}):\n"
        f"            open({str(flag)!r}, 'w').close(); os.kill(os.getpid(), 9)"
    )
    ticket = await python(lab, more)
    tasks = await lab.datums(ticket, 3)
    await lab.worker("w1", ticket)
    outcomes = await lab.outcomes(tasks)
    assert {each.state for each in outcomes} == {DatumState.PROCESSED}
    causes = [each.cause for each in outcomes[1].history]
    assert causes == [Cause.USER_EXIT, Cause.DONE]
    assert "SIGKILL" in outcomes[1].history[0].detail
    await lab.until_settled(ticket)


async def test_a_process_that_ends_while_it_waits_harms_no_datum(lab: Lab) -> None:
    ticket = await python(lab)
    await lab.worker("w1", ticket)
    pids = []
    for index in range(3):
        task = await lab.datum(ticket, index)
        pids.append((await copied(lab, task))[0])
        assert (await lab.outcome(task)).attempts == 1
        os.kill(pids[-1], signal.SIGKILL)
        await gone(pids[-1])
    assert len(set(pids)) == 3


async def test_code_that_does_not_ask_fails_with_the_reason_and_not_for_ever(lab: Lab) -> None:
    ticket = await lab.shell("exit 0", datum_batching=True, tries=2)
    task = await lab.datum(ticket)
    await lab.worker("w1", ticket)
    outcome = await lab.outcome(task)
    assert outcome.state is DatumState.FAILED
    assert "before it asked for a first datum" in outcome.reason
    assert outcome.attempts == 2


async def test_a_worker_that_stops_lets_its_command_end(lab: Lab) -> None:
    done = lab.directory / "done"
    ticket = await python(lab, after=f"open({str(done)!r}, 'w').close()")
    task = await lab.datum(ticket)
    worker = await lab.worker("w1", ticket)
    pid, _, _ = await copied(lab, task)
    await lab.withdraw(ticket)  # the job is over, and it waits
    worker.kill(signal.SIGTERM)
    assert await worker.code() == 0
    assert done.exists()
    assert not alive(pid)


async def test_a_killed_agent_takes_the_command_along_and_another_one_goes_on(lab: Lab) -> None:
    ticket = await python(
        lab,
        "import time; time.sleep(0 if datum.env['TRUNKLINE_WORKER'] == 'w2' else 100)",
        ack_wait_s=1.0,
    )
    task = await lab.datum(ticket)
    worker = await lab.worker("w1", ticket)
    await lab.executing("w1")
    (command,) = psutil.Process(worker.shim).children()
    worker.kill()
    await worker.code()
    await lab.worker("w2", ticket)
    assert (await copied(lab, task))[0] != command.pid
    await gone(command.pid)


async def test_a_set_is_handed_over_datum_by_datum(lab: Lab) -> None:
    ticket = await python(lab)
    tasks = await lab.set_of(ticket, 4)
    await lab.worker("w1", ticket)
    made = [await copied(lab, task) for task in tasks]
    assert [each[1] for each in made] == [0, 1, 2, 3]
    assert len({pid for pid, _, _ in made}) == 1
    await lab.until_settled(ticket)


async def test_a_restarted_datum_ends_the_process_that_works_on_it_and_runs_anew(lab: Lab) -> None:
    wait = "import time; time.sleep(0 if os.environ['TRUNKLINE_DATUM_INDEX'] == '0' or {} else 60)"
    again = lab.directory / "again"
    ticket = await python(lab, wait.format(f"os.path.exists({str(again)!r})"), tries=1)
    first, task = await lab.datums(ticket, 2)
    await lab.worker("w1", ticket)
    pid, _, _ = await copied(lab, first)
    await lab.executing("w1", 1)
    again.touch()
    lab.tickets[0] = msgspec.structs.replace(ticket, generations={"1": 2})
    await lab.assign()
    await gone(pid)
    anew = msgspec.structs.replace(task, generation=2)
    await lab.put(anew)
    assert (await copied(lab, anew))[0] != pid
    assert (await lab.outcome(anew)).attempts == 1
    assert not await lab.has_outcome(task)
    await lab.until_settled(ticket)


async def test_err_cmd_deals_with_a_failed_datum_while_the_command_waits(lab: Lab) -> None:
    body = "assert datum.env['TRUNKLINE_DATUM_INDEX'] != '1'"
    ticket = await python(lab, body, err_cmd=["sh", "-c", "exit 0"])
    tasks = await lab.datums(ticket, 3)
    await lab.worker("w1", ticket)
    states = [each.state for each in await lab.outcomes(tasks)]
    assert states == [DatumState.PROCESSED, DatumState.RECOVERED, DatumState.PROCESSED]
    assert (await copied(lab, tasks[0]))[0] == (await copied(lab, tasks[2]))[0]


async def test_err_cmd_finds_what_a_command_left_that_is_gone_and_no_other_datum_does(
    lab: Lab,
) -> None:
    """The process dies with a datum in hand; the next one is another process's."""
    more = (
        "if datum.env['TRUNKLINE_DATUM_INDEX'] == '1':\n"
        "            open(f'{datum.out}/left', 'w').close(); os.kill(os.getpid(), 9)"
    )
    look = 'test -f "$PFS/out/left" && cat "$images" && echo also > "$PFS/out/also"'
    ticket = await python(lab, more, err_cmd=["sh", "-c", look])
    tasks = await lab.datums(ticket, 3)
    await lab.worker("w1", ticket)
    outcomes = await lab.outcomes(tasks)
    states = [each.state for each in outcomes]
    assert states == [DatumState.PROCESSED, DatumState.RECOVERED, DatumState.PROCESSED]
    assert (outcomes[1].files, outcomes[1].output_files) == (None, 0)
    assert "content 1\n" in [line.text for line in await lab.logs(tasks[1])]
    assert [*await lab.read(outcomes[2])] == ["/copy"]
