"""A coordinator that dies at any instant of a verb on a pipeline, and its successor.

Each write has a point after it (`support.Faults`). A story is told once without a fault, to count the
points, and then again for each point: the process dies there, another one is made from nothing, the client
repeats its request, and what is stored then must be what the undisturbed run has stored.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
import pytest
from tests.support.crash_points import CrashError, Faults
from tests.support.jobs import CLOCK, with_changed
from tests.support.nats import TestServer
from tests.support.wards import WARDS

from trunkline.bus import jetstream
from trunkline.bus.connection import NatsConnection
from trunkline.bus.publishing import Window
from trunkline.contracts import api, records, spec, subjects
from trunkline.contracts.states import JobState
from trunkline.coordinator.assignments import Assignments
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.conduct import Conduct
from trunkline.coordinator.deleting import Deleting
from trunkline.coordinator.events import Events
from trunkline.coordinator.jobsets import JobSets
from trunkline.coordinator.pipelines import Pipelines
from trunkline.coordinator.repos import Repos
from trunkline.coordinator.tables import Tables, tables_of

_ID = re.compile("[0-9a-f]{32}")
X, Y = "1" * 32, "2" * 32
WRITES = ("create", "update", "put", "delete")
BUCKETS = ("pipelines", "repos", "branches", "commits", "jobs", "done")


class Process:
    """The half of a coordinator that decides about pipelines and makes jobs; nobody runs them."""

    def __init__(self, ctl: NatsConnection, data: NatsConnection, faults: Faults) -> None:
        plain = tables_of(ctl)
        self.tables = with_changed(
            plain, {name: faults.around(getattr(plain, name), *WRITES) for name in BUCKETS}
        )
        data = faults.around(data, "js_api")
        events = Events(Window(ctl), CLOCK)
        self.catalog = Catalog(self.tables, CLOCK, local=True)
        self.jobsets = JobSets(self.catalog, events, CLOCK)
        repos = Repos(self.catalog, CLOCK)
        assignments = Assignments(self.catalog.jobs, WARDS, data, Window(data))
        common = (self.catalog, repos)
        self.pipelines = Pipelines(*common, self.jobsets, assignments, data, WARDS, events, CLOCK)
        self.conduct = Conduct(self.catalog, self.jobsets, events, CLOCK)
        self.deleting = Deleting(*common, assignments, data, WARDS, events)

    async def round(self) -> None:
        """Do what a round does, but for ticks and the running of jobs."""
        await self.pipelines.ensure_all()
        async with self.catalog.graph:
            await self.jobsets.create_missing()
        await self.conduct.round()
        await self.jobsets.advance()
        await self.deleting.round()


class Site(NamedTuple):
    """What outlives a coordinator; its connections are used by one after the other."""

    ctl: NatsConnection
    data: NatsConnection


@pytest.fixture
async def site(nats_server: TestServer) -> AsyncIterator[Site]:
    await nats_server.declare()
    connect = nats_server.connect
    async with connect("coordinator") as ctl, connect("coordinator-data") as data:
        yield Site(ctl, data)


@asynccontextmanager
async def process(site: Site, faults: Faults) -> AsyncIterator[Process]:
    """Run a coordinator, which is through with its first round."""
    at, faults.at = faults.at, None
    made = Process(site.ctl, site.data, faults)
    async with made.catalog.following():
        await made.round()
        faults.trace.clear()
        faults.at, faults.points = at, 0
        yield made


def a_spec(name: str, reads: str, **fields: Any) -> spec.PipelineSpec:
    made = spec.PipelineSpec(
        name=name,
        transform=spec.Transform(cmd=("true",)),
        input=spec.Input(pfs=spec.PfsInput(repo=reads, name=reads, glob="/*")),
    )
    return msgspec.structs.replace(made, **fields)


async def apply_now(process: Process) -> None:
    await process.pipelines.apply(a_spec("words", "in", datum_tries=9), now=True)


async def stop(process: Process) -> None:
    await process.conduct.stop("words")


async def stop_and_start(process: Process) -> None:
    """Also repeated after any crash: the second start finds it running, or starts it."""
    current = process.catalog.pipelines.get("words")
    assert current is not None
    if not current.starts:
        await process.conduct.stop("words")
        await process.round()
        await process.conduct.start("words")


async def rerun(process: Process) -> None:
    await process.conduct.rerun(api.PipelineRerun(name="words", id=Y, reprocess=True))


async def rerun_job(process: Process) -> None:
    await process.conduct.rerun_job(api.JobRerun(pipeline="words", job="e" * 32, id=Y))


async def delete(process: Process) -> None:
    if "words" in process.catalog.pipelines:
        await process.deleting.delete("words", force=True)


Verb = Callable[[Process], Awaitable[None]]


async def told(site: Site, verb: Verb, faults: Faults) -> object:
    """Tell a story from the start, with the process dying where `faults` says; return what is left."""
    async with process(site, Faults()) as first:
        await prepare(first)
    with contextlib.suppress(CrashError):
        try:
            await act(site, verb, faults)
        except BaseExceptionGroup as group:
            _, rest = group.split(CrashError)
            assert rest is None, rest.exceptions
    if faults.at is not None:
        await act(site, verb, Faults())
    tables = tables_of(site.ctl)
    left = await stored(tables, site.data)
    await wipe(tables)
    return left


async def act(site: Site, verb: Verb, faults: Faults) -> None:
    """Run a coordinator that is told the verb, and let it do all that follows."""
    async with process(site, faults) as running, asyncio.timeout(20):
        await verb(running)
        for _ in range(2):
            await running.round()
            await put_away(running)
        await running.round()


async def put_away(process: Process) -> None:
    """End the jobs that are being killed, as their runner does."""
    for job in process.catalog.jobs.list():
        if job.state is JobState.KILLING:
            await process.catalog.jobs.change(job.pipeline, job.id, killed)
        if job.state.ended and not job.compacted:
            await process.catalog.jobs.change(job.pipeline, job.id, compacted)


def killed(job: records.Job) -> records.Job:
    return msgspec.structs.replace(job, state=JobState.KILLED, compacted=True)


def compacted(job: records.Job) -> records.Job:
    return msgspec.structs.replace(job, compacted=True)


async def prepare(process: Process) -> None:
    """Two pipelines in a row, the first with a job that has ended and one at work."""
    repo = records.Repo(name="in", created_ns=1)
    await process.catalog.repos.create("in", repo)
    head = records.Branch(repo="in", name="master", head=X)
    await process.catalog.branches.create("in.master", head)
    await process.pipelines.apply(a_spec("words", "in"))
    await process.pipelines.apply(a_spec("totals", "words"))
    (job,) = process.catalog.jobs.list("words")
    done = msgspec.structs.replace(
        job, id="e" * 32, order=9, state=JobState.FAILURE, compacted=True
    )
    await process.catalog.jobs.create(done)
    for _ in range(2):
        await process.round()


async def stored(tables: Tables, data: NatsConnection) -> object:
    """Return what is stored, but for times, and ids that are made at random."""
    pipelines = {
        entry.key: (*map(str, (one.state, one.version, one.since)), one.oldest, one.starts)
        for entry in await tables.pipelines.all()
        if (one := entry.value)
    }
    jobs = sorted(
        (
            job.pipeline,
            job.order,
            job.version,
            job.state,
            _ID.sub("ID", job.reason),
            job.reprocess,
            job.halted,
        )
        for entry in await tables.jobs.all()
        if (job := entry.value)
    )
    read = [
        (job.order, job.rerun_of, [each.commit for each in job.inputs])
        for entry in await tables.jobs.all("words.")
        if (job := entry.value)
    ]
    places = [entry.key for table in (tables.repos, tables.branches) for entry in await table.all()]
    queues = [name for name in ("words", "totals") if await has_queue(data, name)]
    return pipelines, jobs, sorted(read), places, queues


async def has_queue(data: NatsConnection, pipeline: str) -> bool:
    try:
        await data.js_api(f"STREAM.INFO.{subjects.datums_stream(pipeline)}")
    except jetstream.JetStreamError:
        return False
    return True


async def wipe(tables: Tables) -> None:
    for bucket in BUCKETS:
        table = getattr(tables, bucket)
        for entry in await table.all():
            await table.delete(entry.key)


@pytest.mark.parametrize("verb", [apply_now, stop, stop_and_start, rerun, rerun_job, delete])
async def test_a_crash_at_any_instant_of_a_verb_changes_nothing_of_what_is_left(
    site: Site, verb: Verb
) -> None:
    faults = Faults()
    whole = await told(site, verb, faults)
    after = [at for at, point in enumerate(faults.trace) if point.startswith("after")]
    assert len(after) >= 2
    for at in after:
        crashing = Faults(at)
        assert await told(site, verb, crashing) == whole, crashing.trace[-1]


async def test_a_work_queue_that_is_gone_is_told_of_unless_it_went_with_its_pipeline(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> list[str]:
        return [each.message for each in caplog.records if "work queue" in each.message]

    async with process(site, Faults()) as made:
        await Repos(made.catalog, CLOCK).create("in")
        await made.pipelines.apply(a_spec("words", "in"))
        made.pipelines.doubt_missing(())
        assert told() == ["work queue was gone"]
        await made.pipelines.ensure_all()
        await made.deleting.delete("words")
        made.pipelines.doubt_missing(())
        await made.round()
        assert "words" not in made.catalog.pipelines
        made.pipelines.doubt_missing(())
        assert told() == ["work queue was gone"]
