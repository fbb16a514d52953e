"""`python -m bench.commands`: what a datum that is a process costs around its process.

The agent's and the shim's code as they are, a local store, and nothing else: no server, no queue. A
datum is fetched, presented, run, withdrawn, stored and cleared away, then the next one; the table
says what that takes, and what a loop takes that only starts the same commands. With --profile the
Python functions of the agent or of the shim are listed: their times are to be read as shares. For
system calls: `strace -f -c -p` on a run with a large --count.
"""

import argparse
import cProfile
import hashlib
import json
import multiprocessing
import os
import pstats
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from bench import workloads
from trunkline.contracts.messages import DatumInput, DatumTask, File, JobTicket
from trunkline.contracts.spec import Transform
from trunkline.runtime.clock import SystemClock
from trunkline.storage.store import Store, open_store
from trunkline.worker_agent import environment, namespaces, process, shim
from trunkline.worker_agent.core import outcome
from trunkline.worker_agent.files import Workspace
from trunkline.worker_agent.link import Link

TRANSFORMS: dict[str, Mapping[str, Any]] = {
    "true": workloads.NO_OP,
    "copy": workloads.COPY,
    "sleep": {"cmd": ["/bin/sleep", "0.01"]},
}
WARM = 50
"""Datums before the clock starts."""
JOB = "0" * 32
FIGURES = ("wall", "agent", "shim", "commands")


class Lab:
    """One worker without its queue: an agent in this process, its shim in another one."""

    def __init__(self, root: Path, transform: Mapping[str, Any], profile: str) -> None:
        self.store: Store = open_store(f"file://{root}/store")
        self.space = Workspace(root / "home")
        self.space.prepare()
        code = msgspec.convert(dict(transform), Transform)
        ticket = JobTicket(job=JOB, version=1, code_hash="", transform=code)
        facts = environment.of_job(ticket, _task(0), pfs="/pfs", worker="w", address="127.0.0.1")
        self.lines = environment.lines(facts)
        self.command = process.Command(
            argv=code.cmd,
            env={**environment.base(os.environ), **facts},
            cwd=str(self.space.work),
            stdin="".join(f"{line}\n" for line in code.stdin).encode(),
        )
        self._ours, theirs = socket.socketpair()
        self.shim = os.fork()
        if not self.shim:
            self._ours.close()
            with _profiled(profile == "shim"):
                namespaces.present(self.space.pfs, self.space.root)
                shim.serve_one(theirs)
            os._exit(0)
        theirs.close()

    async def tasks(self, count: int) -> list[DatumTask]:
        """Store an input file of 1 KB for each datum."""
        found = []
        for number in range(count):
            data = f"{number:07}{os.getpid():09}".encode() * 64
            sha256 = hashlib.sha256(data).hexdigest()
            file = File(
                path=f"/{number:07}", size=1024, sha256=sha256, object=await self.store.put(data)
            )
            found.append(_task(number, file))
        return found

    async def run(self, count: int, profile: str) -> dict[str, float]:
        """Work on so many datums; return microseconds for each."""
        link = Link(self._ours)
        await link.hello()
        runner = process.Runner(link, clock=SystemClock())
        tasks = await self.tasks(WARM + count)
        for task in tasks[:WARM]:
            await self._live(runner, task)
        before = self._used()
        with _profiled(profile == "agent"):
            for task in tasks[WARM:]:
                await self._live(runner, task)
        await self.space.settle()
        after = self._used()
        link.bye()
        await link.lost.wait()
        return {name: (after[name] - before[name]) / count * 1e6 for name in FIGURES}

    async def _live(self, runner: process.Runner, task: DatumTask) -> None:
        place = self.space.place()
        await self.space.stage(self.store, task, place)
        own = environment.of_datum(task, pfs="/pfs")
        self.space.present(place, self.lines + environment.lines(own))
        run = await runner.run(self.command, _unheard, own=own)
        self.space.withdraw(place)
        stored = await self.space.upload(self.store, place)
        self.space.discard_soon(place)
        assert run.ended == outcome.Exited(0), run
        assert stored.bytes == (1024 if self.command.stdin else 0), stored

    def _used(self) -> dict[str, float]:
        """Return seconds by kind of process."""
        fields = Path(f"/proc/{self.shim}/stat").read_text().rpartition(")")[2].split()
        own = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "wall": time.monotonic(),
            "agent": own.ru_utime + own.ru_stime,
            # field 1 of schedstat: nanoseconds on a processor
            "shim": int(Path(f"/proc/{self.shim}/schedstat").read_text().split()[0]) / 1e9,
            "commands": sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK"),
        }


