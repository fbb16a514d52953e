"""The scaler with its local cluster: a real server, a real pool, real worker agents."""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from tests.support.nats import TestServer
from tests.support.wards import DATA_KEY, ward

from trunkline.bus import present, topology
from trunkline.bus.connection import NatsConnection
from trunkline.bus.publishing import Window
from trunkline.bus.tables import KvTable
from trunkline.contracts import messages, records, spec, subjects
from trunkline.contracts.states import JobState, PipelineState
from trunkline.local.home import Home

JOB = "c" * 32


class Place:
    """An installation without a coordinator: the tests write its records themselves."""

    def __init__(self, home: Home, server: TestServer) -> None:
        self.home, self.server = home, server
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self.latest: dict[str, records.Scaling | None] = {}
        self._changed = asyncio.Event()

    async def start(self, service: str, **environ: str) -> None:
        with (self.home.logs / f"{service}.log").open("ab") as log:
            self.processes[service] = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", f"trunkline.local.{service}"),
                env={
                    **os.environ,
                    "TRUNKLINE_HOME": str(self.home.root),
                    "TRUNKLINE_STORE": self.home.store_url,
                    "TRUNKLINE_CTL_URL": self.server.url("scaler"),
                    "TRUNKLINE_DATA_URL": self.server.url("scaler-data"),
                    "TRUNKLINE_DATA_KEY": DATA_KEY,
                    "TRUNKLINE_STANDBY_COOL_DOWN_S": "0.5",
                    **environ,
                },
                stdout=log,
                stderr=log,
            )

    async def kill(self, service: str) -> None:
        process = self.processes.pop(service)
        process.kill()
        await process.wait()

    def open(self, ctl: NatsConnection, data: NatsConnection) -> None:
        self.ctl, self.data = ctl, data
        self.pipelines = KvTable(ctl, subjects.PIPELINES, records.Pipeline)
        self.jobs = KvTable(ctl, subjects.JOBS, records.Job)
        self.nodes_table = KvTable(ctl, subjects.NODES, records.Nodes)
        self.scaling_table = KvTable(ctl, subjects.SCALING, records.Scaling)

    async def follow(self) -> None:
        async with self.scaling_table.watch() as batches:
            async for batch in batches:
                for entry in batch:
                    self.latest[entry.key] = entry.value
                self._changed.set()

    async def nodes(self, count: int) -> None:
        await self.nodes_table.put("local", records.Nodes(count=count))

    async def pipeline(
        self, name: str = "p", *, cmd: str = "cat", state: str = "RUNNING", **fields: Any
    ) -> records.Pipeline:
        values = {
            "name": name,
            "transform": {"cmd": [cmd]},
            "input": {"pfs": {"repo": "r", "glob": "/*", "name": "r"}},
            **fields,
        }
        record = records.Pipeline(
            name=name,
            state=PipelineState(state),
            version=1,
            spec=msgspec.convert(values, spec.PipelineSpec),
        )
        await self.pipelines.put(name, record)
        return record

    async def job(self, record: records.Pipeline, state: JobState, datums: int) -> None:
        """Put a job there, with datums in its queue."""
        assert record.spec is not None
        await topology.declare_pipeline(self.data, ward(record.name))
        await topology.ensure_job_consumer(
            self.data, ward(record.name), JOB, ack_wait_s=15, max_ack_pending=100
        )
        window = Window(self.data)
        for index in range(datums):
            await window.put(subjects.datums(ward(record.name), JOB), b"%d" % index)
        await self.jobs.put(
            f"{record.name}.{JOB}",
            records.Job(
                pipeline=record.name,
                id=JOB,
                version=1,
                code_hash=spec.code_hash(record.spec.transform),
                spec=record.spec,
                salt="",
                order=1,
                inputs=(),
                state=state,
                created_ns=0,
            ),
        )

    async def until(self, right: Callable[[records.Scaling], bool], name: str = "p") -> Any:
        """Return the scaling record once it is right."""
        try:
            while (scaling := self.latest.get(name)) is None or not right(scaling):
                self._changed.clear()
                await self._changed.wait()
        except asyncio.CancelledError:
            sys.stderr.write(f"last: {self.latest.get(name)}\n")
            raise
        return scaling

    async def ready(self, count: int, name: str = "p") -> records.Scaling:
        found = await self.until(lambda s: s.want == s.have == s.ready == count, name)
        assert isinstance(found, records.Scaling)
        return found

    def pids(self) -> dict[str, int]:
        """Return worker -> process id, of the pool's children that are agents."""
        pool = psutil.Process(self.processes["pool"].pid)
        found = {}
        for child in pool.children():
            with contextlib.suppress(psutil.Error):
                path = Path(child.cwd())
                if path.parent == self.home.workers:  # not what only removes directories
                    found[path.name] = child.pid
        return found

    async def events(self, name: str = "p") -> list[messages.Event]:
        found = []
        said = subjects.event(name, "scaled")
        async for page in present.behind(self.ctl, subjects.EVENTS_STREAM, said):
            found += [messages.decode(s.subject, s.data, messages.Event) for s in page]
        return found


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    with tempfile.TemporaryDirectory(prefix="tl-", ignore_cleanup_errors=True) as folder:
        home = Home(Path(folder))
        home.make()
        server = TestServer(home.nats)
        await server.start()
        made = Place(home, server)
        try:
            await server.declare()
            async with (
                asyncio.timeout(50),
                server.connect("coordinator") as ctl,
                server.connect("coordinator-data") as data,
                asyncio.TaskGroup() as tasks,
            ):
                made.open(ctl, data)
                following = tasks.create_task(made.follow())
                await made.nodes(4)
                await made.start("pool")
                await made.start("scaler")
                yield made
                following.cancel()
        except BaseException:
            for log in sorted(home.logs.rglob("*.log")):
                text = log.read_text(errors="replace").splitlines()[-30:]
                sys.stderr.write("\n".join([f"--- {log.name}", *text, ""]))
            raise
        finally:
            for service in list(made.processes):
                await made.kill(service)
            await server.kill()


