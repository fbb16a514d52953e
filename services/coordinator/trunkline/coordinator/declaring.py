"""Keeps streams and buckets there: declared at the start, and made again when somebody has deleted them.

    round --> which are there? (a request to each account) --> missing ones are made --> told as an event

All of it looks at what is there, and may be repeated. What was in a stream that is made again:

- *a bucket*: what this process knows of it is put back, at revisions above all that were there: so
  who holds a revision of before is refused and looks again, and who follows the bucket sees changes. Of
  buckets that are not held in memory (commits, done indexes, nodes), and of jobs that were forgotten
  there, what was in them is lost, and so it is all where this process dies before it is through;
- *outcomes*: lost. Jobs that are under way are taken up anew from their records, find datums without an
  outcome, and put them back (see `repair`); one that was merging already goes on with what it has
  gathered;
- *datums*: lost, and put back in the same way, with their job's consumer;
- *attempts*: tries are counted anew. *Assignments* are published again, *claims* come by themselves
  within seconds. *Logs* and *events* are history.

One of three servers that keeps streams in memory has them again when it is started again, and nothing in them: none
is missing then. So where memory is what was stated, each stream's last sequence is looked at, too: one that has gone
back was emptied. Its bucket's records are put back at revisions from 1 on, and all else follows as above.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trunkline.bus import topology
from trunkline.bus.connection import NatsConnection
from trunkline.contracts import subjects
from trunkline.contracts.durability import Durability
from trunkline.contracts.wording import counted
from trunkline.coordinator.assignments import Assignments
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.core import pipelines as core
from trunkline.coordinator.events import Events
from trunkline.coordinator.mirror import Mirror
from trunkline.coordinator.pipelines import Pipelines

log = logging.getLogger(__name__)

LOOK_S = 5.0
"""Seconds between looks while all goes well: a request to each account."""

_LOST: Mapping[str, str] = {
    subjects.OUTCOMES_STREAM: "datums of jobs under way are worked on again",
    subjects.ATTEMPTS_STREAM: "tries are counted anew",
    subjects.LOGS_STREAM: "what commands had printed is gone",
    subjects.EVENTS_STREAM: "the events of before are gone",
    subjects.WORKER_EVENTS_STREAM: "the workers' events of before are gone",
    subjects.COMMANDS_STREAM: "specs that were published and not taken yet are gone",
    subjects.bucket_stream(subjects.COMMITS): "the commits of before cannot be read any more",
    subjects.bucket_stream(subjects.DONE): "what was done before is not skipped any more",
}
"""What the loss of a stream means."""


class Declaring:
    """See the module.

    Args:
        ctl: The connection in CTL.
        data: The one in DATA.
        catalog: What is known of the buckets.
        pipelines: Makes the work queues.
        assignments: Told again when they are lost.
        events: Where it is told.
        level: How streams are to be kept.
        logs: How much of what commands have printed.
        outcomes_lost: Called when the outcome stream was made again.
    """

    def __init__(
        self,
        ctl: NatsConnection,
        data: NatsConnection,
        catalog: Catalog,
        pipelines: Pipelines,
        assignments: Assignments,
        events: Events,
        level: Durability,
        logs: topology.Kept,
        *,
        outcomes_lost: Callable[[], None],
    ) -> None:
        self._ctl, self._data, self._catalog = ctl, data, catalog
        self._pipelines, self._assignments, self._events = pipelines, assignments, events
        self._level, self._logs, self._outcomes_lost = level, logs, outcomes_lost
        self.problems: Sequence[str] = ()
        """What is not as it was stated, in sentences for people."""
        self._declared = False
        self._looked_at = 0.0
        self._last: dict[str, int] = {}
        """Of each stream in memory the last sequence that was seen."""
        self._complete = False
        """Whether everything was there once: only then what is missing was deleted."""

    @property
    def declared(self) -> bool:
        """Whether all is there as it is declared, as far as is known."""
        return self._declared

    @property
    def due(self) -> bool:
        """Whether it is time to look again."""
        return asyncio.get_running_loop().time() - self._looked_at >= LOOK_S

    def doubt(self) -> None:
        """Declare everything anew in the next round: the server may be another one."""
        self._declared = False

    async def look(self) -> None:
        """Make everything be there."""
        ctl, data = await topology.names(self._ctl), await topology.names(self._data)
        missing = [
            *(each.name for each in topology.CTL_STREAMS if each.name not in ctl),
            *(each.name for each in topology.DATA_STREAMS if each.name not in data),
        ]
        for bucket in topology.CTL_BUCKETS:
            if subjects.bucket_stream(bucket.name) not in ctl:
                await self._make(bucket)
        if missing or not self._declared:
            made = await topology.declare_ctl(self._ctl, self._level)
            made += await topology.declare_data(self._data, self._level, self._logs)
            self._judge(made)
            self._declared = True
        await topology.declare_commands(self._ctl)
        missing += await self._emptied()
        if self._complete:
            for stream in missing:
                await self._remade(stream)
            self._pipelines.doubt_missing(data)
        self._complete = True
        self._looked_at = asyncio.get_running_loop().time()

    async def _emptied(self) -> list[str]:
        """Return which streams have lost what they had in memory; the records of buckets are put back."""
        if self._level is not Durability.MEMORY:
            return []
        buckets = {subjects.bucket_stream(each.name): each.name for each in topology.CTL_BUCKETS}
        emptied = [
            *[e for e in buckets if await self._gone_back(self._ctl, e, self._known(buckets[e]))],
            *[e.name for e in topology.CTL_STREAMS if await self._gone_back(self._ctl, e.name)],
            *[e.name for e in topology.DATA_STREAMS if await self._gone_back(self._data, e.name)],
        ]
        for stream in emptied:
            mirror = self._mirrors.get(buckets.get(stream, ""))
            if mirror is not None:
                await mirror.put_back()
        return emptied

    def _known(self, bucket: str) -> int:
        """Return how far it has counted, by what is in memory: it may be emptied before the second look."""
        mirror = self._mirrors.get(bucket)
        return 0 if mirror is None else mirror.newest

    async def _gone_back(self, connection: NatsConnection, stream: str, known: int = 0) -> bool:
        before = max(known, self._last.get(stream, 0))
        info = await connection.js_api(f"STREAM.INFO.{stream}")
        self._last[stream] = last = info["state"]["last_seq"]
        return bool(last < before)

    def _judge(self, made: Sequence[Mapping[str, Any]]) -> None:
        short = {
            each["name"]: why
            for each in made
            if (why := self._level.shortfall(each["storage"], each["num_replicas"]))
        }
        self.problems = [
            f"streams do not survive what {self._level.value} promises: {name}: {why}"
            f"{f' (and {len(short) - 1} more)' if len(short) > 1 else ''}"
            for name, why in list(short.items())[:1]
        ]

    async def _make(self, bucket: topology.Bucket) -> None:
        """Make a bucket, with what is known of it."""
        mirror = self._mirrors.get(bucket.name)

        async def make(first: int) -> None:
            await topology.declare_bucket(self._ctl, bucket, self._level, first=first)

        kept = ""
        if mirror is None:
            await make(1)
        else:
            kept = f"{counted(await mirror.restore(make), 'record')} put back"
        if self._complete:
            await self._tell(subjects.bucket_stream(bucket.name), kept)

    @property
    def _mirrors(self) -> Mapping[str, Mirror[Any]]:
        catalog = self._catalog
        return {
            subjects.PIPELINES: catalog.pipelines,
            subjects.REPOS: catalog.repos,
            subjects.BRANCHES: catalog.branches,
            subjects.JOBS: catalog.jobs.mirror,
            subjects.SCALING: catalog.scaling,
        }

    async def _remade(self, stream: str) -> None:
        """Do what follows from the loss of what was in a stream."""
        match stream:
            case subjects.OUTCOMES_STREAM:
                self._outcomes_lost()
            case subjects.ASSIGNMENTS_STREAM:
                self._assignments.forget_all()
                self._pipelines.doubt_all()
            case subjects.COMMANDS_STREAM:
                await self._pipelines.forget_commands(above=0)
            case _:
                pass
        await self._tell(stream, "")

    async def _tell(self, stream: str, kept: str) -> None:
        told = "; ".join(each for each in (kept, _LOST.get(stream, "")) if each)
        text = f"{stream} was gone, and is made again" + (f": {told}" if told else "")
        log.error("stream was gone", extra={"stream": stream, "what_is_lost": told})
        await self._events.mention("remade", core.UNNAMED, text)