def _task(number: int, *files: File) -> DatumTask:
    given = DatumInput(name="in", path=f"/{number:07}", commit=JOB, files=files)
    return DatumTask(
        pipeline="out", job=JOB, index=number, datum="d", fingerprint="", inputs=(given,)
    )


def _unheard(stream: str, data: bytes) -> None:
    sys.stderr.write(f"{stream}: {data.decode()}")


def bare(count: int, transform: Mapping[str, Any]) -> dict[str, float]:
    """Start the same commands from a loop; return microseconds for each."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("in", "out"):
            (root / name).mkdir()
        argv = list(transform["cmd"])
        if transform.get("stdin"):
            argv = ["/bin/sh", "-c", transform["stdin"][0]]
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        own = time.process_time()
        for number in range(count):
            file = root / "in" / "file"
            if number == 0:
                file.write_bytes(b"x" * 1024)
            env = {**os.environ, "PFS": folder, "TRUNKLINE_DATUM_INDEX": str(number)}
            os.waitpid(os.posix_spawn(argv[0], argv, env), 0)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        took = (time.monotonic() - began, time.process_time() - own, 0.0, cpu_s)
        return {name: seconds / count * 1e6 for name, seconds in zip(FIGURES, took, strict=True)}


def ours(count: int, transform: Mapping[str, Any], profile: str = "") -> dict[str, float]:
    """Work on datums in this process."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder), transform, profile)
        try:
            return uvloop.run(lab.run(count, profile))
        finally:
            os.waitpid(lab.shim, 0)


@contextmanager
def _profiled(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    profiler = cProfile.Profile()
    with profiler:
        yield
    pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(45)


def together(work: Callable[..., dict[str, float]], workers: int, *args: object) -> str:
    """Do the same in several processes at once; return a line of the table, by the mean."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers) as pool:
        found = [each.get() for each in [pool.apply_async(work, args) for _ in range(workers)]]
    means = {name: sum(each[name] for each in found) / workers for name in FIGURES}
    cpu = sum(means[name] for name in FIGURES[1:])
    rate = workers * 1e6 / means["wall"]
    return " ".join(f"{means[name]:9.0f}" for name in FIGURES) + f" {cpu:9.0f} {rate:9.0f}"


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.commands", description=__doc__)
    parser.add_argument("--only", default=",".join(TRANSFORMS), help="of true,copy,sleep")
    parser.add_argument("--count", type=int, default=1000, help="datums of each worker")
    parser.add_argument("--workers", type=int, default=1, help="at once")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--profile", choices=("agent", "shim"), help="list Python functions")
    asked = parser.parse_args()
    if asked.profile:
        told = ours(asked.count, TRANSFORMS[asked.only], asked.profile)
        print(json.dumps(told))
        return
    print("us per datum:      " + " ".join(f"{name:>9}" for name in (*FIGURES, "CPU", "datums/s")))
    for name in asked.only.split(","):
        for _ in range(asked.runs):
            line = together(ours, asked.workers, asked.count, TRANSFORMS[name])
            print(f"{name:8} trunkline {line}", flush=True)
            line = together(bare, asked.workers, asked.count, TRANSFORMS[name])
            print(f"{name:8} bare loop {line}", flush=True)


if __name__ == "__main__":
    main()
