"""Killing one busy worker of a job, and how long its datum then took to be with another.

The time is read from what is stored anyway: from the kill to the start of the next attempt, which
the worker that has the datum next writes into its ledger before it runs the command. Both are this
machine's wall clock. Ledgers are purged once the job has ended, so they are read while it runs.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator

import msgspec

from trunkline.cli.progress import Progress
from trunkline.client.client import Client
from trunkline.contracts import api, attempts, messages, records
from trunkline.contracts.states import Cause
from trunkline.local import pool_wire
from trunkline.local.home import Home

FOUND_S = 5.0
"""How long the scaler may take to tell that some worker is busy."""

LATER = 200
"""How many datums after the one that the worker was told to be at it may have begun by the kill."""


KILLS = 3
"""A worker may be between two datums just when it is killed; then another one has to go."""

LOOKS = 20
"""How often to look, a tenth of a second apart, before a killed worker counts as such."""

MIDWAY = 0.3
"""The share of datums that are done when the worker is killed."""


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
    given_back_s: float | None = None
    """From the kill until the reaper had given back all that the worker held."""

    def told(self) -> list[str]:
        """Return it in lines for people."""
        lines = [f"redistribution after the SIGKILL of {self.worker}:"]
        if self.given_back_s is not None:
            lines.append(f"  what it held was given back {self.given_back_s * 1e3:.0f} ms later")
        for (index, seconds), heir in zip(self.datums.items(), self.heirs, strict=True):
            lines.append(f"  datum {index} was started by {heir} {seconds * 1e3:.0f} ms later")
        return lines


class Violence:
    """Kills a worker that is in the middle of a datum, and sees what becomes of that datum.

    Args:
        client: Of the installation.
        home: Where its workers run; None: nobody is killed.
        midway: The share of datums that are done when the worker is killed.
    """

    def __init__(self, client: Client, home: Home | None, midway: float = MIDWAY) -> None:
        self.redistribution: Redistribution | None = None
        self.killed: list[Killed] = []
        self._client, self._home = client, home
        self._share, self._looks = midway, 0

    async def look(self, job: records.Job, shown: Progress) -> None:
        """Do what is due now; called again and again while the job runs."""
        if self._home is None or job.state.ended or self.redistribution is not None:
            return
        if self.killed and self._looks < LOOKS:
            self._looks += 1
            last = self.killed[-1]
            found = await measure(self._client, job, last)
            if found is not None:
                given_back_s = await reaped(self._client, job, last)
                self.redistribution = msgspec.structs.replace(found, given_back_s=given_back_s)
        elif len(self.killed) < KILLS and self._midway(job):
            self._looks = 0
            killed = await kill_busy(self._client, self._home, job)
            if killed:
                self.killed.append(killed)
                shown.tell(
                    f"*** SIGKILL to worker {killed.worker} (process {killed.pid}), which was at"
                    f" datum {killed.index}"
                )

    def _midway(self, job: records.Job) -> bool:
        return bool(job.total) and job.counts.processed >= self._share * (job.total or 0)


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
    """Return how the killed worker's datums went on; None while none is known to have."""
    datums: dict[int, float] = {}
    heirs = []
    page = api.DatumPage(
        pipeline=job.pipeline, job=job.id, after=max(killed.index - LATER, -1), limit=2 * LATER
    )
    for view in await client.call("datum.list", page, list[api.DatumView]):
        ledger = msgspec.json.decode(view.attempts, type=attempts.Ledger | None)
        for lost, heir in itertools.pairwise(ledger.attempts if ledger else ()):
            if lost.worker == killed.worker and lost.cause is Cause.WORKER_LOST:
                datums[view.index] = (heir.started_ns - killed.at_ns) / 1e9
                heirs.append(heir.worker)
    return Redistribution(killed.worker, datums, tuple(heirs)) if datums else None


async def reaped(client: Client, job: records.Job, killed: Killed) -> float | None:
    """Return the seconds from the kill to the event by which the reaper says that it is done."""
    async for event in client.every("event.list", messages.Event, key=job.pipeline):
        ours = event.kind == "reaped" and event.worker == killed.worker
        if ours and event.at_ns >= killed.at_ns:
            return (event.at_ns - killed.at_ns) / 1e9
    return None


async def _busy(client: Client, job: records.Job) -> AsyncIterator[records.WorkerView]:
    """Yield workers that are at a datum of the job, again and again until nobody asks."""
    while True:
        async for scaling in client.every("worker.list", records.Scaling, key=job.pipeline):
            for worker in scaling.workers:
                if worker.phase == "busy" and worker.job == job.id and worker.index is not None:
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