async def test_ten_nodes_with_every_kind_of_parallelism(place: Place) -> None:
    await place.nodes(10)
    await place.pipeline("half", parallelism_spec={"coefficient": 0.5})
    await place.pipeline("plain")
    assert len((await place.ready(5, "half")).workers) == 5
    found = await place.ready(10, "plain")
    assert found.reason == "10 nodes x 1 = 10 workers"
    assert {worker.phase for worker in found.workers} == {"idle"}


async def test_workers_follow_the_nodes(place: Place) -> None:
    await place.pipeline()
    await place.nodes(10)
    before = {worker.name for worker in (await place.ready(10)).workers}
    await place.nodes(4)
    kept = {worker.name for worker in (await place.ready(4)).workers}
    assert kept < before
    pids = place.pids()
    began = time.monotonic()
    await place.nodes(10)
    await place.until(lambda s: s.want == 10)
    decided_s = time.monotonic() - began
    after = await place.until(lambda s: s.ready == s.have == 10)
    ready_s = time.monotonic() - began
    print(f"4 -> 10 nodes: decided after {decided_s:.3f} s, ready after {ready_s:.3f} s")
    assert kept < {worker.name for worker in after.workers}
    assert all(place.pids()[name] == pids[name] for name in kept)  # they were left alone
    wants = [msgspec.json.decode(event.facts["want"]) for event in await place.events()]
    assert [want for n, want in enumerate(wants) if want != [None, *wants][n]][-3:] == [10, 4, 10]


async def test_a_killed_worker_is_replaced_at_once(place: Place) -> None:
    await place.pipeline()
    await place.ready(4)
    before = place.pids()
    os.kill(next(iter(before.values())), signal.SIGKILL)
    while True:
        now = place.pids()
        if set(now) == set(before) and len(set(now.values()) - set(before.values())) == 1:
            break
        await asyncio.sleep(0.01)
    await place.ready(4)


