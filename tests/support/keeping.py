"""A small installation without a server: real records, a real file store, a real collector.

Users, the worker and the runner are played here, step by step, by the real parts that need no server.
Time passes only when it is told to, and the store's files are dated by it.
"""

import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec
from tests.support.dated import Calendar, Interrupted, dated_store, nothing
from tests.support.memory import MemoryBus, tables

from trunkline.contracts import api, messages, records, spec
from trunkline.contracts.messages import File, Outcome
from trunkline.contracts.states import DatumState, JobState, PipelineState
from trunkline.coordinator.archiving import Archiver
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.collecting import Collector
from trunkline.coordinator.commits import Commits
from trunkline.coordinator.core import outcomes as reading
from trunkline.coordinator.core.datums import Datum
from trunkline.coordinator.core.job import ListingEnded, Opened, WindowListed
from trunkline.coordinator.done import Done
from trunkline.coordinator.events import Events
from trunkline.coordinator.folding import LiveJob
from trunkline.coordinator.inputs import Inputs
from trunkline.coordinator.jobs import settled
from trunkline.coordinator.jobsets import JobSets
from trunkline.coordinator.lookup import Lookup
from trunkline.coordinator.repos import Committer, Repos
from trunkline.coordinator.retention import Retention
from trunkline.coordinator.settings import Settings
from trunkline.storage import manifests, runs

HOUR_S = 3600
P = "p"


