"""`python -m bench.coordinator`: what the coordinator's share of a datum costs, step by step.

A nats-server, the coordinator as a process of its own, and a stand-in for the workers (`standin`).
Kinds of run, each on an installation of its own:

- *steps*: the stand-in starts only once all is listed, so that each step of a job's life is alone:
  list (with the fingerprints and the queue), fold, merge (with the commit), put away (archive, done
  index, purge), and skip: the same files once more, all of which are done.
- *skip*: the last of these alone, for 100,000 datums.
- *together*: the stand-in is there from the start, as workers are. What counts here is memory, the
  first datum, and that folding keeps up.

CPU is the coordinator's alone, read from /proc.
"""

import argparse
import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from bench import processes
from trunkline.client import client as clients
from trunkline.contracts import api, errors, records
from trunkline.contracts.messages import File
from trunkline.contracts.states import JobState
from trunkline.contracts.wards import Wards
from trunkline.local.credentials import LocalIssuer
from trunkline.local.server import NatsServer
from trunkline.storage import keys, manifests

PIPELINE = "out"
POLL_S = 0.02
READY_S = 30.0
STEPS = 60_000
"""Below what a listing may be ahead of the outcomes."""
SKIPPED = 100_000
SKIP = "skip instead: list, fingerprint, look up"
SMALL, LARGE = 30_000, 300_000

_SPEC = {
    "pipeline": {"name": PIPELINE},
    "transform": {"cmd": ["true"]},
    "input": {"pfs": {"repo": "in", "glob": "/*"}},
}


