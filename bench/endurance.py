"""The workloads that take longer: a large job against a smaller one, and a server killed amid one."""

import asyncio
import signal

from bench import ours, workloads
from bench.figures import Run
from bench.outcomes import WrongResultError
from trunkline.contracts import api, errors, records

BIG_DATUMS, STORM_DATUMS = 300_000, 50_000
KILLS_AT = (0.2, 0.4, 0.6)
"""Of the datums, when the server is killed."""


async def big(plan: workloads.Plan) -> list[Run]:
    """One job of 30,000 datums, and one of 300,000: what grows with the job?"""
    found = []
    for name, count in (("big/10", plan.count(BIG_DATUMS // 10)), ("big", plan.count(BIG_DATUMS))):
        # An installation each: a process's peak is one since its start.
        async with ours.installation(
            workloads.NO_OP, plan.group, settings=workloads.AT_ONCE
        ) as bench:
            await bench.run(await bench.files(100))
            ended = await bench.run(await bench.files(count))
            begin = {"first begin s": ended.outcomes.first_begin_s}
            found.append(ended.run(name, further=begin))
    return found


async def storm(plan: workloads.Plan) -> list[Run]:
    """Three kills of the nats-server amid a job of 50,000 datums."""
    count = plan.count(STORM_DATUMS)

    async def kills(bench: ours.Bench, job: records.Job) -> None:
        for share in KILLS_AT:
            while await _done(bench, job.id) < count * share:
                await asyncio.sleep(0.05)
            starts = bench.stack.starts("nats-server")
            bench.stack.kill("nats-server", signal.SIGKILL)
            await bench.stack.restarted("nats-server", after=starts)

    async with ours.installation(workloads.NO_OP, plan.group, settings=workloads.AT_ONCE) as bench:
        ended = await bench.run(await bench.files(count), kills)
    further: dict[str, float] = {
        "outcomes / datums": len(ended.outcomes.ends_ns) / count,
        "executed twice": bench.executed - count,
        "datums of several attempts": ended.outcomes.again,
    }
    return [ended.run("storm", further=further)]


async def _done(bench: ours.Bench, identifier: str) -> int:
    try:
        named = api.JobNamed(pipeline=bench.pipeline, id=identifier)
        job = await bench.client.call("job.get", named, records.Job)
    except (errors.UnavailableError, errors.RequestRefusedError):
        return 0
    if job.state.ended:
        raise WrongResultError("the job ended before all kills")
    return job.counts.processed