class Kept:
    """The installation. `p` reads `in`, a datum a file, and writes a file a datum."""

    def __init__(self, folder: Path, chance: random.Random, **changes: object) -> None:
        self.folder, self.chance, self.clock = folder, chance, Calendar()
        self.store = dated_store(folder, self.clock)
        self.meanwhile = nothing
        """Called in the middle of collections."""
        objects = self.store.objects()

        async def interrupted() -> None:
            await self.meanwhile()

        self.store.objects = lambda: Interrupted(objects, interrupted)  # type: ignore[method-assign]
        settings = Settings(ctl_url="", data_url="", data_key="", store="", keep_jobs=3)
        settings = msgspec.structs.replace(settings, **changes)
        self.tables = tables()
        self.catalog = Catalog(self.tables, self.clock, local=True)
        events = Events(MemoryBus(), self.clock)
        self.jobsets = JobSets(self.catalog, events, self.clock)
        self.repos = Repos(self.catalog, self.clock)
        self.commits = Commits(self.catalog, self.repos, self.jobsets, self.store, self.clock)
        self.retention = Retention(self.catalog, settings, self.clock)
        self.collector = Collector(
            self.catalog, self.retention, self, self.store, settings, self.clock
        )
        self.stream: dict[str, dict[int, Outcome]] = {}
        """Job -> index -> outcome."""
        self.committer = Committer(self.tables, self.clock, self.catalog.branches.take)
        self.done = Done(self.tables.done, self.store)
        self.inputs = Inputs(self.tables.commits, self.store)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Kept"]:
        async with self.catalog.following():
            yield self

    async def stored(
        self, job: records.Job
    ) -> AsyncGenerator[Sequence[tuple[Outcome, bytes]], None]:
        found = list(self.stream.get(job.id, {}).values())
        yield [(each, messages.encode(each)) for each in found]

    async def pipeline(self, glob: str = "/*") -> None:
        """Apply `p`, unless it is there."""
        if P in self.catalog.pipelines or "in" not in self.catalog.repos:
            return
        value = spec.PipelineSpec(
            name=P,
            transform=spec.Transform(cmd=("true",)),
            input=spec.Input(pfs=spec.PfsInput(repo="in", glob=glob, name="in")),
        )
        record = records.Pipeline(
            name=P,
            state=PipelineState.RUNNING,
            version=1,
            spec=value,
            salt="s",
            set_id=self.identifier(),
        )
        if not self.catalog.heads().get(("in", "master")):
            record = msgspec.structs.replace(record, set_id="")
        await self.catalog.pipelines.create(P, record)
        await self.repos.ensure_output(P, "master")
        await self.round()

    async def delete_pipeline(self) -> None:
        """Delete `p` once its jobs are settled."""
        if P in self.catalog.pipelines and not self.catalog.jobs.unsettled(P):
            await self.catalog.jobs.delete_all(P)
            await self.tables.done.delete(P)
            await self.catalog.pipelines.delete(P)

    async def put(self, *contents: str, branch: str = "master") -> records.Commit:
        """Commit a file for each of these contents, in place of what is there by their names."""
        if "in" not in self.catalog.repos:
            await self.repos.create("in")
        head = (await self.repos.ensure_branch("in", branch)).head
        base = (await self.repos.commit("in", head)).manifest if head else ""
        files = [await self._stored(content) for content in sorted(contents)]
        written = await manifests.overlay(self.store, base, files)
        request = api.CommitFinish(
            repo="in",
            branch=branch,
            id=self.identifier(),
            parent=head,
            manifest=written.manifest,
            files=written.files,
            size=written.size,
        )
        commit = await self.commits.finish(request)
        await self.round()
        return commit

    async def _stored(self, content: str) -> File:
        key = await self.store.put(content.encode())
        sha256 = key.rpartition("/")[2]
        return File(path=f"/{content[:2]}", size=len(content), sha256=sha256, object=key)

    async def round(self) -> None:
        """Do what the coordinator's rounds do."""
        async with self.catalog.graph:
            await self.jobsets.create_missing()
        await self.jobsets.advance()

    async def step(self, job: records.Job) -> None:
        """Do one thing for a job."""
        match job.state:
            case JobState.LISTING:
                await self._list(job)
            case JobState.RUNNING:
                await self._work(job)
            case JobState.MERGING:
                await self._commit(job)
            case state if state.ended and not settled(job):
                await self._put_away(job)
        await self.round()

    async def datums(self, job: records.Job) -> list[Datum]:
        async with aclosing(self.inputs.datums(job, lambda _: True)) as found:
            return [each async for some in found for each in some]

    async def _list(self, job: records.Job) -> None:
        datums = await self.datums(job)
        hits = await Lookup(self.store, job.done_runs).find(each.fingerprint for each in datums)
        writer = runs.RunWriter(self.store)
        for datum in datums:
            if datum.fingerprint in hits:
                await writer.add(reading.key(datum.index), hits[datum.fingerprint])
        run = await writer.finish() if hits else ""
        await self._change(
            job,
            state=JobState.RUNNING,
            listed_to=len(datums),
            total=len(datums),
            skipped=(records.Skipped(run=run, count=len(hits)),),
        )

    async def _work(self, job: records.Job) -> None:
        """Let one datum have its outcome; the job goes on once all have one, or is killed."""
        skipped = {each.index async for each, _ in self._skipped(job)}
        own = self.stream.setdefault(job.id, {})
        left = [d for d in await self.datums(job) if d.index not in skipped and d.index not in own]
        if left and self.chance.random() < 0.1:
            await self._change(job, state=JobState.KILLING)
            await self._change(job, state=JobState.KILLED)
        elif left:
            own[left[0].index] = await self._outcome(job, left[0])
        else:
            await self._change(job, state=JobState.MERGING)

    async def _outcome(self, job: records.Job, datum: Datum) -> Outcome:
        part = datum.parts[0]
        content = f"made of {part.contents[: self.chance.randrange(1, 3)]}".encode()
        key = await self.store.put(content)
        file = File(path=part.path, size=len(content), sha256=key.rpartition("/")[2], object=key)
        files: tuple[File, ...] | None = (file,)
        manifest = ""
        if self.chance.random() < 0.3:
            files, manifest = None, (await manifests.write(self.store, [file])).manifest
        return Outcome(
            pipeline=job.pipeline,
            job=job.id,
            index=datum.index,
            generation=1,
            datum=datum.id,
            fingerprint=datum.fingerprint.hex(),
            state=DatumState.PROCESSED,
            worker="w",
            incarnation="i",
            files=files,
            manifest=manifest,
        )

    async def _commit(self, job: records.Job) -> None:
        earlier = [each for each in self.catalog.jobs.unsettled(P) if each.order < job.order]
        if not all(each.state.ended for each in earlier):
            return
        outcomes = [*self.stream.get(job.id, {}).values()]
        outcomes += [outcome async for outcome, _ in self._skipped(job)]
        files = [file for each in outcomes for file in await self.files(each)]
        files.sort(key=lambda file: file.path)
        written = await manifests.write(self.store, files)
        job = await self._archive(job)
        await self.committer.commit_output(job, written.manifest, written.files, written.size)
        await self.catalog.branches.refresh(f"{P}.master")
        await self._change(job, state=JobState.SUCCESS, output=job.id)

    async def _archive(self, job: records.Job) -> records.Job:
        live = LiveJob(job)
        live.handle(Opened(job.listed_to))
        live.handle(
            WindowListed(job.listed_to, [each.index async for each, _ in self._skipped(job)])
        )
        live.handle(ListingEnded(job.listed_to))
        for each in self.stream.get(job.id, {}).values():
            live.seen(each, messages.encode(each))
        if not live.fold.complete:  # it was killed: what is there is all there will be
            for index in list(live.fold.missing()):
                live.fold.seen(index, 1, DatumState.RECOVERED)
        archive = await Archiver(None, self.store, None).archive(job, live)  # type: ignore[arg-type]
        live.close()
        return await self.catalog.jobs.change(job.pipeline, job.id, archive.in_record)

    async def _put_away(self, job: records.Job) -> None:
        if not job.outcomes:
            await self._archive(job)
        elif job.id not in (await self._index()).jobs:
            await self.done.append(job)
        else:
            self.stream.pop(job.id, None)
            await self._change(job, compacted=True)

    async def _index(self) -> records.DoneIndex:
        entry = await self.tables.done.get(P)
        return entry.value if entry and entry.value else records.DoneIndex()

    async def _change(self, job: records.Job, **fields: object) -> None:
        await self.catalog.jobs.change(
            job.pipeline, job.id, lambda old: msgspec.structs.replace(old, **fields)
        )

    async def _skipped(self, job: records.Job) -> AsyncIterator[tuple[Outcome, bytes]]:
        for window in job.skipped:
            if window.run:
                async for key, kept in (await runs.open_run(self.store, window.run)).items():
                    yield reading.skipped(reading.whole(kept), int.from_bytes(key, "big")), kept

    async def files(self, outcome: Outcome) -> list[File]:
        if outcome.files is not None:
            return list(outcome.files)
        return [file async for file in manifests.read(self.store, outcome.manifest)]

    async def delete_repo(self) -> None:
        if "in" in self.catalog.repos and P not in self.catalog.pipelines:
            await self.repos.delete("in")

    async def delete_branch(self, branch: str) -> None:
        if f"in.{branch}" in self.catalog.branches:
            await self.repos.delete_branch("in", branch)

    async def collect(self, **request: bool) -> api.Collection:
        """Collect once, as `run` does."""
        self.collector.start(api.Collect(**request))
        await self.collector._collect()
        assert self.collector.report is not None
        report = msgspec.structs.replace(self.collector.report, ended_ns=self.clock.now_ns)
        self.collector.report = report
        return report

    def pass_hours(self, hours: float) -> None:
        self.clock.now_ns += int(hours * HOUR_S * 1e9)

    def identifier(self) -> str:
        return f"{self.chance.getrandbits(128):032x}"

    def objects(self) -> set[str]:
        return {path.name for path in (self.folder / "objects").glob("*/*")}

    async def read_all(self) -> None:
        """Read every byte that anybody can still ask for."""
        for branch in self.catalog.branches.values():
            await self._read_history(branch)
        for run in (await self._index()).runs:
            await self._read_done(run)
        for job in await self.catalog.jobs.every():
            async for _ in self._skipped(job):
                pass
            if job.outcomes:
                async for _ in (await runs.open_run(self.store, job.outcomes)).items():
                    pass
            if not settled(job):
                await self._read_unsettled(job)

    async def _read_history(self, branch: records.Branch) -> None:
        head = branch.head
        while head:
            entry = await self.tables.commits.get(f"{branch.repo}.{head}")
            if entry is None or entry.value is None:
                return  # older than what is kept
            await self._read(entry.value.manifest)
            head = entry.value.parent

    async def _read_unsettled(self, job: records.Job) -> None:
        for run in job.done_runs:
            await self._read_done(run)
        for each in job.inputs:
            await self._read((await self.repos.commit(each.repo, each.commit)).manifest)
        own = list(self.stream.get(job.id, {}).values())
        for outcome in [*own, *[each async for each, _ in self._skipped(job)]]:
            await self._read_files(await self.files(outcome))

    async def _read_done(self, run: str) -> None:
        index = await runs.open_run(self.store, run)
        items = [item async for item in index.items()]
        outcomes = await runs.open_run(self.store, items[0][1].decode())
        async for _, values in outcomes.batches():
            for kept in values:
                await self._read_files(await self.files(reading.whole(kept)))

    async def _read(self, manifest: str) -> None:
        await self._read_files([file async for file in manifests.read(self.store, manifest)])

    async def _read_files(self, files: Sequence[File]) -> None:
        for file in files:
            async for _ in self.store.read(file):
                pass
