"""JetStream's own figures, under the names of its stock exporter, so that dashboards made for that work here.

A NATS server has no `/metrics`, and its exporter is another process with another configuration; what it would
say of our streams the leading coordinator can ask. It does so only while somebody scrapes: a scrape shows what
the last look has found, and asks for the next one, at most every EVERY_S.

What is asked for is bounded: our own streams (some twenty), and the queues of the QUEUES pipelines that have the
oldest jobs at work. The consumers of a pipeline's jobs are shown as one, named `jobs`: their own names are those of
jobs, of which there are more the longer an installation lives. Half a millisecond for each; nothing of it is waited
for by anybody.

How old the oldest datum is that waits is found of all pipelines: of those past these the same number at a time, in
turn. One scrape has as many looks follow as that takes, so with 1,000 pipelines at work each is looked at once in 100 s,
with 10,000 in 17 minutes. Until then an age goes on from what was found last; of a pipeline that was not looked at yet
none is shown, and how many these are is a figure of its own.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter

from trunkline.bus import looking, topology
from trunkline.bus.connection import NatsConnection
from trunkline.bus.looking import ConsumerLook, StreamLook
from trunkline.contracts import errors, records, subjects
from trunkline.contracts.states import JobState
from trunkline.contracts.wards import Wards
from trunkline.coordinator.core.rota import Rota
from trunkline.runtime import metric_names as names
from trunkline.runtime.clock import Clock
from trunkline.runtime.metrics import Metric, Pipelines, Sample

log = logging.getLogger(__name__)

EVERY_S = 5.0
"""Seconds between two looks at least."""
QUEUES = 50
"""Pipelines whose queues are shown, and as many that are looked at in turn: 50 jobs take some 75 requests, 40 ms of
the server's time."""
JOBS = 10
"""Jobs of each of these, the oldest first."""

_AT_WORK = (JobState.LISTING, JobState.RUNNING)
_OURS = {
    "CTL": (
        *(each.name for each in topology.CTL_STREAMS),
        *(subjects.bucket_stream(each.name) for each in topology.CTL_BUCKETS),
    ),
    "DATA": tuple(each.name for each in topology.DATA_STREAMS),
}
_OF_STREAMS: tuple[tuple[Metric, Callable[[StreamLook], int]], ...] = (
    (names.STREAM_MESSAGES, attrgetter("messages")),
    (names.STREAM_BYTES, attrgetter("bytes")),
    (names.STREAM_FIRST, attrgetter("first")),
    (names.STREAM_LAST, attrgetter("last")),
    (names.STREAM_CONSUMERS, attrgetter("consumers")),
    (names.STREAM_SUBJECTS, attrgetter("subjects")),
)
_SUMMED: tuple[tuple[Metric, Callable[[ConsumerLook], int]], ...] = (
    (names.CONSUMER_PENDING, attrgetter("pending")),
    (names.CONSUMER_ACK_PENDING, attrgetter("ack_pending")),
    (names.CONSUMER_REDELIVERED, attrgetter("redelivered")),
    (names.CONSUMER_WAITING, attrgetter("waiting")),
    (names.CONSUMER_DELIVERED, attrgetter("delivered")),
    (names.CONSUMER_ACK_FLOOR, attrgetter("ack_floor")),
)
_NEWEST: tuple[tuple[Metric, Callable[[ConsumerLook], int]], ...] = (
    (names.CONSUMER_DELIVERED_STREAM, attrgetter("delivered_stream")),
    (names.CONSUMER_ACK_FLOOR_STREAM, attrgetter("ack_floor_stream")),
)


