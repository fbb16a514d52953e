"""Everything is killed again and again while a job runs: nothing is lost, nothing twice."""

import asyncio
import contextlib
import hashlib
import os
import random
import signal

import pytest
from tests.support import installation

from trunkline.contracts import errors

DATUMS = 1500
WORK = {
    "pipeline": {"name": "upper"},
    "transform": {
        "cmd": ["/bin/sh"],
        "stdin": [
            'sleep 0.02; for f in "$PFS"/in/*; do tr a-z A-Z <"$f" >"$PFS/out/${f##*/}"; done'
        ],
    },
    "parallelism_spec": {"constant": 3},
    "input": {"pfs": {"repo": "in", "glob": "/*"}},
}
EVERY_S = {"worker": 1.5, "coordinator": 4.0, "scaler": 5.0, "nats-server": 8.0}


async def kill_every(
    here: installation.Installation, what: str, every_s: float, dice: random.Random
):
    while True:
        await asyncio.sleep(every_s * dice.uniform(0.5, 1.5))
        if what == "worker":
            with contextlib.suppress(OSError, errors.TrunklineError):
                pids = await here.pids()
                if pids:
                    os.kill(dice.choice(sorted(pids.values())), signal.SIGKILL)
        else:
            here.stack.kill(what, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_job_survives_a_storm(seed):
    contents = {f"/w{number:05}": f"word {number}\n".encode() for number in range(DATUMS)}
    async with installation.running(nodes=3) as here:
        await here.repo("in")
        # A worker's death is no fault of a datum's here, so none may be given up for it.
        await here.apply({**WORK, "datum_tries": 50})
        await here.workers("upper", 3)
        job = await here.put("in", contents)
        await here.listed("upper", job, 1)
        async with asyncio.TaskGroup() as tasks:
            killers = [
                tasks.create_task(
                    kill_every(here, what, every_s, random.Random(f"{seed}{what}")), name=what
                )
                for what, every_s in EVERY_S.items()
            ]
            ended = await here.ended("upper", job, within_s=300)
            for killer in killers:
                killer.cancel()
        assert ended.state == "SUCCESS", ended.reason
        views = await here.datums("upper", job)
        assert [view.index for view in views] == list(range(DATUMS))
        assert {view.state for view in views} == {"PROCESSED"}
        attempts = sum(view.outcome.attempts for view in views if view.outcome is not None)
        print(f"seed {seed}: {DATUMS} datums, {attempts} recorded attempts")
        assert await here.content("upper", job) == {
            path: hashlib.sha256(data.upper()).hexdigest() for path, data in contents.items()
        }
