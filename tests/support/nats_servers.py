"""The three NATS servers of an installation, with what tests of their faults ask of them."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.installation import Installation, until

from trunkline.bus import topology
from trunkline.bus.connection import NatsConnection, connect
from trunkline.contracts import api, errors, subjects
from trunkline.contracts.wards import Wards
from trunkline.local.server_files import Credentials, Files

NUMBERS = (1, 2, 3)


class Servers:
    """See `watched`. A server is known by its number, and to the others as `nats-<number>`."""

    def __init__(self, here: Installation, ctl: NatsConnection, data: NatsConnection) -> None:
        self._here, self.ctl, self.data = here, ctl, data

    async def leader(self, stream: str) -> int:
        """Return which one leads a stream of the account DATA."""

        async def look() -> int | None:
            cluster = (await self._info(self.data, stream) or {}).get("cluster", {})
            name = str(cluster.get("leader", ""))
            return int(name[-1]) if name else None

        return await until(look, what=f"a leader of {stream}")

    def meta_leader(self) -> int:
        """Return which one leads the cluster, by what they have logged last of it."""
        lines = [
            (line.partition("] ")[2], int(log.stem[-1]))  # what is left begins with the time
            for log in (self._here.home / "logs").glob("nats-server-*.log")
            for line in log.read_text(errors="replace").splitlines()
            if "Self is new JetStream cluster metadata leader" in line
        ]
        _, number = max(lines)
        return number

    def kill(self, number: int, how: signal.Signals = signal.SIGKILL) -> None:
        self._here.stack.kill(_name(number), how)

    async def restarted(self, number: int, after: int) -> None:
        await self._here.stack.restarted(_name(number), after=after)

    def starts(self, number: int) -> int:
        count: int = self._here.stack.starts(_name(number))
        return count

    async def restart(self, number: int, how: signal.Signals = signal.SIGTERM) -> None:
        """End one; return once it is there again and has all that it must have."""
        after = self.starts(number)
        self.kill(number, how)
        await self.restarted(number, after)
        await self.whole()

    async def whole(self) -> None:
        """Return once every stream has a leader and all its copies are up to date."""
        await until(self._whole, what="all copies of all streams")

    async def _whole(self) -> bool:
        ctl = [
            *(each.name for each in topology.CTL_STREAMS),
            *(subjects.bucket_stream(each.name) for each in topology.CTL_BUCKETS),
        ]
        pipelines = [
            each.pipeline.name
            async for each in self._here.client.every("pipeline.list", api.PipelineView)
        ]
        data = [
            *(each.name for each in topology.DATA_STREAMS),
            *(subjects.datums_stream(each) for each in pipelines),
        ]
        asked = [*((self.ctl, each) for each in ctl), *((self.data, each) for each in data)]
        found = await asyncio.gather(*(self._info(*each) for each in asked))
        return all(each is not None and _current(each) for each in found)

    async def _info(self, connection: NatsConnection, stream: str) -> dict[str, Any] | None:
        try:
            return await connection.js_api(f"STREAM.INFO.{stream}")
        except errors.TrunklineError:
            return None


@asynccontextmanager
async def watched(here: Installation) -> AsyncIterator[Servers]:
    """Yield the servers, once they are all in step."""
    made = Files(here.home / "nats").read()
    assert made is not None
    async with (
        connect(made.url("coordinator"), name="test", inbox=subjects.COORDINATOR_INBOX) as ctl,
        _data(made) as data,
    ):
        servers = Servers(here, ctl, data)
        await servers.whole()
        yield servers


def _data(made: Credentials) -> Any:
    return connect(
        made.url("coordinator-data"),
        name="test-data",
        inbox=subjects.COORDINATOR_INBOX,
        api=subjects.data_api(Wards(made.data_key)),
    )


def _current(stream: dict[str, Any]) -> bool:
    cluster = stream.get("cluster", {})
    replicas = cluster.get("replicas") or []
    return bool(cluster.get("leader")) and all(
        each.get("current") and not each.get("offline") for each in replicas
    )


def _name(number: int) -> str:
    return f"nats-server-{number}"
