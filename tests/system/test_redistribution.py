"""What a dead worker held is available to others again, and who is charged for it."""

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Any

from tests.support import gates, installation
from tests.support.gates import Gate

from trunkline.cli import explaining, topping
from trunkline.cli.core.board import Board
from trunkline.contracts import api, attempts, errors, records
from trunkline.contracts.states import Cause, DatumState

COPY: dict[str, Any] = {
    "pipeline": {"name": "copy"},
    "transform": {"cmd": ["/bin/sh"], "stdin": ['cp "$PFS"/in/* "$PFS/out/"']},
    "parallelism_spec": {"constant": 2},
    "input": {"pfs": {"repo": "in", "glob": "/*"}},
}


def held(home: Path, pattern: str) -> dict[str, Any]:
    """Return the same, with a datum that waits at the gate of its job."""
    lines = [gates.of_job(home, pattern), "sleep 0.05", *COPY["transform"]["stdin"]]
    return {**COPY, "transform": {"cmd": ["/bin/sh"], "stdin": lines}}


def files(count: int) -> dict[str, bytes]:
    return {f"/f{number:03}": b"%d\n" % number for number in range(count)}


async def test_a_datum_that_always_kills_its_worker_is_quarantined_and_can_be_brought_back(
    tmp_path,
):
    """1. The command kills the worker agent above it, for one datum in the middle of a set. 2. After its tries it is
    quarantined, with each one's cause; the others of its set are done, and charged nothing. 3. It is mended, and
    restarted while the job still runs: that succeeds.
    """
    (tmp_path / "armed").touch()
    killer = (
        f'if [ -e "$PFS/in/f002" ]; then echo killing >> "{tmp_path}/runs";'
        f' if [ -e "{tmp_path}/armed" ]; then kill -9 "$TRUNKLINE_TEST_AGENT_PID"; sleep 5; fi; fi;'
        f' while [ -e "$PFS/in/f007" ] && [ -e "{tmp_path}/armed" ]; do sleep 0.1; done;'
        ' cp "$PFS"/in/* "$PFS/out/"'
    )
    # The command finds the agent as the parent of its own parent, the shim.
    find = (
        "shim=$PPID; TRUNKLINE_TEST_AGENT_PID=$(awk '{print $4}' /proc/$shim/stat);"
        " export TRUNKLINE_TEST_AGENT_PID;"
    )
    spec = {
        **COPY,
        "transform": {"cmd": ["/bin/sh"], "stdin": [find + killer]},
        "datum_tries": 3,
        "datum_set_spec": {"number": 4},
    }
    async with installation.running(nodes=2) as here:
        await here.repo("in")
        await here.apply(spec)
        job = await here.put("in", files(8))

        async def quarantined():
            with contextlib.suppress(errors.RequestRefusedError):
                views = await here.datums("copy", job)
                return [each for each in views if each.state == DatumState.QUARANTINED]

        [bad] = await installation.until(quarantined, what="a datum in quarantine", within_s=120)
        assert bad.index == 2
        assert bad.outcome is not None
        assert [each.cause for each in bad.outcome.history] == [Cause.WORKER_LOST] * 3
        assert "worker-lost" in bad.outcome.reason
        runs = (tmp_path / "runs").read_text().splitlines()
        assert len(runs) == 3, "it ran exactly as often as it has tries"
        [why] = (await explaining.explanation(here.client, f"copy@{job}", "2")).reasons
        assert why.kind == "quarantined"
        assert "its worker was lost 3 times" in why.why
        assert ", input /f002)" in why.why
        assert "`trunkline restart datum" in why.remedy
        (tmp_path / "armed").unlink()
        again = api.DatumRestart(pipeline="copy", job=job, generations={2: 2})
        await here.client.call("datum.restart", again, records.Job)
        ended = await here.succeeded("copy", job)
        assert ended.counts.processed == 8
        charged = [
            each for each in await here.attempts("copy", job) if each.cause in attempts.CHARGED
        ]
        assert charged == []


