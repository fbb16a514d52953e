"""How long what a lost worker held is in nobody's hands: `python -m bench.redistribution [--rounds N]`.

*Killed*: a real worker agent holds so many leases or some more, one of them executing (all by itself: its prefetch is
raised; in brackets is how many it has held on average). Leases last ten minutes, so only the reaper can be what gives them back. It is killed by
SIGKILL. Timed is each lease, from the signal to its delivery to another worker, which has asked for it before; so p50
and p99 are over leases, of all rounds. The reaper is the scaler's own, in this process, beside that other worker.

*Silent* and *reaper killed*: a whole installation with standbys and two workers, of which one executes a datum. That
is stopped by SIGSTOP; or killed at the same moment as the leading scaler, whose successor has to find it. Timed is
from the signal until the command runs on the other worker.
"""

import argparse
import asyncio
import functools
import math
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import installation
from tests.support.installation import Installation
from tests.support.nats import TestServer
from tests.support.wards import WARDS
from tests.support.workers import PIPELINE, Lab, lab

from bench import machine
from trunkline.bus import backlog, topology
from trunkline.bus.ports import Delivery
from trunkline.bus.publishing import Window
from trunkline.bus.pulls import StandingPull
from trunkline.contracts import api, records, subjects
from trunkline.runtime.clock import SystemClock
from trunkline.scaler.reaper import Reaper
from trunkline.scaler.telling import Telling

LEASES = {1: 20, 8: 10, 100: 5, 1000: 3}
"""Leases -> rounds."""
WARM = 10
"""Datums that are quick, by which the agent comes to fetch ahead."""
LOSSES = 5
"""Rounds of what takes some ten seconds each."""
EXTRA = 3
"""So many times the leases that are asked for are there to be taken: an agent leaves some to others."""
STILL_S = 0.5
LEASE_S = 600.0
TARGET_S = 0.1
SILENT_S = 17.0

HELD = "test $TRUNKLINE_DATUM_INDEX -lt 10 || exec sleep 600"
BEGUN = 'echo "$PACH_JOB_ID" "$(date +%s.%N)" "$TRUNKLINE_WORKER" >> "{}"; exec sleep 600'


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    took_s: Sequence[float]
    rounds: int
    target: str

    def __str__(self) -> str:
        took = sorted(self.took_s)
        p50, p99 = (took[math.ceil(share * len(took)) - 1] * 1e3 for share in (0.5, 0.99))
        return f"| {self.what} | {self.rounds} | {p50:,.0f} ms | {p99:,.0f} ms | {self.target} |"


class Taker:
    """Another worker: when it got which message."""

    def __init__(self) -> None:
        self.at_s: dict[int, float] = {}
        self._more = asyncio.Event()

    def take(self, delivery: Delivery) -> None:
        """Note it."""
        self.at_s[delivery.sequence] = time.monotonic()
        self._more.set()

    async def counts(self, wanted: int) -> None:
        """Return once it has so many."""
        while len(self.at_s) < wanted:
            self._more.clear()
            await self._more.wait()

    async def has(self, wanted: set[int]) -> None:
        """Return once it has all of these."""
        while not wanted <= self.at_s.keys():
            self._more.clear()
            await self._more.wait()


@asynccontextmanager
async def reaping(server: TestServer) -> AsyncIterator[Reaper]:
    """Run the scaler's reaper, and nothing else of it."""
    async with (
        server.connect("scaler-data") as connection,
        server.connect("scaler") as ctl,
        asyncio.TaskGroup() as tasks,
    ):
        reaper = Reaper(
            connection,
            Window(connection),
            Telling(Window(ctl)),
            WARDS,
            clock=SystemClock(),
            deliveries=functools.partial(backlog.deliveries, connection),
            live=lambda *_: True,
            wake=lambda: None,
        )
        running = tasks.create_task(reaper.run())
        await reaper.loaded()
        yield reaper
        running.cancel()


async def settled(reaper: Reaper, name: str, count: int) -> set[int]:
    """Return what an agent holds, once it is this much at least, and does not change any more."""
    before: set[int] = set()
    while True:
        claim = reaper.claim((PIPELINE, name))
        held = claim.held if claim is not None else ()
        now = {each.sequence for each in held}
        if len(now) >= count and now == before and all(each.index >= WARM for each in held):
            return now
        before = now
        await asyncio.sleep(STILL_S)


