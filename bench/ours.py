"""Trunkline's own side: an installation of its own, commits of many files, jobs watched to their end.

Inside the clock: from just before `commit.finish` (all files and their manifest are stored by then)
to the moment that the coordinator writes the job down as ended: listing, enqueueing, running,
durable outcomes, the output commit. Outside: the start of services and workers, storing the input,
reading the outcomes to check them. The steady pace is taken from the moments that outcomes tell.
"""

import asyncio
import contextlib
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench import cgroups, figures, metering
from bench.outcomes import Outcomes
from trunkline.client import client as clients
from trunkline.contracts import api, errors, records
from trunkline.contracts.messages import File
from trunkline.local import pool_wire
from trunkline.local import stack as stacks
from trunkline.local.home import Home
from trunkline.storage import manifests

WORKERS = 2
POLL_S = 0.05

During = Callable[["Bench", records.Job], Awaitable[None]]
"""What else happens while a job runs, such as a kill."""


@dataclass(frozen=True)
class Ended:
    """A job that has ended, and what it cost."""

    job: records.Job
    outcomes: Outcomes
    usage: metering.Usage

    @property
    def seconds(self) -> float:
        """From the commit to SUCCESS."""
        return (self.job.ended_ns - self.outcomes.began_ns) / 1e9

    def run(
        self,
        workload: str,
        system: str = figures.OURS,
        *,
        further: Mapping[str, float] | None = None,
    ) -> figures.Run:
        """Return the figures."""
        moments = self.outcomes.moments
        # Time to the first outcome and from the last one: what the ends of a job cost.
        ends = {"first outcome s": moments[0], "last outcome to end s": self.seconds - moments[-1]}
        return figures.Run(
            workload=workload,
            system=system,
            count=len(moments),
            seconds=self.seconds,
            cpu_s=self.usage.cpu_s,
            rss_bytes=self.usage.rss_bytes,
            steady_s=self.outcomes.steady_s,
            cpu_of=self.usage.cpu_of,
            rss_of=self.usage.rss_of,
            extra={**ends, **(further or {})},
        )


