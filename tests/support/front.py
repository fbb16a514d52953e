"""A user's plain connection to a coordinator on a real nats-server and a file store."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import nats
from nats.aio.client import Client as Nats
from tests.support.nats import TestServer
from tests.support.wards import DATA_KEY

from trunkline.contracts import api, messages, records
from trunkline.coordinator import assembly
from trunkline.coordinator.settings import Settings
from trunkline.storage import manifests
from trunkline.storage.store import Store, open_store

T = TypeVar("T")


class Front:
    """A user's plain connection, and the coordinator that may be stopped and started."""

    def __init__(self, server: TestServer, user: Nats, store_url: str) -> None:
        self.server, self.user, self.store_url = server, user, store_url
        self.store: Store = open_store(store_url)

    @asynccontextmanager
    async def coordinator(self, **changes: Any) -> AsyncIterator[None]:
        """Run a coordinator inside; leaving is as sudden as a cancellation can be."""
        settings = Settings(
            ctl_url=self.server.url("coordinator"),
            data_url=self.server.url("coordinator-data"),
            data_key=DATA_KEY,
            store=self.store_url,
            **{"resync_s": 2.0, **changes},
        )
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(assembly.serve(settings), name="coordinator")
            try:
                yield
            finally:
                running.cancel()

    async def ask(
        self, verb: str, body: Any = None, *, try_s: float = 2.0, within_s: float = 20.0
    ) -> api.Reply:
        data = (
            body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        )
        async with asyncio.timeout(within_s):
            while True:  # a request to a coordinator that is just going is lost
                with contextlib.suppress(nats.errors.NoRespondersError, nats.errors.TimeoutError):
                    answer = await self.user.request(f"trunkline.api.{verb}", data, timeout=try_s)
                    return msgspec.json.decode(answer.data, type=api.Reply)
                await asyncio.sleep(0.02)

    async def get(self, verb: str, kind: type[T], body: Any = None) -> T:
        reply = await self.ask(verb, body)
        assert reply.ok, reply
        return msgspec.json.decode(reply.result, type=kind)

    async def commit(self, repo: str, *paths: str, parent: str = "", branch: str = "master") -> str:
        """Commit some empty files as a client does; return the commit's id."""
        identifier = secrets.token_hex(16)
        written = await self.manifest(*paths)
        body = {
            "repo": repo,
            "branch": branch,
            "id": identifier,
            "parent": parent,
            "manifest": written.manifest,
            "files": written.files,
            "size": written.size,
        }
        made = await self.get("commit.finish", records.Commit, body)
        assert made.id == identifier
        return identifier

    async def manifest(self, *paths: str) -> manifests.Written:
        nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        files = [messages.File(path=path, size=0, sha256=nothing) for path in sorted(paths)]
        return await manifests.write(self.store, files)

    async def pipelines(self) -> dict[str, records.Pipeline]:
        found = await self.get("pipeline.list", list[api.PipelineView])
        return {each.pipeline.name: each.pipeline for each in found}

    async def jobs(self, pipeline: str = "") -> list[records.Job]:
        return await self.get("job.list", list[records.Job], {"key": pipeline})

    async def events(self, pipeline: str = "") -> list[messages.Event]:
        return await self.get("event.list", list[messages.Event], {"key": pipeline, "limit": 500})


@asynccontextmanager
async def connected(server: TestServer, folder: Path) -> AsyncIterator[Front]:
    """Give a front with a store of its own."""
    # it keeps a request for a server that is away: it must be back before that is asked again
    user = await nats.connect(server.url("user"), reconnect_time_wait=0)
    try:
        yield Front(server, user, f"file://{folder}/store")
    finally:
        await user.close()


def a_spec(name: str, reads: str, **more: Any) -> dict[str, Any]:
    return {
        "pipeline": {"name": name},
        "transform": {"cmd": ["cp", "-r", f"/pfs/{reads}", "/pfs/out"]},
        "input": {"pfs": {"repo": reads, "glob": "/*"}},
        **more,
    }


async def until(look: Callable[[], Awaitable[T]], condition: Callable[[T], object]) -> T:
    async with asyncio.timeout(20):
        while True:
            found = await look()
            if condition(found):
                return found
            await asyncio.sleep(0.02)


async def jobs_are(front: Front, *expected: tuple[str, str]) -> list[records.Job]:
    found = await front.jobs()
    assert sorted((each.pipeline, each.id) for each in found) == sorted(expected)
    return found