async def killed_s(field: Lab, reaper: Reaper, count: int, number: int) -> list[float]:
    """Kill an agent that holds `count` leases; return how long each was in nobody's hands."""
    name = f"w-{count}-{number}"
    ticket = await field.shell(HELD, ack_wait_s=LEASE_S)
    await field.datums(ticket, WARM + EXTRA * count)
    agent = await field.worker(
        name, ticket, prefetch=EXTRA * (count - 1), ahead_s=600, give_back_s=600, ack_wait_s=LEASE_S
    )

    held = await settled(reaper, name, count)
    taker = Taker()
    async with field.server.connect_worker(PIPELINE, "taker") as connection:
        stream = subjects.datums_stream(PIPELINE)
        pull = StandingPull(connection, stream, ticket.job, taker.take)
        pull.start()
        pull.want(2 * EXTRA * count)
        await taker.counts(
            EXTRA * count - len(held)
        )  # the rest, so that only what the agent holds is left
        began_s = time.monotonic()
        agent.kill()
        await taker.has(held)
        await pull.stop()
    await field.withdraw(ticket)
    await topology.delete_job_consumer(field.data, PIPELINE, ticket.job)
    return [taker.at_s[each] - began_s for each in held]


async def kills(leases: dict[int, int]) -> list[Row]:
    """Return the rows of killed agents."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="tl-") as folder:
        server = TestServer(Path(folder))
        await server.start()
        try:
            async with lab(server) as field, reaping(server) as reaper:
                for count, rounds in leases.items():
                    took: list[float] = []
                    for number in range(rounds):
                        took += await killed_s(field, reaper, count, number)
                    what = f"agent killed, {count:,} leases or more ({len(took) / rounds:,.0f})"
                    rows.append(Row(what, took, rounds, f"p50 < {TARGET_S * 1e3:.0f} ms"))
                    print(rows[-1], flush=True)
        finally:
            await server.stop()
    return rows


async def begins(path: Path, job: str, count: int) -> tuple[float, str]:
    """Return when a job's command was begun for the `count`-th time, by its wall clock, and on which worker."""

    async def look() -> tuple[float, str] | None:
        lines = path.read_text().splitlines() if path.exists() else []
        begun = [line.split()[1:] for line in lines if line.startswith(f"{job} ")]
        return (float(begun[count - 1][0]), begun[count - 1][1]) if len(begun) >= count else None

    return await installation.until(look, what=f"begin {count}", within_s=90)


async def lost_s(here: Installation, begun: Path, number: int, *, silent: bool) -> float:
    """Stop the worker that executes, or kill it with the leading scaler; return how long until it is executed again."""
    await here.workers("hold", 2, within_s=90)
    job = await here.put("in", {"/one": f"{number} {silent}".encode()})
    _, busy = await begins(begun, job, 1)
    pid = (await here.pids())[busy]
    status = await here.client.call("status", None, api.Status)
    leader = next(each.leader for each in status.services if each.service == "scaler")
    began_s = time.time_ns() / 1e9
    if silent:
        os.kill(pid, signal.SIGSTOP)
    else:
        here.stack.kill(leader, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
    took_s = (await begins(begun, job, 2))[0] - began_s
    if silent:
        os.kill(pid, signal.SIGCONT)
    await here.client.call("job.stop", api.JobNamed(pipeline="hold", id=job), records.Job)
    await here.ended("hold", job)
    return took_s


async def losses(rounds: int) -> list[Row]:
    """Return the rows of silent workers, and of those killed together with the reaper."""
    async with installation.running(nodes=2, standbys=True) as here:
        begun = here.home / "begun"
        transform = {"cmd": ["/bin/sh"], "stdin": [BEGUN.format(begun)]}
        await here.repo("in")
        await here.apply(
            {
                "pipeline": {"name": "hold"},
                "transform": transform,
                "parallelism_spec": {"constant": 2},
                "input": {"pfs": {"repo": "in", "glob": "/*"}},
            }
        )
        silent = [await lost_s(here, begun, each, silent=True) for each in range(rounds)]
        killed = [await lost_s(here, begun, each, silent=False) for each in range(rounds)]
    return [
        Row("worker stopped (SIGSTOP), 1 lease", silent, rounds, f"<= {SILENT_S:.0f} s"),
        Row("worker and leading scaler killed, 1 lease", killed, rounds, "some seconds"),
    ]


async def measure(rounds: int | None) -> None:
    """Print the table."""
    leases = {count: rounds or own for count, own in LEASES.items()}
    rows = [*await kills(leases), *await losses(rounds or LOSSES)]
    print(
        f"load {machine.load():.1f} on {os.cpu_count()} cores at the end; times are of this machine"
    )
    print("| lost | rounds | p50 | p99 | target |\n|---|---|---|---|---|")
    for row in rows:
        print(row)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, help="of each row, instead of some to many")
    asyncio.run(measure(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
