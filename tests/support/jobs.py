"""Jobs on a real server and a store on disk, run by the back half of the coordinator alone.

A `Site` outlives coordinators; a `Process` is one coordinator's worth of objects, made from nothing,
with `faults` between it and the outside (`crash_points`). `job_workers` has who works on its jobs.
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.crash_points import Faults
from tests.support.nats import TestServer
from tests.support.wards import DATA_KEY, WARDS, ward

from trunkline.bus.connection import NatsConnection
from trunkline.bus.ingest import Ingest
from trunkline.bus.publishing import Window
from trunkline.contracts import messages, names, records, spec, subjects
from trunkline.contracts.messages import Assignment, File
from trunkline.contracts.states import JobState
from trunkline.coordinator import beginning
from trunkline.coordinator.assignments import Assignments
from trunkline.coordinator.counting import Counting
from trunkline.coordinator.events import Events
from trunkline.coordinator.folding import OutcomeFolder
from trunkline.coordinator.jobs import JobStore
from trunkline.coordinator.outcomes import Outcomes
from trunkline.coordinator.repos import Committer
from trunkline.coordinator.runner import JobRunner
from trunkline.coordinator.settings import Settings
from trunkline.coordinator.tables import Tables, commit_key, job_key, tables_of
from trunkline.runtime.clock import SystemClock
from trunkline.storage import manifests
from trunkline.storage.store import Store, open_store

CLOCK = SystemClock()


class Site:
    """Everything that outlives a coordinator."""

    def __init__(
        self, server: TestServer, ctl: NatsConnection, data: NatsConnection, folder: Path
    ) -> None:
        self.server, self.ctl, self.data, self.folder = server, ctl, data, folder
        self.store_url = f"file://{folder}/store"
        self.store = open_store(self.store_url)
        self.tables = tables_of(ctl)

    async def commit(self, repo: str, contents: Mapping[str, str]) -> str:
        """Make a commit of these files; return its id."""
        files = [await stored(self.store, path, text) for path, text in contents.items()]
        written = await manifests.write(
            self.store, sorted(files, key=lambda file: names.path_key(file.path))
        )
        commit = records.Commit(
            id=secrets.token_hex(16),
            repo=repo,
            branch="master",
            manifest=written.manifest,
            files=written.files,
            size=written.size,
            created_ns=CLOCK.wall_ns(),
        )
        await self.tables.commits.create(commit_key(repo, commit.id), commit)
        return commit.id

    async def job(
        self,
        pipeline: str,
        commit: str,
        *,
        order: int = 1,
        glob: str = "/*",
        begin: bool = True,
        stdin: tuple[str, ...] = (),
        **fields: Any,
    ) -> records.Job:
        """Make a job on a commit of the repo `in`, with these fields of its spec, and let it begin."""
        transform = spec.Transform(cmd=("true",), stdin=stdin)
        pinned = spec.PipelineSpec(
            name=pipeline,
            transform=transform,
            input=spec.Input(pfs=spec.PfsInput(repo="in", glob=glob, name="in")),
            **fields,
        )
        job = records.Job(
            pipeline=pipeline,
            id=secrets.token_hex(16),
            version=1,
            code_hash=spec.code_hash(transform),
            spec=pinned,
            salt="salt",
            order=order,
            inputs=(records.JobInput(name="in", repo="in", branch="master", commit=commit),),
            state=JobState.WAITING,
            created_ns=CLOCK.wall_ns(),
        )
        await self.tables.jobs.create(job_key(pipeline, job.id), job)
        return await self.begin(job) if begin else job

    async def begin(self, job: records.Job) -> records.Job:
        """Let a waiting job begin."""
        jobs = JobStore(self.tables.jobs, CLOCK)
        return await beginning.begin(jobs, self.tables.done, job, job.inputs, CLOCK.wall_ns())

    async def record(self, job: records.Job) -> records.Job:
        """Return the job as it is now."""
        entry = await self.tables.jobs.get(job_key(job.pipeline, job.id))
        assert entry is not None
        assert entry.value is not None
        return entry.value

    async def output(self, job: records.Job) -> dict[str, str] | None:
        """Return path -> sha256 of the job's output commit, or None if there is none."""
        entry = await self.tables.commits.get(commit_key(job.pipeline, job.id))
        if entry is None or entry.value is None:
            return None
        files = manifests.read(self.store, entry.value.manifest)
        return {file.path: file.sha256 async for file in files}

    async def head(self, pipeline: str) -> str:
        entry = await self.tables.branches.get(f"{pipeline}.master")
        return entry.value.head if entry and entry.value else ""

    async def done(self, pipeline: str) -> records.DoneIndex:
        entry = await self.tables.done.get(pipeline)
        return entry.value if entry and entry.value else records.DoneIndex()

    async def assigned(self, pipeline: str) -> list[str]:
        subject = subjects.assignments(ward(pipeline))
        stored = await self.data.last(subjects.ASSIGNMENTS_STREAM, subject)
        if stored is None:
            return []
        return [each.job for each in messages.decode(subject, stored.data, Assignment).jobs]

    async def held(self, stream: str, subject: str) -> int:
        """Return how many messages a stream holds on the subjects of a filter."""
        answer = await self.data.js_api(f"STREAM.INFO.{stream}", {"subjects_filter": subject})
        return sum((answer["state"].get("subjects") or {}).values())

    async def events(self, pipeline: str, kind: str) -> list[messages.Event]:
        stored = await self.ctl.last(subjects.EVENTS_STREAM, subjects.event(pipeline, kind))
        return [messages.decode(stored.subject, stored.data, messages.Event)] if stored else []

    async def is_clean(self, job: records.Job) -> None:
        """Assert that the streams hold nothing of the job any more."""
        pipeline, identifier = job.pipeline, job.id
        outcomes, attempts = (
            subjects.outcomes_of(ward(pipeline), identifier),
            subjects.attempts_of(ward(pipeline), identifier),
        )
        assert await self.held(subjects.OUTCOMES_STREAM, outcomes) == 0
        assert await self.held(subjects.ATTEMPTS_STREAM, attempts) == 0
        datums = subjects.datums_stream(pipeline)
        assert await self.held(datums, subjects.datums(ward(pipeline), identifier)) == 0
        info = await self.data.js_api(f"STREAM.INFO.{datums}")
        assert info["state"]["consumer_count"] == 0
        assert identifier not in await self.assigned(pipeline)


