"""A whole installation in a directory of its own, with what system tests ask of it."""

import asyncio
import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from trunkline.client import client as clients
from trunkline.client import files
from trunkline.contracts import api, attempts, errors, records
from trunkline.contracts.states import JobState
from trunkline.local import pool_wire
from trunkline.local import stack as stacks
from trunkline.runtime.clock import SystemClock

T = TypeVar("T")

__all__ = ["Installation", "SystemClock", "api", "files", "hashlib", "records", "running", "until"]


class Installation:
    """A running installation and a client of it."""

    def __init__(self, home: Path, stack: Any, client: clients.Client) -> None:
        self.home, self.stack, self.client = home, stack, client

    async def repo(self, name: str) -> None:
        await self.client.call("repo.create", api.RepoCreate(name=name), records.Repo)

    async def put(self, repo: str, contents: Mapping[str, bytes], branch: str = "master") -> str:
        """Commit these files; return the commit's id, which is also the job set's."""
        with tempfile.TemporaryDirectory() as folder:
            for path, data in contents.items():
                target = Path(folder) / path.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            commit = await files.put(self.client, repo, branch, Path(folder))
        return commit.id

    async def apply(self, spec: Mapping[str, Any]) -> records.Pipeline:
        return await self.client.call("pipeline.apply", msgspec.json.encode(spec), records.Pipeline)

    async def nodes(self, count: int) -> None:
        await self.client.call("nodes.set", api.NodesSet(count=count), records.Nodes)

    async def job(self, pipeline: str, identifier: str) -> records.Job:
        return await self.client.call(
            "job.get", api.JobNamed(pipeline=pipeline, id=identifier), records.Job
        )

    async def jobs(self, pipeline: str) -> list[records.Job]:
        return [each async for each in self.client.every("job.list", records.Job, key=pipeline)]

    async def ended(
        self, pipeline: str, identifier: str, *, within_s: float = 60, compacted: bool = False
    ) -> records.Job:
        """Return the job once it has ended, whatever services or servers are lost meanwhile."""

        async def look() -> records.Job | None:
            with contextlib.suppress(errors.RequestRefusedError, errors.UnavailableError):
                job = await self.job(pipeline, identifier)
                if job.state.ended and (job.compacted or not compacted):
                    return job
            return None

        return await until(look, within_s=within_s, what=f"the end of {pipeline}@{identifier[:8]}")

    async def succeeded(
        self, pipeline: str, identifier: str, *, within_s: float = 60
    ) -> records.Job:
        job = await self.ended(pipeline, identifier, within_s=within_s)
        assert job.state is JobState.SUCCESS, f"{job.state}: {job.reason}"
        return job

    async def attempts(self, pipeline: str, identifier: str) -> list[attempts.Attempt]:
        """Return all recorded attempts at a job's datums."""
        return [
            each
            for view in await self.datums(pipeline, identifier)
            if view.outcome is not None
            for each in view.outcome.history
        ]

    async def datums(self, pipeline: str, identifier: str) -> list[api.DatumView]:
        return [each async for each in self.client.datums(pipeline, identifier)]

    async def listed(self, pipeline: str, identifier: str, count: int) -> records.Job:
        """Return the job once this many of its datums have an outcome."""

        async def look() -> records.Job | None:
            with contextlib.suppress(errors.RequestRefusedError):
                job = await self.job(pipeline, identifier)
                done = job.counts
                if done.processed + done.skipped + done.failed + done.quarantined >= count:
                    return job
            return None

        return await until(look, what=f"{count} outcomes of {pipeline}")

    async def content(self, repo: str, ref: str = "master") -> dict[str, str]:
        """Return path -> sha256 of all files of a commit, read back from the store and hashed."""
        found: dict[str, str] = {}
        async for file in files.ls(self.client, repo, ref):
            digest = hashlib.sha256()
            async for piece in self.client.store.read(file):
                digest.update(piece)
            assert digest.hexdigest() == file.sha256
            found[file.path] = file.sha256
        return found

    async def seen(self, pipeline: str) -> records.Scaling:
        """Return what the scaler says of a pipeline, once it says anything."""
        return await until(lambda: self.scaling(pipeline), what=f"workers of {pipeline}")

    async def scaling(self, pipeline: str) -> records.Scaling | None:
        found = [
            each async for each in self.client.every("worker.list", records.Scaling, key=pipeline)
        ]
        return found[0] if found else None

    async def workers(self, pipeline: str, count: int, *, within_s: float = 20) -> records.Scaling:
        """Return the scaling record once exactly this many workers are ready and none drains."""

        async def look() -> records.Scaling | None:
            scaling = await self.scaling(pipeline)
            if scaling is None or scaling.ready != count or scaling.have != count:
                return None
            return scaling

        return await until(look, within_s=within_s, what=f"{count} workers of {pipeline}")

    async def pulling(self, pipeline: str, count: int) -> records.Scaling:
        """Return the scaling record once this many workers have asked for work."""

        async def look() -> records.Scaling | None:
            scaling = await self.seen(pipeline)
            asked = [each for each in scaling.workers if each.pulled_ns]
            return scaling if scaling.have == len(asked) == count else None

        return await until(look, what=f"{count} workers of {pipeline} that pull")

    async def pids(self) -> dict[str, int]:
        """Return the process id of each worker's agent."""
        with pool_wire.address(self.home / "pool.sock") as address:
            reader, writer = await asyncio.open_unix_connection(address)
        try:
            writer.write(msgspec.json.encode(pool_wire.List(id=1)) + b"\n")
            answer = msgspec.json.decode(await reader.readline(), type=pool_wire.Answer)
        finally:
            writer.close()
            await writer.wait_closed()
        return {each.name: each.pid for each in answer.workers}

    async def runs(self, pipeline: str, job: str) -> records.WorkerView:
        """Return a worker once it runs a datum of this job; its command has to wait for something."""

        async def look() -> records.WorkerView | None:
            scaling = await self.scaling(pipeline)
            found = [each for each in scaling.workers if each.job == job] if scaling else []
            return found[0] if found else None

        return await until(look, what=f"a worker that runs a datum of {pipeline}@{job}")

    async def kill_worker(self, name: str) -> None:
        os.kill((await self.pids())[name], signal.SIGKILL)