async def test_standby_wakes_for_three_datums_and_sleeps_again(place: Place) -> None:
    record = await place.pipeline(standby=True, parallelism_spec={"constant": 10})
    assert (await place.ready(0)).cap == 10
    await place.job(record, JobState.RUNNING, 3)
    found = await place.ready(3)
    assert found.reason == "standby: 3 pending, 0 in flight; at most constant 10"
    await topology.purge(place.data, subjects.datums_stream("p"), subjects.datums(ward("p"), JOB))
    await place.jobs.delete(f"p.{JOB}")
    await place.ready(0)
    assert not place.pids()
    assert max(msgspec.json.decode(e.facts["want"]) for e in await place.events()) == 3


async def test_a_restart_of_the_scaler_changes_nothing(place: Place) -> None:
    await place.pipeline()
    await place.ready(4)
    pids = place.pids()
    await place.kill("scaler")
    await place.start("scaler")
    await place.pipeline("q", parallelism_spec={"constant": 1})
    await place.ready(1, "q")  # it has decided since
    assert {name: pid for name, pid in place.pids().items() if name in pids} == pids


async def test_nothing_is_lost_when_the_pool_is_killed(place: Place) -> None:
    await place.pipeline()
    await place.ready(4)
    before = place.pids()
    await place.kill("pool")
    await place.start("pool")
    while len(place.pids()) < 4:
        await asyncio.sleep(0.02)
    await place.ready(4)
    assert not set(place.pids().values()) & set(before.values())


async def test_new_code_replaces_workers_and_other_changes_do_not(place: Place) -> None:
    await place.pipeline(cmd="old")
    old = {worker.name for worker in (await place.ready(4)).workers}
    pids = place.pids()
    await place.pipeline(cmd="old", parallelism_spec={"constant": 5}, datum_tries=9)
    more = {worker.name for worker in (await place.ready(5)).workers}
    assert old < more
    assert {name: place.pids()[name] for name in old} == pids
    await place.pipeline(cmd="new", parallelism_spec={"constant": 5})
    new = await place.until(
        lambda s: s.ready == s.have == 5 and not {w.name for w in s.workers} & more
    )
    assert len({worker.code_hash for worker in new.workers}) == 1


async def test_old_and_new_code_run_together_while_an_old_job_lives(place: Place) -> None:
    old = await place.pipeline(cmd="old")
    assert old.spec is not None
    await place.job(old, JobState.RUNNING, 100)
    await place.ready(4)
    await place.pipeline(cmd="new")
    found = await place.until(
        lambda s: s.ready == s.have == 4 and len({w.code_hash for w in s.workers}) == 2
    )
    code = spec.code_hash(old.spec.transform)
    assert sum(worker.code_hash == code for worker in found.workers) == 3
    await place.jobs.delete(f"p.{JOB}")
    await place.until(
        lambda s: s.ready == s.have == 4 and code not in {w.code_hash for w in s.workers}
    )


async def test_a_deleted_pipeline_leaves_no_worker_and_no_record(place: Place) -> None:
    await place.pipeline()
    await place.ready(4)
    await place.pipeline(state="DELETING")
    await place.ready(0)
    await place.pipelines.delete("p")
    while place.latest["p"] is not None:
        await asyncio.sleep(0.02)
    assert not place.pids()


async def test_what_cannot_start_is_told_and_not_tried_in_a_crowd(place: Place) -> None:
    await place.kill("pool")
    await place.start("pool", TRUNKLINE_POOL_ENTRY="os:abort")
    await place.pipeline(parallelism_spec={"constant": 2})
    found = await place.until(lambda s: "ended before it was ready" in s.problem)
    assert found.want == 2
    log = place.home.logs / "scaler.log"
    await asyncio.sleep(1)
    assert log.read_text().count("worker created") < 20
    await place.kill("pool")
    await place.start("pool")
    await place.ready(2)
