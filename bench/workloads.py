"""The workloads: each runs ours and what it is compared with in turn, A B A B."""

import asyncio
import os
import signal
from collections.abc import Sequence

from bench import figures, others, ours, processes
from trunkline.contracts import api, errors, records

NO_OP = {"cmd": ["/bin/true"]}
"""The smallest datum there is."""
COPY = {
    "cmd": ["/bin/sh"],
    "stdin": ['exec /bin/cat "$PFS"/in/* >"$PFS"/out/"$TRUNKLINE_DATUM_INDEX"'],
}
SLEEP_MS_S, SLEEP_CRASH_S = 0.010, 0.050
CRASH_DATUMS = 200

# Few in W1 as long as its datums are processes: with a runner inside the agent it takes 20,000.
W1_DATUMS, W2_DATUMS, W3_DATUMS = 2_000, 1_000, 400
REFERENCE_DATUMS = 20_000
PEER_DATUMS = 3_000


async def w1(runs: int, peers: Sequence[str], scale: float) -> list[figures.Run]:
    """No-op datums with durable outcomes."""
    count = int(W1_DATUMS * scale)
    found = []
    async with ours.installation(NO_OP) as bench:
        await bench.run(await bench.files(200))
        for _ in range(runs):
            found.append((await bench.run(await bench.files(count))).run("W1"))
            found.append(await others.reference("pool", "W1", int(REFERENCE_DATUMS * scale)))
            found.append(await others.reference("bare_nats", "W1", int(REFERENCE_DATUMS * scale)))
            for name in peers:
                found.append(await others.peer(name, "W1", int(PEER_DATUMS * scale)))  # noqa: PERF401
    return found


async def w2(runs: int, scale: float) -> list[figures.Run]:
    """`/bin/cat` of a file of 1 KB, its output committed."""
    count = int(W2_DATUMS * scale)
    found = []
    async with ours.installation(COPY) as bench:
        await bench.run(await bench.files(50, each=True))
        for _ in range(runs):
            ended = await bench.run(await bench.files(count, each=True))
            if sum(each.output_bytes for each in ended.outcomes) != count * 1024:
                raise ours.WrongResultError("not all bytes came out")
            found.append(ended.run("W2"))
            found.append(await others.reference("xargs", "W2", count))
    return found


async def w3(runs: int, scale: float) -> list[figures.Run]:
    """Datums of 10 ms, one at a time in each worker."""
    count = int(W3_DATUMS * scale)
    ideal_s = count * SLEEP_MS_S / ours.WORKERS
    found = []
    async with ours.installation(_sleep(SLEEP_MS_S)) as bench:
        await bench.run(await bench.files(50))
        for _ in range(runs):
            ended = await bench.run(await bench.files(count))
            run = ended.run("W3")
            steady = {"ideal / steady": ideal_s / run.steady_s if run.steady_s else 0.0}
            run.extra.update({"ideal / wall": ideal_s / ended.seconds, **steady})
            found.append(run)
            found.append(await others.reference("pool", "W3", count, sleep_s=SLEEP_MS_S))
    return found


async def w4(runs: int) -> list[figures.Run]:
    """One of two workers is killed amid datums of 50 ms; the scaler replaces it."""
    ideal_s = CRASH_DATUMS * SLEEP_CRASH_S / ours.WORKERS
    found = []
    for number in range(runs + 1):
        async with ours.installation(_sleep(SLEEP_CRASH_S)) as bench:
            await bench.run(await bench.files(20))
            # The first run is undisturbed: it says how much of the excess is no matter of kills.
            ended = await bench.run(
                await bench.files(CRASH_DATUMS), during=_kill_worker if number else None
            )
            again = sum(1 for each in ended.outcomes if each.attempts > 1)
            system = "trunkline" if number else "trunkline, no kill"
            extra: dict[str, float] = {
                "excess over ideal s": ended.seconds - ideal_s,
                "datums tried again": again,
            }
            found.append(ended.run("W4", system, further=extra))
    return found


async def big(scale: float) -> list[figures.Run]:
    """One job of 300,000 datums, and one of 30,000: what grows with the job?"""
    found = []
    for count in (int(30_000 * scale), int(300_000 * scale)):
        async with ours.installation(NO_OP) as bench:
            await bench.run(await bench.files(100))
            ended = await bench.run(await bench.files(count))
            found.append(ended.run(f"big {count:,}", further=_memory(bench)))
    return found


async def storm(scale: float) -> list[figures.Run]:
    """Three kills of the nats-server amid a job of 50,000 datums."""
    count = int(50_000 * scale)

    async def kills(bench: ours.Bench, job: records.Job) -> None:
        for share in (0.2, 0.4, 0.6):
            while await _done(bench, job.id) < count * share:
                await asyncio.sleep(0.05)
            starts = bench.stack.starts("nats-server")
            bench.stack.kill("nats-server", signal.SIGKILL)
            await bench.stack.restarted("nats-server", after=starts)

    async with ours.installation(NO_OP) as bench:
        ended = await bench.run(await bench.files(count), during=kills)
        twice: dict[str, float] = {
            "outcomes": len(ended.outcomes),
            "refused second outcomes": ended.job.duplicates,
            "datums tried again": sum(1 for each in ended.outcomes if each.attempts > 1),
        }
        return [ended.run("storm", further=twice | _memory(bench))]


async def _done(bench: ours.Bench, identifier: str) -> int:
    try:
        named = api.JobNamed(pipeline=bench.pipeline, id=identifier)
        job = await bench.client.call("job.get", named, records.Job)
    except (errors.UnavailableError, errors.RequestRefusedError):
        return 0
    if job.state.ended:
        raise ours.WrongResultError("the job ended before all kills")
    return job.counts.processed


def _memory(bench: ours.Bench) -> dict[str, float]:
    pids = bench.stack.pids
    return {
        f"{name} peak RSS MB": processes.peak(pids[name]) / 1e6
        for name in ("coordinator", "nats-server")
    }


async def _kill_worker(bench: ours.Bench, _: records.Job) -> None:
    await asyncio.sleep(CRASH_DATUMS * SLEEP_CRASH_S / ours.WORKERS / 2)
    os.kill(await ours.agent(bench), signal.SIGKILL)


def _sleep(seconds: float) -> dict[str, list[str]]:
    return {"cmd": ["/bin/sleep", str(seconds)]}
