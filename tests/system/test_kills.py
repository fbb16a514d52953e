"""Every service is killed with SIGKILL in the middle of a job: nothing is lost, nothing twice."""

import signal
from pathlib import Path
from typing import Any

from tests.support import gates, installation
from tests.support.gates import Gate

DATUMS = 400
VICTIMS = ("worker", "coordinator", "scaler", "nats-server", "pool")


def spec(home: Path) -> dict[str, Any]:
    """Return the pipeline, one of whose datums waits at the gate of its job: no job is over before it may be."""
    upper = 'for file in "$PFS"/words/*; do tr a-z A-Z <"$file" >"$PFS/out/${file##*/}"; done'
    return {
        "pipeline": {"name": "upper"},
        "transform": {"cmd": ["/bin/sh"], "stdin": [gates.of_job(home, "*/w00020"), upper]},
        "parallelism_spec": {"constant": 2},
        "input": {"pfs": {"repo": "words", "glob": "/*"}},
    }


def words(count: int, mark: str) -> dict[str, bytes]:
    return {f"/w{number:05}": f"{mark} number {number}\n".encode() for number in range(count)}


def upper(contents: dict[str, bytes]) -> dict[str, str]:
    """What the undisturbed run gives: path -> sha256, worked out without Trunkline."""
    return {
        path: installation.hashlib.sha256(data.upper()).hexdigest()
        for path, data in contents.items()
    }


async def test_jobs_survive_the_kill_of_each_service_in_turn():
    async with installation.running(nodes=2) as here:
        await here.repo("words")
        await here.apply(spec(here.home))
        for victim in VICTIMS:
            print(f"*** {victim}")  # pytest shows the last one that was killed
            contents = words(DATUMS, victim)
            await here.workers("upper", 2)
            job = await here.put("words", contents)
            held = Gate(here.home / job)
            await here.listed("upper", job, DATUMS // 5)
            worker = (await held.reached())[-1]
            if victim == "worker":
                await here.kill_worker(worker)
            else:
                here.stack.kill(victim, signal.SIGKILL)
            held.open()
            ended = await here.succeeded("upper", job, within_s=100)
            assert ended.counts.processed == DATUMS
            assert ended.total == DATUMS
            views = await here.datums("upper", job)
            assert [view.index for view in views] == list(range(DATUMS))
            assert all(view.state == "PROCESSED" for view in views)
            assert await here.content("upper", job) == upper(contents)