class Process:
    """One coordinator's worth of objects."""

    def __init__(self, site: Site, faults: Faults, settings: Settings, scratch: Path) -> None:
        store: Store = faults.around(open_store(site.store_url), "put")
        data: NatsConnection = faults.around(site.data, "js_api")
        publisher = faults.around(Window(site.data), "put")
        tables = tables_of(site.ctl)
        writes = ("create", "update", "put", "delete")
        faulty = {
            name: faults.around(getattr(tables, name), *writes)
            for name in ("commits", "branches", "jobs", "done")
        }
        self.tables: Tables = with_changed(tables, faulty)
        events = Events(Window(site.ctl), CLOCK)
        self.jobs = JobStore(self.tables.jobs, CLOCK)
        self.outcomes = Outcomes(data, WARDS, store)
        self.counting = Counting(CLOCK)
        self.folder = OutcomeFolder(
            *(data, WARDS, self.outcomes, self.jobs, events, scratch), counting=self.counting
        )
        self.assignments = Assignments(self.jobs, WARDS, data, publisher)
        self.runner = JobRunner(
            settings=settings,
            tables=self.tables,
            jobs=self.jobs,
            connection=data,
            ingest=faults.around(Ingest(site.data), "put_all"),
            wards=WARDS,
            store=store,
            folder=self.folder,
            outcomes=self.outcomes,
            assignments=self.assignments,
            committer=Committer(self.tables, CLOCK, lambda _: None),
            events=events,
            clock=CLOCK,
            spool=site.folder / "spool",
        )


def with_changed(tables: Tables, changed: Mapping[str, Any]) -> Tables:
    return Tables(**{**vars(tables), **changed})


@asynccontextmanager
async def process(
    site: Site,
    *,
    faults: Faults | None = None,
    repair_quiet_s: float = 0.2,
    scratch: Path | None = None,
) -> AsyncIterator[Process]:
    """Run a coordinator's folder, and give what runs jobs; `scratch` is where outcomes are gathered."""
    settings = Settings(
        ctl_url="",
        data_url="",
        data_key=DATA_KEY,
        store=site.store_url,
        repair_quiet_s=repair_quiet_s,
    )
    made = Process(site, faults or Faults(), settings, scratch or site.folder / "spool")
    async with asyncio.TaskGroup() as tasks:
        loops = [
            tasks.create_task(made.jobs.mirror.follow(), name="jobs"),
            tasks.create_task(made.folder.run(), name="folder"),
        ]
        await made.jobs.mirror.filled.wait()
        yield made
        for loop in loops:
            loop.cancel()


async def finished(site: Site, *jobs: records.Job, within_s: float = 25) -> list[records.Job]:
    """Run jobs to their end in one coordinator."""
    async with (
        process(site) as running,
        asyncio.timeout(within_s),
        asyncio.TaskGroup() as tasks,
    ):
        for job in jobs:
            tasks.create_task(running.runner.run(job.pipeline, job.id), name=job.id)
    return [await site.record(job) for job in jobs]


async def folded(process: Process, job: records.Job, count: int) -> None:
    """Return once so many datums of a job have ended, as the coordinator has it."""
    while (fold := process.folder.fold(job.pipeline, job.id)) is None or fold.done < count:
        await asyncio.sleep(0.01)


@asynccontextmanager
async def site(server: TestServer, folder: Path, *pipelines: str) -> AsyncIterator[Site]:
    await server.declare(*pipelines)
    (folder / "spool").mkdir()
    async with server.connect("coordinator") as ctl, server.connect("coordinator-data") as data:
        yield Site(server, ctl, data, folder)


async def stored(store: Store, path: str, text: str) -> File:
    """Store a file's bytes; return the file."""
    data = text.encode()
    key = await store.put(data)
    sha256 = hashlib.sha256(data).hexdigest()
    return File(path=path, size=len(data), sha256=sha256, object=key)


def lines(count: int, mark: str = "") -> dict[str, str]:
    """Return so many small files, path -> text."""
    return {f"/f{number:06}": f"text {number} {mark}" for number in range(count)}


def hashes(contents: Mapping[str, str]) -> dict[str, str]:
    return {path: hashlib.sha256(text.encode()).hexdigest() for path, text in contents.items()}
