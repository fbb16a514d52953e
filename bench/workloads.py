"""The workloads of some seconds: each runs ours and what it is compared with in turn, A B A B."""

import asyncio
import os
import signal
import sys
from dataclasses import dataclass

from bench import cgroups, ours
from bench.figures import Run
from bench.others import COUNTS, Others
from bench.outcomes import WrongResultError
from bench.tasks import FILE_BYTES, SLEEP_S
from trunkline.contracts import records

NO_OP = {"cmd": ["/bin/true"]}
"""Is not run where workers are told `AT_ONCE`."""
COPY = {
    "cmd": ["/bin/sh"],
    "stdin": ['exec /bin/cat "$PFS"/in/* >"$PFS"/out/"$TRUNKLINE_DATUM_INDEX"'],
}
WARM = {
    "cmd": [
        sys.executable,
        "-c",
        "import trunkline.worker\nfor _ in trunkline.worker.datums(): pass",
    ],
    "datum_batching": True,
}
AT_ONCE = {"TRUNKLINE_IDLE_S": "0"}
"""Workers run no command: a datum is done as soon as it has its slot."""
IN_PROCESS = {"TRUNKLINE_IDLE_S": str(SLEEP_S)}
CRASH_SLEEP_S = 0.050
CRASH_DATUMS = 200

W1_DATUMS, W2_DATUMS, W3_DATUMS, W5_DATUMS = 20_000, 1_000, 400, 10_000
SET = 16
"""Datums in one message, in W1s."""


@dataclass(frozen=True)
class Plan:
    """What was asked for on the command line."""

    runs: int
    peers: tuple[str, ...]
    scale: float
    """Times the number of datums."""
    group: cgroups.Group | None

    def count(self, datums: int) -> int:
        """Return how many datums there are to be."""
        return int(datums * self.scale)

    @property
    def others(self) -> Others:
        """What we are compared with."""
        return Others(self.group)


async def w1(plan: Plan) -> list[Run]:
    """Datums that do nothing, with durable outcomes."""
    count, others = plan.count(W1_DATUMS), plan.others
    found = []
    async with ours.installation(NO_OP, plan.group, settings=AT_ONCE) as bench:
        await bench.run(await bench.files(count // 10))
        for _ in range(plan.runs):
            ended = await bench.run(await bench.files(count))
            found.append(_without_commands(ended).run("W1"))
            for reference in ("pool", "bare_nats"):
                found.append(await others.reference(reference, "W1", count))  # noqa: PERF401
            for name in plan.peers:
                found.append(await others.peer(name, "W1", plan.count(COUNTS[name])))  # noqa: PERF401
    return found


async def w1s(plan: Plan) -> list[Run]:
    """The same, in sets of 16 datums: what `datum_set_spec` is for."""
    count = plan.count(W1_DATUMS)
    found = []
    async with ours.installation(NO_OP, plan.group, settings=AT_ONCE, sets=SET) as bench:
        await bench.run(await bench.files(count // 10))
        for _ in range(plan.runs):
            ended = await bench.run(await bench.files(count))
            found.append(_without_commands(ended).run("W1s"))
            found.append(await plan.others.reference("pool", "W1s", count))
    return found


async def w2(plan: Plan) -> list[Run]:
    """`/bin/cat` of a file of 1 KB, its output committed."""
    count, others = plan.count(W2_DATUMS), plan.others
    found = []
    async with ours.installation(COPY, plan.group) as bench:
        await bench.run(await bench.files(count // 10, each=True))
        for _ in range(plan.runs):
            ended = await bench.run(await bench.files(count, each=True))
            if ended.outcomes.output_bytes != count * FILE_BYTES:
                raise WrongResultError("not all bytes came out")
            found.append(ended.run("W2"))
            for reference in ("xargs", "spawn"):
                found.append(await others.reference(reference, "W2", count))  # noqa: PERF401
            for name in plan.peers:
                found.append(await others.peer(name, "W2", count))  # noqa: PERF401
    return found


async def w3(plan: Plan) -> list[Run]:
    """Datums of 10 ms in the workers' own processes, one at a time in each."""
    count, others = plan.count(W3_DATUMS), plan.others
    found = []
    async with ours.installation(NO_OP, plan.group, settings=IN_PROCESS) as bench:
        await bench.run(await bench.files(count // 10))
        for _ in range(plan.runs):
            ended = _without_commands(await bench.run(await bench.files(count)))
            found.append(ended.run("W3", further=_of_ideal(ended, count)))
            found.append(await others.reference("pool", "W3", count))
            for name in plan.peers:
                found.append(await others.peer(name, "W3", count))  # noqa: PERF401
    return found


async def w3p(plan: Plan) -> list[Run]:
    """Datums that are a process of 10 ms each."""
    count, others = plan.count(W3_DATUMS), plan.others
    found = []
    async with ours.installation(_sleep(SLEEP_S), plan.group) as bench:
        await bench.run(await bench.files(count // 10))
        for _ in range(plan.runs):
            ended = await bench.run(await bench.files(count))
            found.append(ended.run("W3p", further=_of_ideal(ended, count)))
            found.append(await others.reference("spawn", "W3p", count))
    return found


async def w4(plan: Plan) -> list[Run]:
    """One of two workers is killed amid datums of 50 ms; the scaler replaces it."""
    ideal_s = CRASH_DATUMS * CRASH_SLEEP_S / ours.WORKERS
    found = []
    # The first run is undisturbed: it says how much of the excess is no matter of kills.
    for during, system in [
        (None, "trunkline, no kill"),
        *[(_kill_worker, "trunkline")] * plan.runs,
    ]:
        async with ours.installation(_sleep(CRASH_SLEEP_S), plan.group) as bench:
            await bench.run(await bench.files(20))
            ended = await bench.run(await bench.files(CRASH_DATUMS), during)
            further: dict[str, float] = {
                "excess over ideal s": ended.seconds - ideal_s,
                "datums tried again": ended.outcomes.again,
            }
            found.append(ended.run("W4", system, further=further))
    return found


async def w5(plan: Plan) -> list[Run]:
    """Datums of one file each, handed to a command that stays up and does nothing with them."""
    count = plan.count(W5_DATUMS)
    found = []
    async with ours.installation(WARM, plan.group) as bench:
        await bench.run(await bench.files(count // 10))
        for _ in range(plan.runs):
            ended = await bench.run(await bench.files(count))
            found.append(ended.run("W5", further={"ms / datum": ended.seconds * 1000 / count}))
            found.append(await plan.others.reference("pool", "W5", count))
    return found


def _of_ideal(ended: ours.Ended, count: int) -> dict[str, float]:
    ideal_s = count * SLEEP_S / ours.WORKERS
    steady_s = ended.outcomes.steady_s
    steady = {"ideal / steady": ideal_s / steady_s} if steady_s else {}
    return {"ideal / wall": ideal_s / ended.seconds, **steady}


def _without_commands(ended: ours.Ended) -> ours.Ended:
    if ended.outcomes.commands:
        raise WrongResultError("workers ran commands, though they were told not to")
    return ended


async def _kill_worker(bench: ours.Bench, _: records.Job) -> None:
    await asyncio.sleep(CRASH_DATUMS * CRASH_SLEEP_S / ours.WORKERS / 2)
    os.kill(await ours.agent(bench), signal.SIGKILL)


def _sleep(seconds: float) -> dict[str, list[str]]:
    return {"cmd": ["/bin/sleep", str(seconds)]}
