"""`python -m bench.profile`: where the CPU microseconds of a datum go.

Two views of one run of W1 or W2: CPU by kind of process (exact, from /proc), and, with --spy, the
Python functions that were on top of the stack most often in a worker's agent and the coordinator,
sampled by py-spy (which must be installed, and allowed to trace).
"""

import argparse
import asyncio
import collections
import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from bench import ours, processes, workloads
from trunkline.contracts import records

KINDS = {
    "nats-server": "server",
    "trunkline.coordinator": "coordinator",
    "trunkline.local.scaler": "scaler",
    "trunkline.local.pool": "pool, agents, shims and commands",
    "bench": "client and supervisor",
}
SPY_S = 5


def kind(command: str) -> str:
    """Return the kind of a process by its command line."""
    return next((name for part, name in KINDS.items() if part in command), "other")


def by_kind() -> dict[str, float]:
    """Return CPU seconds by kind of process, all below this one."""
    found: dict[str, float] = collections.defaultdict(float)
    for each in processes.below(os.getpid(), processes.everything()):
        with contextlib.suppress(OSError):
            command = (processes.PROC / str(each.pid) / "cmdline").read_text().replace("\0", " ")
            found[kind(command)] += each.ticks / os.sysconf("SC_CLK_TCK")
    return found


async def spy(pid: int, output: Path) -> None:
    """Sample a process for some seconds."""
    program = shutil.which("py-spy") or "py-spy"
    options = ["record", "--pid", str(pid), "--duration", str(SPY_S), "--format", "raw"]
    process = await asyncio.create_subprocess_exec(
        program, *options, "--output", str(output), stdout=asyncio.subprocess.DEVNULL
    )
    await process.wait()


def top(raw: str, lines: int = 15) -> list[str]:
    """Return the functions that were on top of the stack most often, from py-spy's raw format."""
    found: collections.Counter[str] = collections.Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        found[stack.rsplit(";", 1)[-1]] += int(count)
    whole = sum(found.values()) or 1
    return [f"{count / whole:6.1%}  {name}" for name, count in found.most_common(lines)]


async def profile(*, workload: str, count: int, spying: bool) -> None:
    """Run the workload once; print both views."""
    transform = workloads.NO_OP if workload == "w1" else workloads.COPY
    with tempfile.TemporaryDirectory() as folder:

        async def watch(bench: ours.Bench, _: records.Job) -> None:
            pids = {
                "coordinator": bench.stack.pids["coordinator"],
                "agent": await ours.agent(bench),
            }
            async with asyncio.TaskGroup() as tasks:
                for name, pid in pids.items():
                    tasks.create_task(spy(pid, Path(folder, name)), name=f"spy {name}")

        async with ours.installation(transform) as bench:
            await bench.run(await bench.files(100, each=workload == "w2"))
            files = await bench.files(count, each=workload == "w2")
            before = by_kind()
            await bench.run(files, during=watch if spying else None)
            after = by_kind()
        for name in sorted(after, key=lambda each: before[each] - after[each]):
            print(f"{(after[name] - before[name]) / count * 1e6:8.0f} us  {name}")
        for path in sorted(Path(folder).iterdir()):
            print(f"\n{path.name}:", *top(path.read_text()), sep="\n")


def main() -> None:
    """Profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", nargs="?", default="w1", choices=("w1", "w2"))
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--spy", action="store_true", help="sample Python functions, too")
    asked = parser.parse_args()
    asyncio.run(profile(workload=asked.workload, count=asked.count, spying=asked.spy))


if __name__ == "__main__":
    main()