class Site:
    """A server, a coordinator, and a client of both."""

    def __init__(self, server: NatsServer, client: clients.Client, pid: int) -> None:
        self.server, self.client, self.pid = server, client, pid

    @property
    def cpu_s(self) -> float:
        """CPU seconds that the coordinator has used."""
        return _cpu_s(self.pid)

    @property
    def server_cpu_s(self) -> float:
        """CPU seconds that the server has used."""
        assert self.server.pid is not None
        return _cpu_s(self.server.pid)

    async def commit(self, manifest: manifests.Written, identifier: str) -> None:
        """Commit these files and no others."""
        named = api.BranchNamed(repo="in", branch="master")
        request = api.CommitFinish(
            repo="in",
            branch="master",
            id=identifier,
            parent=(await self.client.call("branch.get", named, records.Branch)).head,
            manifest=manifest.manifest,
            files=manifest.files,
            size=manifest.size,
        )
        await self.client.call("commit.finish", request, records.Commit)

    async def until(self, job: str, condition: Callable[[records.Job], bool]) -> records.Job:
        """Return the job once the condition holds; it may end, but only well."""
        named = api.JobNamed(pipeline=PIPELINE, id=job)
        while True:
            with contextlib.suppress(errors.RequestRefusedError, errors.UnavailableError):
                found = await self.client.call("job.get", named, records.Job)
                if found.state.ended and found.state is not JobState.SUCCESS:
                    told = f"{found.state}: {found.reason}"
                    raise RuntimeError(told)
                if condition(found):
                    return found
            await asyncio.sleep(POLL_S)

    @asynccontextmanager
    async def stand_in(self, job: str, count: int, *, files: bool) -> AsyncIterator["StandIn"]:
        """Run the stand-in for a job inside."""
        url = await LocalIssuer(self.server.directory).worker_url(PIPELINE)
        flags = ("--files",) if files else ()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.standin", PIPELINE, job, str(count), *flags),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        ward = Wards(self.server.credentials.data_key).of(PIPELINE)
        process.stdin.write(f"{url}\n{ward.token}\n".encode())
        try:
            yield StandIn(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


class StandIn:
    """The stand-in's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ended(self) -> int:
        """Return once it has answered all: when the first datum was queued, in ns."""
        told, _ = await self._process.communicate()
        return int(json.loads(told)["first_ns"])


@asynccontextmanager
async def installation(main: Sequence[str]) -> AsyncIterator[Site]:
    """Run a server and a coordinator; leave nothing behind."""
    home = Path(tempfile.mkdtemp(prefix="tl-"))
    server = NatsServer(home / "nats", port=0)
    (home / "spool").mkdir()
    environ = os.environ | {
        "TRUNKLINE_CTL_URL": server.url("coordinator"),
        "TRUNKLINE_DATA_URL": server.url("coordinator-data"),
        "TRUNKLINE_DATA_KEY": server.credentials.data_key,
        "TRUNKLINE_STORE": f"file://{home}/store",
        "TMPDIR": str(home / "spool"),
    }
    try:
        await server.start()
        with (home / "log").open("wb") as log:
            coordinator = await asyncio.create_subprocess_exec(
                sys.executable, *main, env=environ, stdout=log, stderr=log
            )
        try:
            async with clients.connect(server.url("user"), environ["TRUNKLINE_STORE"]) as client:
                await _ready(client)
                await client.call("repo.create", api.RepoCreate(name="in"), records.Repo)
                await client.call("pipeline.apply", msgspec.json.encode(_SPEC), records.Pipeline)
                yield Site(server, client, coordinator.pid)
        finally:
            coordinator.terminate()
            await coordinator.wait()
            await server.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _ready(client: clients.Client) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            with contextlib.suppress(errors.UnavailableError):
                if (await client.call("status", None, api.Status)).ready:
                    return
            await asyncio.sleep(POLL_S)


def _cpu_s(pid: int) -> float:
    line = (processes.PROC / str(pid) / "stat").read_text()
    return processes.parse_stat(line).ticks / os.sysconf("SC_CLK_TCK")


def files(count: int) -> Iterator[File]:
    """Return files that only their manifest knows of: nobody reads them."""
    for number in range(count):
        digest = hashlib.sha256(b"%d" % number).hexdigest()
        yield File(path=f"/file-{number:08}", size=1024, sha256=digest, object=keys.of(digest))


async def steps(count: int, main: Sequence[str], *, outputs: bool) -> dict[str, float]:
    """Return the CPU microseconds of each step, per datum."""
    async with installation(main) as site:
        manifest = await manifests.write(site.client.store, files(count))
        first, second = secrets.token_hex(16), secrets.token_hex(16)
        marks = [site.cpu_s]

        async def mark(job: str, condition: Callable[[records.Job], bool]) -> None:
            await site.until(job, condition)
            marks.append(site.cpu_s)

        await site.commit(manifest, first)
        await mark(first, lambda job: job.state is JobState.RUNNING)
        async with site.stand_in(first, count, files=outputs) as stand_in:
            await mark(first, _folded)
            await mark(first, lambda job: job.state.ended)
            await mark(first, lambda job: job.compacted)
            await stand_in.ended()
        await site.commit(manifest, second)
        await mark(second, lambda job: job.state not in (JobState.WAITING, JobState.LISTING))
        await mark(second, lambda job: job.compacted)
        names = ("list", "fold", "merge", "put away", SKIP, "merge and put away what was skipped")
        spent = [after - before for before, after in itertools.pairwise(marks)]
        return {name: cpu / count * 1e6 for name, cpu in zip(names, spent, strict=True)}


async def skip(count: int, main: Sequence[str], *, outputs: bool) -> dict[str, float]:
    """Return what a datum costs that is skipped, and what its output costs in the merge."""
    found = await steps(count, main, outputs=outputs)
    return dict(list(found.items())[-2:])


async def together(count: int, main: Sequence[str], *, outputs: bool) -> dict[str, float]:
    """Return what a whole life costs, and the figures that are not of one step."""
    async with installation(main) as site:
        manifest = await manifests.write(site.client.store, files(count))
        job = secrets.token_hex(16)
        async with site.stand_in(job, count, files=outputs) as stand_in:
            before, began_ns = site.cpu_s, time.time_ns()
            await site.commit(manifest, job)
            await site.until(job, _folded)
            folded_ns = time.time_ns()
            await site.until(job, lambda each: each.state.ended)
            server_s = site.server_cpu_s
            ended = await site.until(job, lambda each: each.compacted)
            server_s, away_ns = site.server_cpu_s - server_s, time.time_ns()
            first_ns = await stand_in.ended()
        assert ended.counts.processed == count
        assert site.server.pid is not None
        return {
            "CPU us/datum": (site.cpu_s - before) / count * 1e6,
            "first datum s": (first_ns - began_ns) / 1e9,
            "folded/s": count / (folded_ns - first_ns) * 1e9,
            "end after fold s": (ended.ended_ns - folded_ns) / 1e9,
            "put away after end s": (away_ns - ended.ended_ns) / 1e9,
            "nats-server CPU s of that": server_s,
            "coordinator peak RSS MB": processes.peak(site.pid) / 1e6,
            "nats-server peak RSS MB": processes.peak(site.server.pid) / 1e6,
        }


def _folded(job: records.Job) -> bool:
    return job.state is JobState.MERGING or job.state.ended


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="steps,skip,small,large")
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of datums")
    parser.add_argument("--outputs", action="store_true", help="each datum writes a file")
    parser.add_argument("--main", default="-m trunkline.coordinator", help="what python runs")
    asked = parser.parse_args()
    started, outputs = asked.main.split(), asked.outputs
    runs = {
        "steps": lambda: steps(int(STEPS * asked.scale), started, outputs=outputs),
        "skip": lambda: skip(int(SKIPPED * asked.scale), started, outputs=outputs),
        "small": lambda: together(int(SMALL * asked.scale), started, outputs=outputs),
        "large": lambda: together(int(LARGE * asked.scale), started, outputs=outputs),
    }
    for name in asked.only.split(","):
        found = asyncio.run(runs[name]())
        print(f"{name} (load {os.getloadavg()[0]:.1f})")
        print("\n".join(f"  {value:10.2f}  {what}" for what, value in found.items()))
        if name == "steps":
            print(f"  {sum(list(found.values())[:4]):10.2f}  in all, without what is skipped")


if __name__ == "__main__":
    main()