class Bench:
    """A running installation with one pipeline and its workers."""

    def __init__(
        self,
        stack: stacks.Stack,
        client: clients.Client,
        pipeline: str,
        group: cgroups.Group | None,
    ) -> None:
        self.stack, self.client, self.pipeline = stack, client, pipeline
        self._group = group
        self.executed = 0
        """How often datums were executed; known once the installation is down."""

    async def files(self, count: int, *, each: bool = False) -> list[File]:
        """Store `count` files of 1 KB: one object for all of them, or `each` its own contents."""
        tag = secrets.token_hex(4)
        contents = [self._content(f"{tag}{number:08}") for number in range(count if each else 1)]
        found: list[File] = []
        for number in range(count):
            data = contents[number if each else 0]
            digest = hashlib.sha256(data).hexdigest()
            key = await self.client.store.put(data) if each or not found else found[0].object
            path = f"/{tag}-{number:08}"
            found.append(File(path=path, size=len(data), sha256=digest, object=key))
        return found

    async def run(self, files: Sequence[File], during: During | None = None) -> Ended:
        """Commit these files and no others; return when the job over them has ended well."""
        return await self.checked(await self.measured(files, during), len(files))

    async def measured(self, files: Sequence[File], during: During | None = None) -> Ended:
        """Run the job over these files; its outcomes are still to be looked at."""
        written = await manifests.write(self.client.store, files)
        named = api.BranchNamed(repo="in", branch="master")
        request = api.CommitFinish(
            repo="in",
            branch="master",
            id=secrets.token_hex(16),
            parent=(await self.client.call("branch.get", named, records.Branch)).head,
            manifest=written.manifest,
            files=written.files,
            size=written.size,
        )
        with metering.Meter(os.getpid(), self._group) as meter:
            outcomes = Outcomes(time.time_ns())
            await self.client.call("commit.finish", request, records.Commit)
            if during is not None:
                await during(self, await self._job(request.id))
            job = await self.ended(request.id)
        return Ended(job, outcomes, meter.usage)

    async def checked(self, ended: Ended, count: int) -> Ended:
        """Return it with its outcomes; raise WrongResultError if they are not as they must be."""
        async for view in self.client.datums(self.pipeline, ended.job.id):
            ended.outcomes.add(view)
        ended.outcomes.check(ended.job, count)
        return ended

    async def ended(self, identifier: str) -> records.Job:
        """Return the job once it has ended."""
        while True:
            with contextlib.suppress(errors.RequestRefusedError, errors.UnavailableError):
                job = await self._job(identifier)
                if job.state.ended:
                    return job
            await asyncio.sleep(POLL_S)

    async def scaling(self) -> records.Scaling | None:
        """Return what the scaler says of the workers."""
        listed = self.client.every("worker.list", records.Scaling, key=self.pipeline)
        return next(iter([each async for each in listed]), None)

    async def ready(self, count: int = WORKERS) -> None:
        """Return once all workers are up."""
        async with asyncio.timeout(60):
            while True:
                seen = await self.scaling()
                if seen and seen.have == seen.ready == count:
                    return
                await asyncio.sleep(POLL_S)

    async def _job(self, identifier: str) -> records.Job:
        """Return the job; it is there soon after its commit."""
        async with asyncio.timeout(120):
            while True:
                try:
                    named = api.JobNamed(pipeline=self.pipeline, id=identifier)
                    return await self.client.call("job.get", named, records.Job)
                except (errors.RequestRefusedError, errors.UnavailableError):
                    await asyncio.sleep(0.01)

    @staticmethod
    def _content(tag: str) -> bytes:
        return (tag.encode() * (1024 // len(tag) + 1))[:1024]


@asynccontextmanager
async def installation(
    transform: Mapping[str, Any],
    group: cgroups.Group | None,
    *,
    settings: Mapping[str, str] | None = None,
    sets: int = 1,
) -> AsyncIterator[Bench]:
    """Run an installation with one pipeline over the repo `in`; leave nothing behind.

    Args:
        transform: What the pipeline does.
        group: What is charged.
        settings: Of the installation's processes.
        sets: How many datums travel in one message.
    """
    home = Path(tempfile.mkdtemp(prefix="tl-"))
    spec = {
        "pipeline": {"name": "out"},
        "transform": dict(transform),
        "parallelism_spec": {"constant": WORKERS},
        "input": {"pfs": {"repo": "in", "glob": "/*"}},
        "datum_set_spec": {"number": sets},
    }
    try:
        async with (
            stacks.running(home, nodes=WORKERS, port=0, settings=settings or {}) as stack,
            clients.connect(stack.url, stack.store) as client,
        ):
            await client.call("repo.create", api.RepoCreate(name="in"), records.Repo)
            await client.call("pipeline.apply", msgspec.json.encode(spec), records.Pipeline)
            bench = Bench(stack, client, "out", group)
            await bench.ready()
            yield bench
        bench.executed = _executed(stack.home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _executed(home: Home) -> int:
    """Return what the workers have said when they stopped; one that was killed says nothing."""
    counts = []
    for path in (home.logs / "workers").glob("*.log"):
        for line in path.read_text().splitlines():
            with contextlib.suppress(msgspec.DecodeError):
                counts.append(msgspec.json.decode(line, type=_Stopped).executed)
    return sum(counts)


class _Stopped(msgspec.Struct, frozen=True):
    """A line of a worker's log, of which only one kind has this."""

    executed: int = 0


async def agent(bench: Bench) -> int:
    """Return the process id of a worker's agent."""
    with pool_wire.address(bench.stack.home.root / "pool.sock") as address:
        reader, writer = await asyncio.open_unix_connection(address)
    writer.write(msgspec.json.encode(pool_wire.List(id=1)) + b"\n")
    answer = msgspec.json.decode(await reader.readline(), type=pool_wire.Answer)
    writer.close()
    return answer.workers[0].pid