async def until(look: Callable[[], Awaitable[T | None]], *, what: str, within_s: float = 60) -> T:
    """Return what `look` finds, asking again until it is something, or fail naming it."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                found = await look()
                if found:
                    return found
                await asyncio.sleep(0.05)
    except TimeoutError:
        told = f"{what} did not come within {within_s} s"
        raise AssertionError(told) from None


@asynccontextmanager
async def running(
    *,
    nodes: int = 2,
    servers: int | None = None,
    store: str | None = None,
    settings: Mapping[str, str] | None = None,
    front: stacks.Front | None = None,
    standbys: bool = False,
    disk: Callable[[Path], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> AsyncIterator[Installation]:
    """Start an installation; print its logs' ends if the test fails; leave nothing behind.

    Whatever a test does with it: nothing that any role did may have been refused to it. `disk` makes the
    file system of the state directory, if it is to be another one.
    """
    # Unix sockets hold some 100 characters of path, so the folder is not below pytest's own.
    home = Path(tempfile.mkdtemp(prefix="tl-"))
    try:
        async with (
            _entered(disk(home)),
            stacks.running(
                home,
                nodes=nodes,
                port=0,
                servers=servers,
                store=store,
                settings=settings or {},
                front=front,
                standbys=standbys,
            ) as stack,
            clients.connect(stack.url, stack.store) as client,
        ):
            try:
                yield Installation(home, stack, client)
                _nothing_was_refused(home)
            except BaseException:
                print(last_words(home))
                raise
    finally:
        shutil.rmtree(home, ignore_errors=True)


@asynccontextmanager
async def _entered(manager: AbstractContextManager[None]) -> AsyncIterator[None]:
    with manager:
        yield


def identifier() -> str:
    return secrets.token_hex(16)


def _nothing_was_refused(home: Path) -> None:
    """Assert that the servers have counted no violation, of whomever."""
    logs = list((home / "logs").glob("nats-server*.log"))
    assert logs
    for log in logs:
        text = log.read_text(errors="replace")
        assert "Server is ready" in text
        assert [line for line in text.splitlines() if "violation" in line.lower()] == []


def last_words(home: Path) -> str:
    """Return the ends of an installation's logs."""
    told: list[str] = []
    for log in sorted((home / "logs").rglob("*.log")):
        lines = log.read_text(errors="replace").splitlines()[-40:]
        if lines:
            told += (f"--- {log.relative_to(home)}", *lines)
    return "\n".join(told)
