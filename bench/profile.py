"""`python -m bench.profile`: where the CPU microseconds of a datum go.

How much each kind of process uses is exact (`metering`). What one of each kind uses it for is
sampled in the same run (`sampling`) and told as that share of the exact figure: by purpose
(`stacks`), by module and by function.
"""

import argparse
import asyncio
import itertools
import os
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from bench import cgroups, figures, metering, ours, processes, sampling, stacks, workloads

TOLD = 12
"""How many modules and functions are told of each process."""

WORKLOADS: dict[str, tuple[Mapping[str, Any], Mapping[str, str], int]] = {
    "w1": (workloads.NO_OP, workloads.AT_ONCE, 30_000),
    "w2": (workloads.COPY, {}, 4_000),
    "w3": (workloads.NO_OP, workloads.IN_PROCESS, 2_000),
    "w5": (workloads.WARM, {}, 10_000),
}
"""Name -> transform, settings, datums: some seconds, for enough samples."""


async def profile(workload: str, count: int, group: cgroups.Group | None) -> None:
    """Run the workload once, sampled; print where its CPU time went."""
    transform, settings, usual = WORKLOADS[workload]
    count = count or usual
    each = workload == "w2"
    with tempfile.TemporaryDirectory() as folder:
        async with ours.installation(transform, group, settings=settings) as bench:
            await bench.run(await bench.files(count // 10, each=each))
            files = await bench.files(count, each=each)
            async with AsyncExitStack() as samplers:
                sampled = await _sampled(bench, Path(folder), group, samplers)
                ended = await bench.measured(files)
            await bench.checked(ended, count)
        run = ended.run(workload)
        print(f"{workload}, {count:,} datums; CPU us/datum by kind of process:\n")
        for kind in metering.KINDS:
            print(f"{run.cpu_us_of[kind]:8.1f}  {kind}")
        print(f"{run.cpu_us:8.1f}  in all\n")
        for one in sampled:
            shares = await one.shares()
            if shares.samples:
                print("\n".join(told(one.kind, run.cpu_us_of[one.kind], shares)))


def told(kind: str, cpu_us: float, found: stacks.Shares) -> list[str]:
    """Return a table of what a kind of process uses its CPU time for."""
    lines = [f"{kind}: {figures.short(cpu_us)} us/datum, {found.samples:,} samples", ""]
    lines += _lines(cpu_us, found.by_purpose)
    lines += ["", "  by module", "", *_lines(cpu_us, found.by_module)]
    lines += ["", "  by function", "", *_lines(cpu_us, found.by_function)]
    return [*lines, ""]


def _lines(cpu_us: float, shares: Mapping[str, float]) -> list[str]:
    largest = itertools.islice(shares.items(), TOLD)
    return [f"{share * cpu_us:8.1f}  {share:6.1%}  {name}" for name, share in largest]


async def _sampled(
    bench: ours.Bench, folder: Path, group: cgroups.Group | None, samplers: AsyncExitStack
) -> list[sampling.Sampled]:
    pids = bench.stack.pids
    found = []
    # perf first: it says nothing when it is ready, and py-spy takes its time
    server = await samplers.enter_async_context(
        sampling.counted("nats-server", pids["nats-server"], folder, group)
    )
    agent = await ours.agent(bench)
    shim = next((each.pid for each in processes.tree(agent) if each.parent == agent), None)
    python = {"coordinator": pids["coordinator"], "agents": agent, "shims": shim}
    for kind, pid in python.items():
        if pid is not None:
            spied = sampling.spied(kind, pid, folder, group)
            found.append(await samplers.enter_async_context(spied))
    return [*found, server] if server else found


def main() -> None:
    """Profile."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("workload", nargs="?", default="w1", choices=tuple(WORKLOADS))
    parser.add_argument("--count", type=int, default=0, help="datums; as many as usual if 0")
    asked = parser.parse_args()
    with cgroups.entered() as group:
        if group is None:
            print(f"no control group: CPU time is that of the tree below {os.getpid()}")
        asyncio.run(profile(asked.workload, asked.count, group))


if __name__ == "__main__":
    main()
