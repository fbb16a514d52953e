"""`trunkline logs` while everything that it comes through is killed, and after what it would show is gone."""

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from click.testing import CliRunner
from tests.support import installation
from tests.support.installation import Installation

from trunkline.cli.__main__ import main
from trunkline.cli.failures import Failed
from trunkline.cli.targets import Target
from trunkline.contracts import records
from trunkline.contracts.api import LogEntry

KEPT = 128 * 1024
"""Bytes of all lines: less than one datum may print."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here() -> AsyncIterator[Installation]:
    async with installation.running(
        nodes=1, settings={"TRUNKLINE_LOG_KEEP_BYTES": str(KEPT)}
    ) as made:
        yield made


def spec(name: str, script: str, **more: Any) -> dict[str, Any]:
    return {
        "pipeline": {"name": name},
        "transform": {"cmd": ["/bin/sh", "-c", script]},
        "input": {"pfs": {"repo": f"{name}-in", "glob": "/*"}},
        "parallelism_spec": {"constant": 1},
        **more,
    }


async def said(here: Installation, *words: str) -> tuple[int, str, str]:
    """Ask in this process, where it costs some hundredths of a second."""
    done = await asyncio.to_thread(CliRunner().invoke, main, [*words, "--home", str(here.home)])
    return done.exit_code, done.stdout, done.stderr


async def test_who_follows_a_pipeline_misses_and_doubles_no_line_whoever_is_killed(
    here: Installation, tmp_path: Path
) -> None:
    """Each line is printed once the one before was seen and somebody was killed; the worker's attempt begins anew."""
    script = f"for n in 1 2 3 4; do echo $n; until [ -e {tmp_path}/$n ]; do sleep 0.02; done; done"
    await here.repo("told-in")
    await here.apply(spec("told", script))
    words = ("logs", "told", "-f", "-o", "json", "--home", str(here.home))
    following = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trunkline.cli", *words), stdout=asyncio.subprocess.PIPE
    )
    assert following.stdout is not None
    entries: list[dict[str, Any]] = []

    async def line(number: int, *, attempt: int = 1) -> None:
        """Return once the attempt has printed this; several lines may come in one piece."""
        last: dict[str, Any] = {"attempt": 0}
        while last["attempt"] != attempt or not last["text"].endswith(f"{number}\n"):
            assert following.stdout is not None
            entries.append(json.loads(await following.stdout.readline()))
            last = entries[-1]["line"]

    async with asyncio.timeout(120):
        job = await here.put("told-in", {"/a": b"x"})
        for number, victim in enumerate(("coordinator", "nats-server", "scaler"), start=1):
            await line(number)
            here.stack.kill(victim, signal.SIGKILL)
            (tmp_path / str(number)).touch()
        await line(4)
        await here.kill_worker((await here.workers("told", 1)).workers[0].name)
        await line(4, attempt=2)
        (tmp_path / "4").touch()
        assert (await here.succeeded("told", job)).counts.processed == 1
        deletion = installation.api.PipelineDelete(name="told", force=True)
        await here.client.call("pipeline.delete", deletion, records.Pipeline)
        rest, _ = await following.communicate()  # with what it follows, it ends
    assert following.returncode == 0
    entries += map(json.loads, rest.decode().splitlines())
    printed = [each["line"] for each in entries if each["line"]["stream"] == "stdout"]
    text = {
        attempt: "".join(each["text"] for each in printed if each["attempt"] == attempt)
        for attempt in (1, 2)
    }
    assert text == dict.fromkeys((1, 2), "1\n2\n3\n4\n")
    sequences = [each["sequence"] for each in entries]
    assert sequences == sorted(set(sequences))


async def test_an_attempt_that_failed_is_shown_also_if_the_word_on_it_is_gone(
    here: Installation,
) -> None:
    """The log stream is full of what came later: records tell of it, and `logs` says since when there are lines."""
    script = "case $bad in *bad) echo no luck; exit 7;; esac; head -c 900000 /dev/zero | tr '\\0' x"
    await here.repo("gone-in")
    await here.apply(spec("gone", f"bad=$(ls $PFS/gone-in); {script}", datum_tries=2))
    job = await here.put("gone-in", {"/1-bad": b"x"})
    assert (await here.ended("gone", job)).counts.failed == 1
    code, out, _ = await said(here, "logs", f"gone@{job}", "--failed")
    assert code == 0
    assert out.count("no luck") == 2
    assert out.count("exit code 7") == 2
    loud = await here.put("gone-in", {"/2-good": b"x"})
    await here.ended("gone", loud)
    bounds = await here.client.call("log.bounds", None, installation.api.LogBounds)
    assert bounds.gone
    assert bounds.bytes <= KEPT

    code, _, err = await said(here, "logs", f"gone@{job}")
    assert code == 5
    assert "is not kept any more: the oldest that is kept is of 20" in err
    code, _, err = await said(here, "logs", "gone", "--since", "1h")
    assert code == 0
    assert "there may have been more: the oldest that is kept is of 20" in err
    code, _, err = await said(here, "logs", f"gone@{job}", "--since", "1h")
    assert code == 0
    assert "nothing was printed since 20" in err
    assert "as far as lines are kept: the oldest that is kept is of 20" in err
    for target in ([f"gone@{job}"], [f"gone@{job}", "0"], ["gone"], [f"gone@{job}", "-f"]):
        code, out, _ = await said(here, "logs", *target, "--failed", "-o", "json")
        found = [json.loads(each) for each in out.splitlines()]
        mine = [each["line"] for each in found if each["job"] == job]
        assert Counter(each["attempt"] for each in mine) == {1: 1, 2: 1}, target
        assert {each["ends"] for each in mine} == {"user-exit"}
        assert {each["stream"] for each in mine} == {"agent"}
    told: list[LogEntry] = []
    await Failed(here.client, Target("pipeline gone", "gone"), 0).look(told.extend, last=False)
    attempts = [each.line.attempt for each in told if each.job == job]
    assert attempts == [1, 2], (
        "who follows a pipeline, whose end never comes, is told of what was before"
    )
