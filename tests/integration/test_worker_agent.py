"""One worker on a real server and store: what becomes of a datum."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support import refused
from tests.support.nats import TestServer
from tests.support.wards import ward
from tests.support.workers import PIPELINE, Lab
from tests.support.workers import lab as make_lab

from trunkline.bus.publishing import Window
from trunkline.contracts import attempts, messages, subjects
from trunkline.contracts.messages import DatumInput, Span
from trunkline.contracts.states import Cause, DatumState
from trunkline.storage import manifests
from trunkline.worker_agent.core.printed import LAST_BYTES


@pytest.fixture(params=["python", pytest.param("static", marks=pytest.mark.slow)])
async def lab(nats_server: TestServer, request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with make_lab(nats_server, static=request.param == "static") as made:
        yield made


async def test_a_datum_is_fetched_run_stored_and_acked(lab: Lab) -> None:
    ticket = await lab.shell(
        "tr a-z A-Z < $images > $PFS/out/up; mkdir -p $PFS/out/a/b; echo 1 > $PFS/out/a/b/c"
    )
    task = await lab.datum(ticket, 7, b"hello\n")
    await lab.worker("w1", ticket)
    outcome = await lab.outcome(task)
    assert outcome.state is DatumState.PROCESSED
    assert await lab.read(outcome) == {"/a/b/c": b"1\n", "/up": b"HELLO\n"}
    assert (outcome.output_files, outcome.output_bytes, outcome.attempts) == (2, 8, 1)
    assert (outcome.datum, outcome.fingerprint) == (task.datum, task.fingerprint)
    assert outcome.figures.download_bytes == 6
    assert outcome.figures.upload_bytes == 8
    assert outcome.figures.process_s > 0
    assert outcome.figures.cpu_s > 0
    await lab.until_settled(ticket)
    assert not await lab.has_ledger(task)
    await lab.claim("w1", lambda claim: claim.held == () and claim.pulled_ns > 0)


async def test_pfs_is_what_the_command_sees(lab: Lab) -> None:
    script = "cd $PFS; find . > out/tree; pwd > out/pwd; touch junk; mkdir images/x"
    ticket = await lab.shell(script)
    await lab.worker("w1", ticket)
    for index in (0, 1):  # the second one finds nothing of the first
        found = await lab.read(await lab.outcome(await lab.datum(ticket, index)))
        tree = [".", "./.env", "./images", f"./images/d{index}", "./out", "./out/tree"]
        assert sorted(found["/tree"].decode().split()) == tree
        if found["/pwd"] != b"/pfs\n":
            refused.namespaces()


async def test_the_environment_names_the_datum_and_hides_the_agent(lab: Lab) -> None:
    ticket = await lab.shell("env > $PFS/out/env", env={"MINE": "1", "HOME": "/elsewhere"})
    task = await lab.datum(ticket, 3)
    await lab.worker("w1", ticket)
    text = (await lab.read(await lab.outcome(task)))["/env"].decode()
    env = dict(line.split("=", 1) for line in text.splitlines())
    pfs = env["PFS"]
    wanted = {
        "images": f"{pfs}/images/d3",
        "images_COMMIT": ticket.job,
        "PACH_JOB_ID": ticket.job,
        "PACH_DATUM_ID": task.datum,
        "PACH_OUTPUT_COMMIT_ID": ticket.job,
        "FILESET_ID": task.fingerprint,
        "PPS_PIPELINE_NAME": PIPELINE,
        "PPS_PROJECT_NAME": "default",
        "PPS_POD_NAME": "w1",
        "PPS_SPEC_COMMIT": "1",
        "PPS_WORKER_IP": "127.0.0.1",
        "TRUNKLINE_JOB_ID": ticket.job,
        "TRUNKLINE_DATUM_ID": task.datum,
        "TRUNKLINE_OUTPUT_COMMIT_ID": ticket.job,
        "TRUNKLINE_PIPELINE": PIPELINE,
        "TRUNKLINE_WORKER": "w1",
        "TRUNKLINE_DATUM_INDEX": "3",
        "MINE": "1",
        "HOME": "/elsewhere",
        "PATH": os.environ["PATH"],
    }
    assert wanted.items() <= env.items()
    left = env.keys() - wanted.keys()
    assert left <= {"PFS", "PWD", "OLDPWD", "SHLVL", "_", "LANG", "LC_CTYPE"}
    assert "nats://" not in text


async def test_stdin_and_accepted_codes(lab: Lab) -> None:
    ticket = await lab.shell("cat > $PFS/out/given", stdin=["one", "two"])
    other = await lab.job("sh", stdin=["exit 4"], accept_return_code=[4])
    task = await lab.datum(ticket)
    await lab.worker("w1", ticket)
    assert await lab.read(await lab.outcome(task)) == {"/given": b"one\ntwo\n"}
    task = await lab.datum(other)
    await lab.worker("w2", other)
    assert (await lab.outcome(task)).state is DatumState.PROCESSED


async def test_an_empty_output_is_an_output(lab: Lab) -> None:
    ticket = await lab.shell("rmdir $PFS/out")
    task = await lab.datum(ticket)
    await lab.worker("w1", ticket)
    outcome = await lab.outcome(task)
    assert (outcome.state, outcome.files) == (DatumState.PROCESSED, ())


async def test_a_datum_of_many_files_names_its_inputs_and_outputs_by_manifest(lab: Lab) -> None:
    files = [await lab.file(f"/in/{number:04}", b"%d\n" % number) for number in range(300)]
    written = await manifests.write(lab.store, files)
    given = DatumInput(
        name="images",
        path="/in",
        commit="c",
        manifest=written.manifest,
        span=Span(first=100, count=150),
    )
    ticket = await lab.shell("cp -r $images/. $PFS/out; echo $images > $PFS/out/0")
    task = await lab.datum(ticket, inputs=(given,))
    await lab.worker("w1", ticket)
    outcome = await lab.outcome(task)
    assert (outcome.files, outcome.output_files) == (None, 151)
    stored = [each async for each in manifests.read(lab.store, outcome.manifest)]
    assert [each.path for each in stored[1:]] == [f"/{n:04}" for n in range(100, 250)]


@pytest.mark.parametrize(
    "half",
    [
        30_000_000,
        pytest.param(500_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
async def test_what_is_printed_is_in_the_log_stream_and_bounded(lab: Lab, half: int) -> None:
    # the limit holds for both streams together, and which of two pipes is read first is open
    script = (
        "echo out; printf '\\342\\202' >&2; sleep 1; printf '\\254\\n\\r1%%\\r2%%\\n' >&2; sleep 1;"
        f"head -c {half} /dev/zero | tr '\\0' x; head -c {half} /dev/urandom; echo; echo last"
    )
    ticket = await lab.shell(script)
    task = await lab.datum(ticket)
    await lab.worker("w1", ticket, log_limit_bytes=100_000)
    outcome = await lab.outcome(task, timeout_s=half / 1e6)
    assert outcome.state is DatumState.PROCESSED
    lines = await lab.logs(task)
    assert "".join(each.text for each in lines if each.stream == "stderr") == "€\n\r2%\n"
    printed = "".join(each.text for each in lines if each.stream == "stdout")
    assert printed.startswith("out\nxxx")
    assert printed.endswith("\nlast\n")
    assert 90_000 < len(printed) <= 100_000 + LAST_BYTES
    said = [each.text for each in lines if each.stream == "agent"]
    figures = outcome.figures
    assert (len(said), said[1]) == (2, f"{figures.unkept_bytes} bytes of output were not kept")
    assert 2 * half - 200_000 < figures.unkept_bytes < figures.printed_bytes == 2 * half + 21
    assert max(len(each.text) for each in lines) <= 16 * 1024
    assert {(each.worker, each.datum) for each in lines} == {("w1", task.datum)}
    assert {(each.attempt, each.incarnation) for each in lines} == {(1, outcome.incarnation)}


async def test_lines_are_sent_while_the_command_runs(lab: Lab) -> None:
    ticket = await lab.shell("echo begun; sleep 60")
    task = await lab.datum(ticket)
    await lab.worker("w1", ticket, log_flush_s=0.05)
    async with asyncio.timeout(15):
        while not await lab.logs(task):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("cmd", "more", "reason", "code", "cause"),
    [
        (("sh", "-c", "echo why >&2; exit 3"), {}, "exit code 3", 3, Cause.USER_EXIT),
        (("no-such",), {}, "command not found: no-such", 127, Cause.USER_EXIT),
        (("sh", "-c", "kill -9 $$"), {}, "killed by signal 9 (SIGKILL)", -9, Cause.USER_EXIT),
        (("sleep", "60"), {"timeout_s": 0.2}, "timed out after 0.2 s", None, Cause.USER_TIMEOUT),
        (
            ("sh", "-c", "ln -s /etc $PFS/out/p"),
            {},
            "its output '/p' cannot be stored",
            0,
            Cause.USER_EXIT,
        ),
    ],
)
async def test_a_datum_that_fails_is_tried_again_and_then_failed(
    lab: Lab, cmd: tuple[str, ...], more: dict[str, Any], reason: str, code: int, cause: Cause
) -> None:
    ticket = await lab.job(*cmd, tries=2, **more)
    task = await lab.datum(ticket)
    await lab.worker("w1", ticket)
    outcome = await lab.outcome(task)
    assert outcome.state is DatumState.FAILED
    assert outcome.reason.startswith(reason)
    assert outcome.reason.endswith("(try 2 of 2), input /d0")
    assert (outcome.exit_code, outcome.attempts) == (code, 2)
    ledger = await lab.ledger(task)
    assert [each.cause for each in ledger.attempts] == [cause, cause]
    assert all(each.ended_ns for each in ledger.attempts)
    await lab.until_settled(ticket)
    if code == 3:
        assert outcome.log_tail == "why"


async def test_links_elsewhere_are_stored_before_another_datum_can_change_what_they_lead_to(
    lab: Lab, tmp_path: Path
) -> None:
    """All datums write the same files, a small one and a large one, and link to them."""
    script = f"""
        cat $images $images > {tmp_path}/small && ln -s {tmp_path}/small $PFS/out/small
        head -c 300000 /dev/zero | tr '\\0' $TRUNKLINE_DATUM_INDEX > {tmp_path}/large
        mkdir $PFS/out/deep && ln -s {tmp_path}/large $PFS/out/deep/large
        ln -s $images $PFS/out/own
    """
    ticket = await lab.shell(script)
    tasks = await lab.datums(ticket, 5)
    await lab.worker("w1", ticket)
    for index, outcome in enumerate(await lab.outcomes(tasks)):
        content = b"content %d\n" % index
        assert await lab.read(outcome) == {
            "/deep/large": b"%d" % index * 300_000,
            "/own": content,
            "/small": content * 2,
        }
    await lab.until_settled(ticket)


async def test_a_link_elsewhere_that_leads_back_never_finds_the_files_of_another_datum(
    lab: Lab, tmp_path: Path
) -> None:
    (tmp_path / "back").symlink_to("/pfs/images")
    ticket = await lab.shell(f"ln -s {tmp_path}/back/d1 $PFS/out/x", tries=1)
    tasks = await lab.datums(ticket, 3)
    await lab.worker("w1", ticket)
    for outcome in await lab.outcomes(tasks):
        assert outcome.state is DatumState.FAILED
        assert "which cannot be opened" in outcome.reason


async def test_a_second_try_may_succeed(lab: Lab, tmp_path: Path) -> None:
    ticket = await lab.shell(f"mkdir {tmp_path}/been && exit 1; echo > $PFS/out/x")
    task = await lab.datum(ticket)
    await lab.worker("w1", ticket)
    outcome = await lab.outcome(task)
    assert (outcome.state, outcome.attempts) == (DatumState.PROCESSED, 2)


async def test_a_second_outcome_is_not_made_and_the_message_is_acked(lab: Lab) -> None:
    ticket = await lab.shell("echo $$ > $PFS/out/x")
    task = await lab.datum(ticket)
    await lab.worker("w1", ticket)
    first = await lab.outcome(task)
    await lab.put(msgspec.structs.replace(task, round=2))  # as if the ack had been lost
    await lab.until_settled(ticket)
    assert await lab.outcome(task) == first


async def test_a_datum_out_of_tries_gets_its_outcome_without_being_run(
    lab: Lab, tmp_path: Path
) -> None:
    ticket = await lab.shell(f"touch {tmp_path}/ran", tries=2)
    task = await lab.datum(ticket, round=2)
    lost = [
        attempts.Attempt(
            worker=name, incarnation=name, started_ns=1, ended_ns=2, cause=Cause.WORKER_LOST
        )
        for name in ("w0", "w9")
    ]
    ledger = attempts.waited(attempts.Ledger(attempts=tuple(lost)))
    subject = subjects.attempts(ward(PIPELINE), ticket.job, 0)
    async with lab.server.connect("scaler-data") as reaper:
        await Window(reaper).put(subject, messages.encode(ledger))
    await lab.worker("w1", ticket)
    outcome = await lab.outcome(task)
    assert outcome.state is DatumState.QUARANTINED
    assert "worker-lost on w0, worker-lost on w9" in outcome.reason
    assert not (tmp_path / "ran").exists()


async def test_a_message_that_is_no_datum_is_taken_off_and_the_next_one_runs(lab: Lab) -> None:
    ticket = await lab.shell("true")
    await lab.publisher.put(subjects.datums(ward(PIPELINE), ticket.job), b'{"type":"other"}')
    task = await lab.datum(ticket)
    await lab.worker("w1", ticket)
    assert (await lab.outcome(task)).state is DatumState.PROCESSED
    await lab.until_settled(ticket)


async def test_inputs_that_are_lost_quarantine_nobody_at_once_and_charge_nobody(lab: Lab) -> None:
    ticket = await lab.shell("true", tries=1)
    task = await lab.datum(ticket, 0)
    assert task.inputs[0].files
    gone = msgspec.structs.replace(task.inputs[0].files[0], object="0" * 64, sha256="0" * 64)
    given = msgspec.structs.replace(task.inputs[0], files=(gone,))
    other = await lab.datum(ticket, 1, inputs=(given,))
    await lab.worker("w1", ticket)
    assert (await lab.outcome(task)).state is DatumState.PROCESSED
    causes = [Cause.STORE_ERROR] * 2
    await lab.ledger(other, lambda found: [each.cause for each in found.attempts[:2]] == causes)
    assert not await lab.has_outcome(other)


async def test_many_short_datums_run_one_after_the_other(lab: Lab) -> None:
    ticket = await lab.shell("cp $images $PFS/out/$TRUNKLINE_DATUM_INDEX")
    tasks = await lab.datums(ticket, 60)
    await lab.worker("w1", ticket, prefetch=7)
    outcomes = await lab.outcomes(tasks)
    for task, outcome in zip(tasks, outcomes, strict=True):
        content = f"content {task.index}\n".encode()
        assert await lab.read(outcome) == {f"/{task.index}": content}
    await lab.until_settled(ticket)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
async def test_an_ordinary_user_s_worker_does_the_same(lab: Lab) -> None:
    script = """
        id -u > $PFS/out/user; pwd -P > $PFS/out/work; mkdir $PFS/out/shut
        echo 1 > $PFS/out/shut/file; chmod 0 $PFS/out/shut/file $PFS/out/shut $PFS/images $PFS/out
    """
    ticket = await lab.shell(script)
    tasks = await lab.datums(ticket, 3)
    worker = await lab.worker("w1", ticket, run_as=65534)
    for task in tasks:
        found = await lab.read(await lab.outcome(task))
        assert found["/user"] == b"65534\n"
        assert found["/shut/file"] == b"1\n"
    worker.kill(signal.SIGTERM)
    assert await worker.code() == 0
    assert not list(worker.directory.glob("scratch/*"))
