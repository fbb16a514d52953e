"""Killing one busy worker of a job, and how long its datum then took to be with another.

The time is read from what was stored anyway: from the kill to the start of the next attempt, which
the worker that has it next writes into the datum's ledger before it runs the command. Both are this
machine's wall clock.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator

import msgspec

from trunkline.client.client import Client
from trunkline.contracts import attempts, records
from trunkline.contracts.states import Cause
from trunkline.local import pool_wire
from trunkline.local.home import Home

FOUND_S = 5.0
"""How long the scaler may take to tell that some worker is busy."""


class Killed(msgspec.Struct, frozen=True):
    """A worker that was killed."""

    worker: str
    pid: int
    index: int
    """Of the datum that it was told to be at."""
    at_ns: int


class Redistribution(msgspec.Struct, frozen=True):
    """What became of the datums that the killed worker was at."""

    worker: str
    datums: dict[int, float]
    """Index -> seconds from the kill to the next attempt's start."""
    heirs: tuple[str, ...]

    def told(self) -> list[str]:
        """Return it in lines for people."""
        lines = [f"redistribution after the SIGKILL of {self.worker}:"]
        for (index, seconds), heir in zip(self.datums.items(), self.heirs, strict=True):
            lines.append(f"  datum {index} was started by {heir} {seconds * 1e3:.0f} ms later")
        return lines


async def kill_busy(client: Client, home: Home, job: records.Job) -> Killed | None:
    """Send SIGKILL to a worker that executes a datum of the job; None if there is none in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FOUND_S):
            async for worker in _busy(client, job):
                pid = await _process(home, worker.name)
                if pid is None:
                    continue
                at_ns = time.time_ns()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    return Killed(worker.name, pid, worker.index or 0, at_ns)
    return None


async def measure(client: Client, job: records.Job, killed: Killed) -> Redistribution | None:
    """Return how the killed worker's datums went on; None if it was at none just then."""
    datums: dict[int, float] = {}
    heirs = []
    async for view in client.datums(job.pipeline, job.id):
        ledger = msgspec.json.decode(view.attempts, type=attempts.Ledger | None)
        entries = ledger.attempts if ledger else ()
        for lost, heir in itertools.pairwise(entries):
            if lost.worker == killed.worker and lost.cause is Cause.WORKER_LOST:
                datums[view.index] = (heir.started_ns - killed.at_ns) / 1e9
                heirs.append(heir.worker)
    return Redistribution(killed.worker, datums, tuple(heirs)) if datums else None


async def _busy(client: Client, job: records.Job) -> AsyncIterator[records.WorkerView]:
    """Yield workers that are at a datum of the job, again and again until nobody asks."""
    while True:
        async for scaling in client.every("worker.list", records.Scaling, key=job.pipeline):
            for worker in scaling.workers:
                if worker.phase == "busy" and worker.index is not None:
                    yield worker
        await asyncio.sleep(0.01)


async def _process(home: Home, worker: str) -> int | None:
    """Return a worker's process id: the pool knows it."""
    with pool_wire.address(home.pool_socket) as address:
        reader, writer = await asyncio.open_unix_connection(address)
    try:
        writer.write(msgspec.json.encode(pool_wire.List(id=1)) + b"\n")
        answer = msgspec.json.decode(await reader.readline(), type=pool_wire.Answer)
    finally:
        writer.close()
    return next((each.pid for each in answer.workers if each.name == worker), None)
