"""Trunkline's own side: an installation of its own, commits of many files, jobs watched to their end.

Inside the clock: from just before `commit.finish` (all files and their manifest are stored by then)
to the moment that the coordinator writes the job down as ended: listing, enqueueing, running,
durable outcomes, the output commit. Outside: the start of services and workers, storing the input.
The steady pace is taken from the moments that the outcomes themselves tell.
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

from bench import figures, processes
from trunkline.client import client as clients
from trunkline.contracts import api, errors, records
from trunkline.contracts.messages import File, Outcome
from trunkline.contracts.states import JobState
from trunkline.local import pool_wire
from trunkline.local import stack as stacks
from trunkline.storage import manifests

WORKERS = 2
POLL_S = 0.05

During = Callable[["Bench", records.Job], Awaitable[None]]
"""What else happens while a job runs, such as a kill."""


class WrongResultError(Exception):
    """A run ended, but not as it must; its time means nothing."""


@dataclass(frozen=True)
class Ended:
    """A job that has ended, with all its outcomes, and what it cost."""

    job: records.Job
    outcomes: Sequence[Outcome]
    began_ns: int
    cpu_s: float
    rss_bytes: int

    @property
    def seconds(self) -> float:
        """From the commit to SUCCESS."""
        return (self.job.ended_ns - self.began_ns) / 1e9

    @property
    def moments(self) -> list[float]:
        """When outcomes were made, in seconds after the commit, in order of time."""
        return sorted((each.ended_ns - self.began_ns) / 1e9 for each in self.outcomes)

    def run(
        self,
        workload: str,
        system: str = "trunkline",
        *,
        further: Mapping[str, float] | None = None,
    ) -> figures.Run:
        """Return the figures."""
        moments, count = self.moments, len(self.outcomes)
        samples = [(moment, number + 1) for number, moment in enumerate(moments)]
        # Time to the first outcome and from the last one: what the ends of a job cost.
        ends = {"first outcome s": moments[0], "last outcome to end s": self.seconds - moments[-1]}
        return figures.Run(
            workload=workload,
            system=system,
            count=count,
            seconds=self.seconds,
            cpu_s=self.cpu_s,
            rss_bytes=self.rss_bytes,
            steady_s=figures.steady_seconds(samples, count),
            extra={**ends, **(further or {})},
        )


class Bench:
    """A running installation with one pipeline and its workers."""

    def __init__(self, stack: stacks.Stack, client: clients.Client, pipeline: str) -> None:
        self.stack, self.client, self.pipeline = stack, client, pipeline

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
        before, began = processes.usage(), time.time_ns()
        await self.client.call("commit.finish", request, records.Commit)
        if during is None:
            job = await self.ended(request.id)
        else:
            await during(self, await self._job(request.id))
            job = await self.ended(request.id)
        after, own = processes.usage(), processes.peak(os.getpid())
        views = [view async for view in self.client.datums(self.pipeline, request.id)]
        outcomes = [view.outcome for view in views if view.outcome is not None]
        _check(job, views, outcomes, len(files))
        return Ended(job, outcomes, began, after.cpu_s - before.cpu_s, after.rss_bytes - own)

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
    transform: Mapping[str, Any], *, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Bench]:
    """Run an installation with one pipeline over the repo `in`; leave nothing behind."""
    home = Path(tempfile.mkdtemp(prefix="tl-"))
    spec = {
        "pipeline": {"name": "out"},
        "transform": dict(transform),
        "parallelism_spec": {"constant": WORKERS},
        "input": {"pfs": {"repo": "in", "glob": "/*"}},
    }
    try:
        async with (
            stacks.running(home, nodes=WORKERS, port=0, settings=settings or {}) as stack,
            clients.connect(stack.url, stack.store) as client,
        ):
            await client.call("repo.create", api.RepoCreate(name="in"), records.Repo)
            await client.call("pipeline.apply", msgspec.json.encode(spec), records.Pipeline)
            bench = Bench(stack, client, "out")
            await bench.ready()
            yield bench
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def agent(bench: Bench) -> int:
    """Return the process id of a worker's agent."""
    with pool_wire.address(bench.stack.home.root / "pool.sock") as address:
        reader, writer = await asyncio.open_unix_connection(address)
    writer.write(msgspec.json.encode(pool_wire.List(id=1)) + b"\n")
    answer = msgspec.json.decode(await reader.readline(), type=pool_wire.Answer)
    writer.close()
    return answer.workers[0].pid


def _check(
    job: records.Job, views: Sequence[api.DatumView], outcomes: Sequence[Outcome], count: int
) -> None:
    if job.state is not JobState.SUCCESS:
        told = f"{job.state}: {job.reason}"
        raise WrongResultError(told)
    if [each.index for each in views] != list(range(count)) or len(outcomes) != count:
        told = f"{len(outcomes)} outcomes of {count} datums"
        raise WrongResultError(told)
    if job.counts.processed + job.counts.recovered != count:
        told = f"{job.counts} of {count} datums"
        raise WrongResultError(told)
