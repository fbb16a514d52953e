"""One job while things break by a seed's schedule, looked over afterwards."""

import asyncio
import contextlib
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.rows import Ran, Setup
from tests.support import installation

from trunkline.audit import evidence, verifying
from trunkline.chaos.core import schedule
from trunkline.chaos.front import Front
from trunkline.chaos.inside import Control
from trunkline.chaos.running import Runner
from trunkline.contracts import errors, records
from trunkline.contracts.states import JobState
from trunkline.local.home import Home
from trunkline.storage import manifests

WORKERS = 4
DATUMS = 12_000
"""90 s of sleep for each of four workers, 20 to 40 ms a datum; beside it, as many starts of processes."""
SHORTEST_MS, LONGEST_MS = 20, 40
WITHIN_S = 900.0
_AGAIN_S = 0.5

SPEC = {
    "pipeline": {"name": "slow"},
    "transform": {
        "cmd": ["/bin/sh"],
        "stdin": [
            'for f in "$PFS"/in/*; do read s <"$f"; sleep "$s"; cp "$f" "$PFS/out/"; done',
        ],
    },
    "parallelism_spec": {"constant": WORKERS},
    "input": {"pfs": {"repo": "in", "glob": "/*"}},
}
_REFUSED = "another worker's outcome was first"


def contents(datums: int) -> dict[str, bytes]:
    span = LONGEST_MS - SHORTEST_MS + 1
    return {
        f"/d{number:06}": b"0.%03d\n" % (SHORTEST_MS + number * 7 % span)
        for number in range(datums)
    }


async def run(
    setup: Setup,
    seed: int,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> Ran:
    """Run a job while things break, and look it over once it has ended.

    Args:
        setup: What there is, and what breaks.
        seed: Of the schedule.
        tell: Takes a line for each fault.
    """
    within = setup.failing_store or setup.what not in ("", *schedule.OUTSIDE)
    with tempfile.TemporaryDirectory() as folder:
        control = Control(Path(folder) / "control.json")
        front = Front() if within else None
        async with installation.running(
            nodes=WORKERS,
            servers=setup.servers,
            standbys=setup.standbys,
            settings=control.environment() if within else {},
            front=front.standing if front else None,
        ) as here:
            job = await _begun(here, setup.datums)
            if setup.failing_store:
                control.change(failing=schedule.FAILING)
            runner = Runner(
                Home(here.home),
                seed,
                setup.habits,
                tell,
                front=front,
                control=control if front else None,
            )
            return await _ran(here, job, runner, setup, seed)


async def _begun(here: installation.Installation, datums: int) -> str:
    await here.repo("in")
    await here.apply(SPEC)
    await here.workers("slow", WORKERS, within_s=60)
    job = await here.put("in", contents(datums))
    await here.listed("slow", job, 1)
    return job


async def end(here: installation.Installation, job: str) -> records.Job:
    """Return the job once it has ended; nobody may answer for longer than a client is patient.

    Raises:
        TimeoutError: it has not within WITHIN_S, however often nobody answered meanwhile.
    """
    async with asyncio.timeout(WITHIN_S):
        while True:
            with contextlib.suppress(errors.UnavailableError):
                return await here.ended("slow", job, within_s=WITHIN_S)
            await asyncio.sleep(_AGAIN_S)


async def _ran(
    here: installation.Installation, job: str, runner: Runner, setup: Setup, seed: int
) -> Ran:
    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        breaking = tasks.create_task(runner.run(), name="chaos")
        ended = await end(here, job)
        wall_s = time.monotonic() - began
        breaking.cancel()
    context = here.stack.context
    async with evidence.opened(context.auditor, context.auditor_data, context.store) as found:
        report = await verifying.verify(found, await found.job("slow", job))
        differing = await _differing(found, await found.job("slow", job), setup.datums)
    return Ran(
        setup=setup,
        seed=seed,
        state=str(ended.state),
        wall_s=wall_s,
        faults={f"{kind} {target}": n for (kind, target), n in sorted(runner.done.items())},
        refused=_refused(here.home),
        report=report,
        differing=differing,
        reasons=await _reasons(here, ended),
    )


async def _differing(found: evidence.Evidence, job: records.Job, datums: int) -> int | None:
    """Return at how many paths the output is not what the datums make; None if there is none.

    `verify` takes the outcomes' word for what was written, and reads each byte; this knows what it must be.
    """
    commit = await found.commit(job.pipeline, job.output) if job.output else None
    if commit is None:
        return None
    there = {
        (each.path, each.sha256) async for each in manifests.read(found.store, commit.manifest)
    }
    due = {(path, hashlib.sha256(data).hexdigest()) for path, data in contents(datums).items()}
    return len({path for path, _ in there ^ due})


async def _reasons(here: installation.Installation, job: records.Job) -> tuple[str, ...]:
    if job.state is JobState.SUCCESS:
        return ()
    found = [job.reason]
    async for view in here.client.datums(job.pipeline, job.id, states=("FAILED", "QUARANTINED")):
        if view.outcome is not None:
            tried = [
                f"{each.worker} {each.cause} {each.started_ns / 1e9:.2f} to {each.ended_ns / 1e9:.2f}"
                for each in view.outcome.history
            ]
            found.append(f"datum {view.index} {view.state}: {view.outcome.reason}; {tried}")
    return tuple(found)


def _refused(home: Path) -> int:
    count = 0
    for log in (home / "logs" / "workers").glob("*.log"):
        for line in log.read_text(errors="replace").splitlines():
            if _REFUSED in line:
                count += json.loads(line).get("message", _REFUSED) == _REFUSED
    return count