async def watched(here, seen):
    looker = topping.Looker(here.client, "copy", installation.SystemClock())
    async for board, away in topping.boards_of(looker, 0.2):
        seen.append((board, away))


async def test_a_rolling_restart_of_the_server_charges_nobody():
    """And who looks on goes on looking."""
    async with installation.running(nodes=2) as here, asyncio.TaskGroup() as tasks:
        await here.repo("in")
        await here.apply(held(here.home, "*/f039"))
        await here.workers("copy", 2)
        job = await here.put("in", files(40))
        boards: list[tuple[Board, str]] = []
        looking = tasks.create_task(watched(here, boards), name="top")
        for done in (4, 14, 24):
            await here.listed("copy", job, done)
            here.stack.kill("nats-server", signal.SIGTERM)

        async def late():
            return any(board.jobs and board.jobs[0].done > 24 for board, away in boards if not away)

        await installation.until(late, what="a board of what was done after the last restart")
        Gate(here.home / job).open()
        ended = await here.succeeded("copy", job, within_s=100)
        assert ended.counts.processed == 40

        async def fresh():
            return not boards[-1][0].jobs and not boards[-1][1]

        await installation.until(fresh, what="a board without the job")
        looking.cancel()
        recorded = await here.attempts("copy", job)
        assert [each for each in recorded if each.cause in attempts.CHARGED] == []


async def test_a_failing_datum_is_tried_again_and_the_next_job_skips_the_good_ones():
    bad = {
        **COPY,
        "transform": {
            "cmd": ["/bin/sh"],
            "stdin": [
                'grep -L bad "$PFS"/in/* | grep . || { echo broken >&2; exit 7; }; cp "$PFS"/in/* "$PFS/out/"'
            ],
        },
    }
    async with installation.running(nodes=2) as here:
        await here.repo("in")
        await here.apply(bad)
        first = await here.put("in", {**files(5), "/f002": b"bad\n"})
        ended = await here.ended("copy", first)
        assert ended.state == "FAILURE"
        assert "exit code 7" in ended.reason
        assert ended.counts.processed == 4
        assert ended.counts.failed == 1
        [failed] = [v for v in await here.datums("copy", first) if v.state == DatumState.FAILED]
        assert failed.outcome is not None
        assert failed.outcome.exit_code == 7
        assert failed.outcome.attempts == 3
        assert "broken" in failed.outcome.log_tail
        branch = installation.api.BranchNamed(repo="copy")
        head = await here.client.call("branch.get", branch, installation.records.Branch)
        assert head.head == "", "a job that failed commits nothing"
        second = await here.put("in", {"/f002": b"good\n"})
        ended = await here.succeeded("copy", second)
        assert ended.counts.skipped == 4
        assert ended.counts.processed == 1


async def test_a_worker_killed_in_mid_datum_costs_one_more_attempt_and_no_more():
    async with installation.running(nodes=2) as here:
        await here.repo("in")
        await here.apply(held(here.home, "*/f003"))
        await here.workers("copy", 2)
        job = await here.put("in", files(20))
        gate = Gate(here.home / job)
        await here.kill_worker((await gate.reached())[-1])
        gate.open()
        ended = await here.succeeded("copy", job)
        assert ended.counts.processed == 20
        recorded = await here.attempts("copy", job)
        lost = [each for each in recorded if each.cause is Cause.WORKER_LOST]
        assert len(lost) == 1


async def test_a_service_that_is_killed_while_idle_changes_nothing():
    async with installation.running(nodes=2) as here:
        await here.repo("in")
        await here.apply(COPY)
        before = await here.workers("copy", 2)
        for victim in ("coordinator", "scaler"):
            here.stack.kill(victim, signal.SIGKILL)
            job = await here.put("in", {f"/{victim}": b"1"})
            await here.succeeded("copy", job)
            after = await here.workers("copy", 2)
            assert {w.name for w in after.workers} == {w.name for w in before.workers}
            assert {w.created_ns for w in after.workers} == {w.created_ns for w in before.workers}