class Streams:
    """See the module; a source. `run` it once.

    Args:
        ctl: In CTL.
        data: In DATA.
        wards: For the subjects of datums.
        jobs: Gives the jobs that are not settled.
        pipelines: Which are named.
        clock: For ages.
    """

    def __init__(
        self,
        ctl: NatsConnection,
        data: NatsConnection,
        wards: Wards,
        jobs: Callable[[], Sequence[records.Job]],
        pipelines: Pipelines,
        clock: Clock,
    ) -> None:
        self._by_account = {"CTL": ctl, "DATA": data}
        self._wards, self._jobs, self._pipelines, self._clock = wards, jobs, pipelines, clock
        self._asked = asyncio.Event()
        self._found: list[Sample] = []
        self._oldest: dict[str, int] = {}
        """Pipeline -> when the oldest datum that nobody has received was stored, wall clock of the server; 0: none
        waits."""
        self._rota = Rota()
        self._others = 0
        """Pipelines at work whose queues are not shown."""
        self._unseen = 0

    def __call__(self) -> Iterator[Sample]:
        """Yield what the last look has found; have another one made."""
        self._asked.set()
        yield from self._found
        yield names.QUEUES_UNSEEN, (), self._unseen
        oldest: dict[str, int] = {}
        # thousands, of which few have a name of their own
        for pipeline, at_ns in self._oldest.items():
            name = self._pipelines.name(pipeline)
            oldest[name] = _older(oldest.get(name, 0), at_ns)
        now_ns = self._clock.wall_ns()
        for name, at_ns in oldest.items():
            age_s = max(0.0, (now_ns - at_ns) / 1e9) if at_ns else 0.0
            yield names.OLDEST_PENDING, (name,), age_s

    async def run(self) -> None:
        """Look when somebody has asked, for ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            for _ in range(max(1, math.ceil(self._others / QUEUES))):
                try:
                    await self._look()
                except errors.TrunklineError as error:
                    log.debug("streams not looked at", extra={"reason": str(error)})
                await asyncio.sleep(EVERY_S)

    async def _look(self) -> None:
        found: list[Sample] = []
        for account, streams in _OURS.items():
            for each in streams:
                found += await self._stream(account, each)
        jobs = self._jobs()
        at_work = _at_work(jobs)
        shown = list(at_work)[:QUEUES]
        others = list(at_work)[QUEUES:]
        oldest: dict[str, int] = {}
        for pipeline in shown:
            stream = subjects.datums_stream(pipeline)
            found += await self._stream("DATA", stream)
            looks, oldest[pipeline] = await self._queue(pipeline, at_work[pipeline])
            found += _consumers(stream, looks)
        for pipeline in self._rota.next(others, QUEUES):
            _, oldest[pipeline] = await self._queue(pipeline, at_work[pipeline])
        self._found, self._others = found, len(others)
        unsettled = {job.pipeline for job in jobs}
        for pipeline, at_ns in self._oldest.items():
            if pipeline in unsettled:
                oldest.setdefault(pipeline, at_ns if pipeline in at_work else 0)
        self._oldest = oldest
        self._unseen = sum(each not in oldest for each in others)

    async def _queue(self, pipeline: str, jobs: Sequence[str]) -> tuple[list[ConsumerLook], int]:
        """Return what there is of jobs' consumers, and when the oldest datum was stored that waits; 0: none."""
        looks: list[ConsumerLook] = []
        oldest_ns = 0
        for job in jobs:
            look = await looking.job_consumer(self._by_account["DATA"], pipeline, job)
            if look is not None:
                looks.append(look)
                at_ns = await self._waits_since(pipeline, job, look)
                oldest_ns = _older(oldest_ns, at_ns)
        return looks, oldest_ns

    async def _stream(self, account: str, name: str) -> list[Sample]:
        look = await looking.stream(self._by_account[account], name)
        if look is None:
            return []
        return [(metric, (account, name), of(look)) for metric, of in _OF_STREAMS]

    async def _waits_since(self, pipeline: str, job: str, look: ConsumerLook) -> int:
        """Return when the job's oldest datum was stored that nobody has received; 0: there is none."""
        if not look.pending:
            return 0
        data, stream = self._by_account["DATA"], subjects.datums_stream(pipeline)
        subject = subjects.datums(self._wards.of(pipeline), job)
        return await looking.stored_ns(data, stream, subject, look.delivered_stream) or 0


def _older(one_ns: int, other_ns: int) -> int:
    """Return the earlier of two times, of which 0 is none."""
    return min(one_ns, other_ns) if one_ns and other_ns else one_ns or other_ns


def _at_work(jobs: Iterable[records.Job]) -> dict[str, list[str]]:
    """Return the jobs that have datums in queues, by pipeline: so many of each as are looked at."""
    found: dict[str, list[str]] = {}
    for job in jobs:
        if job.state in _AT_WORK:
            of_pipeline = found.setdefault(job.pipeline, [])
            if len(of_pipeline) < JOBS:
                of_pipeline.append(job.id)
    return found


def _consumers(stream: str, looks: Sequence[ConsumerLook]) -> list[Sample]:
    labels = ("DATA", stream, "jobs")
    summed: list[Sample] = [(metric, labels, sum(map(of, looks))) for metric, of in _SUMMED]
    return summed + [(metric, labels, max(map(of, looks), default=0)) for metric, of in _NEWEST]
