"""A cluster, its workers and the messages between them and the scaler, in simulated time.

Nothing here polls: everything wakes on an event or sleeps until an instant, so hours pass in
milliseconds. The workers do what worker agents promise, no more: they claim, work one datum at a
time, and answer a drain.
"""

import asyncio
import collections
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
from tests.support.memory import LoopClock, MemoryBus, MemoryTable
from tests.support.wards import DATA_KEY, WARDS, ward

from trunkline.bus.backlog import InFlight
from trunkline.contracts import errors, messages, records, spec, subjects
from trunkline.contracts.messages import HEARTBEAT_S, Claim, Held
from trunkline.contracts.states import Cause, JobState, PipelineState
from trunkline.scaler import ports
from trunkline.scaler.core.decision import Gauge
from trunkline.scaler.service import Scaler
from trunkline.scaler.settings import Settings

R = TypeVar("R", bound=msgspec.Struct)

_INSTANT_S = 1e-6
"""Less than this the loop's clock does not move: who waited for it would wait for ever."""


class Work:
    """The datums of one job: how many wait, and how long each takes."""

    def __init__(self, pipeline: str, job: str, count: int, takes_s: float) -> None:
        self.pipeline, self.job, self.takes_s = pipeline, job, takes_s
        self.pending = collections.deque(range(count))
        self.in_flight: set[int] = set()
        self.done: list[int] = []

    def gauge(self) -> Gauge:
        return Gauge(pending=len(self.pending), in_flight=len(self.in_flight))

    def give_back(self, index: int) -> None:
        if index in self.in_flight:
            self.in_flight.remove(index)
            self.pending.appendleft(index)


class SimulatedWorker:
    """One worker's process."""

    def __init__(self, world: "World", listed: ports.Worker, connection: int) -> None:
        self.world, self.listed, self.connection = world, listed, connection
        self.held: tuple[Held, ...] = ()
        self.draining = False
        self.task: asyncio.Task[None] | None = None
        self._told = asyncio.Event()
        self._claims = 0

    def drain(self) -> None:
        self.draining = True
        self._told.set()

    async def run(self) -> None:
        await (asyncio.sleep(self.world.start_s) if self.listed.running else asyncio.Event().wait())
        await self.world.bus.tell(
            subjects.connects(WARDS),
            f"worker.{self.listed.pipeline}",
            self.listed.name,
            self.connection,
        )
        while True:
            await self._claim()
            work = None if self.draining else self.world.take(self.listed)
            if work is not None:
                await self._work(work, work.pending.popleft())
                continue
            await self._wait_for_work()

    async def _work(self, work: Work, index: int) -> None:
        work.in_flight.add(index)
        now_ns = self.world.clock.wall_ns()
        self.held = (
            Held(
                job=work.job,
                sequence=index + 1,
                index=index,
                generation=1,
                executing=True,
                since_ns=now_ns,
            ),
        )
        await self._claim()
        ends_s = self.world.clock.monotonic_s() + work.takes_s
        while (left_s := ends_s - self.world.clock.monotonic_s()) > _INSTANT_S:
            self._told.clear()
            try:
                async with asyncio.timeout(min(left_s, HEARTBEAT_S)):
                    await self._told.wait()
            except TimeoutError:
                pass
            await self._claim()
        work.in_flight.discard(index)
        work.done.append(index)
        self.held = ()

    async def _wait_for_work(self) -> None:
        self._told.clear()
        async with asyncio.TaskGroup() as tasks:
            waits = (self.world.more.wait(), self._told.wait())
            woken = [tasks.create_task(wait) for wait in waits]
            await asyncio.wait(woken, timeout=HEARTBEAT_S, return_when="FIRST_COMPLETED")
            for each in woken:
                each.cancel()

    async def _claim(self) -> None:
        self._claims += 1
        claim = Claim(
            worker=self.listed.name,
            incarnation=self.listed.instance,
            code_hash=self.listed.code_hash,
            slots=1,
            held=self.held,
            draining=self.draining,
            pulled_ns=1,
            order=self.connection,
            number=self._claims,
            connection=f"s/{self.connection}",
            instance=self.listed.instance,
        )
        await self.world.bus.publish(
            subjects.claims(ward(self.listed.pipeline), self.listed.name), messages.encode(claim)
        )


class World:
    """Nodes, workers, jobs and a scaler. It is the scaler's cluster, too.

    Attributes:
        start_s: From a worker's creation to its first claim.
        history: (time, number of workers listed) after each change.
        refuse: Why no worker can be started; empty when they can.
        no_room: Whether workers that are made find no room, and never come up.
    """

    def __init__(self, *, nodes: int = 4, start_s: float = 0.1) -> None:
        self.clock, self.bus, self.start_s = LoopClock(), MemoryBus(), start_s
        self.bus.on_nak, self.bus.on_control = self._nak, self._control
        self.pipelines: MemoryTable[records.Pipeline] = MemoryTable()
        self.jobs: MemoryTable[records.Job] = MemoryTable()
        self.scaling: MemoryTable[records.Scaling] = MemoryTable()
        self.nodes = [ports.Node(name=f"n{number}") for number in range(nodes)]
        self.workers: dict[str, SimulatedWorker] = {}
        self.former: list[SimulatedWorker] = []
        """Those that were given up, and live on."""
        self.work: list[Work] = []
        self.more = asyncio.Event()
        self.history: list[tuple[float, int]] = []
        self.created: list[tuple[float, str]] = []
        self.killed_busy: list[str] = []
        self.refuse = ""
        self.no_room = False
        self.deaf = False
        self.away = False
        self.unreadable: set[str] = set()
        """Pipelines whose specs the cluster stumbles over."""
        self._numbers = itertools.count(1)
        self._events: asyncio.Queue[ports.ClusterEvent] = asyncio.Queue()
        self._tasks: asyncio.TaskGroup | None = None

    # --- the cluster ------------------------------------------------------------------------------

    def makes(self, pipeline: spec.PipelineSpec) -> str:
        """Return what a pod's memory is made by; a worker keeps what it was made by."""
        limits = pipeline.resource_limits
        return str(limits and limits.memory_bytes)

    def placement(self, pipeline: spec.PipelineSpec) -> ports.Placement:
        if pipeline.name in self.unreadable:
            raise AttributeError("a spec like no other")
        return ports.ANYWHERE

    async def look(self) -> ports.ClusterView:
        if self.away:
            raise ports.ClusterUnavailableError("the cluster", "it is away")
        listed = tuple(worker.listed for worker in self.workers.values())
        return ports.ClusterView(nodes=tuple(self.nodes), workers=listed)

    async def create(self, worker: ports.WorkerSpec) -> None:
        if worker.name in self.workers:
            raise errors.AlreadyExistsError("worker", worker.name)
        if self.refuse:
            raise ports.WorkerRefusedError(worker.name, self.refuse)
        assert self._tasks is not None
        number = next(self._numbers)
        load = collections.Counter(each.listed.node for each in self.workers.values())
        free = [node.name for node in self.nodes if node.eligible]
        listed = ports.Worker(
            name=worker.name,
            pipeline=worker.pipeline,
            code_hash=worker.code_hash,
            node=min(free, key=lambda name: load[name], default=""),
            instance=f"i{number}",
            made_by=self.makes(worker.spec),
            running=not self.no_room,
        )
        made = self.workers[worker.name] = SimulatedWorker(self, listed, number)
        made.task = self._tasks.create_task(made.run(), name=worker.name)
        self.created.append((self.clock.monotonic_s(), worker.name))
        self._changed()

    async def delete(self, name: str) -> None:
        worker = self.workers.get(name)
        if worker is not None:
            if worker.held:
                self.killed_busy.append(name)
            await self.kill(name)

    async def watch(self) -> AsyncIterator[ports.ClusterEvent]:
        while True:
            event = await self._events.get()
            if not self.deaf:
                yield event

    # --- what tests do ----------------------------------------------------------------------------

    @asynccontextmanager
    async def scaled(self, **settings: Any) -> AsyncIterator[None]:
        """Run a scaler; the world around it goes on when it ends."""
        config = Settings(ctl_url="", data_url="", data_key=DATA_KEY, **settings)
        scaler = Scaler(
            config,
            self,
            WARDS,
            data=self.bus,
            data_publisher=self.bus,
            ctl_publisher=self.bus,
            pipelines=self.pipelines,
            jobs=self.jobs,
            scaling=self.scaling,
            measure=self._measure,
            deliveries=self._deliveries,
            leases=self._leases,
            clock=self.clock,
        )
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(scaler.run())
            yield
            running.cancel()
        self.bus.handlers.clear()

    @asynccontextmanager
    async def turning(self) -> AsyncIterator["World"]:
        """Let workers live in it; end them all at the end."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            yield self
            for worker in [*self.workers.values(), *self.former]:
                assert worker.task is not None
                worker.task.cancel()

    async def pipeline(self, name: str = "p", *, cmd: str = "c", **fields: Any) -> None:
        values = {
            "name": name,
            "transform": {"cmd": [cmd]},
            "input": {"pfs": {"repo": "r", "glob": "/*", "name": "r"}},
            **fields,
        }
        converted = msgspec.convert(values, spec.PipelineSpec)
        entry = await self.pipelines.get(name)
        version = 1 + (entry.value.version if entry and entry.value else 0)
        record = records.Pipeline(
            name=name, state=PipelineState.RUNNING, spec=converted, version=version
        )
        await self.pipelines.put(name, record)

    async def job(
        self, count: int, takes_s: float, *, state: str = "RUNNING", number: int = 1
    ) -> Work:
        """Put a job of pipeline `p` there, with this many datums in its queue."""
        entry = await self.pipelines.get("p")
        assert entry is not None
        assert entry.value is not None
        assert entry.value.spec is not None
        work = Work("p", f"{number:032x}", count, takes_s)
        self.work.append(work)
        job = records.Job(
            pipeline="p",
            id=work.job,
            version=1,
            code_hash=spec.code_hash(entry.value.spec.transform),
            spec=entry.value.spec,
            salt="",
            order=number,
            inputs=(),
            state=JobState(state),
            created_ns=0,
        )
        await self.jobs.put(f"p.{work.job}", job)
        self._there_is_more()
        return work

    async def job_state(self, work: Work, state: str) -> None:
        entry = await self.jobs.get(f"p.{work.job}")
        assert entry is not None
        assert entry.value is not None
        changed = msgspec.structs.replace(entry.value, state=JobState(state))
        await self.jobs.put(f"p.{work.job}", changed)

    def set_nodes(self, count: int, *, cordoned: int = 0) -> None:
        """Have nodes `n0`, `n1` ...; the last ones cordoned."""
        self.nodes = [
            ports.Node(
                name=f"n{number}",
                eligible=number < count - cordoned,
                cordoned=number >= count - cordoned,
                why_not="" if number < count - cordoned else "cordoned",
            )
            for number in range(count)
        ]
        self._events.put_nowait(ports.Changed())

    async def kill(self, name: str, *, told: bool = True) -> None:
        """End a worker's process; the server and the cluster say so."""
        worker = self.workers.pop(name)
        assert worker.task is not None
        worker.task.cancel()
        self._changed()
        if told:
            await self.bus.tell(
                subjects.disconnects(WARDS),
                f"worker.{worker.listed.pipeline}",
                name,
                worker.connection,
            )
            self._events.put_nowait(ports.Gone(worker=worker.listed, reason="killed"))

    def give_up(self, name: str) -> SimulatedWorker:
        """Have the cluster say that a worker is gone with its node, while it lives on and speaks."""
        worker = self.workers.pop(name)
        self.former.append(worker)
        self._changed()
        gone = ports.Gone(worker=worker.listed, reason="its node is gone", cause=Cause.NODE_LOST)
        self._events.put_nowait(gone)
        return worker

    def names(self) -> set[str]:
        return set(self.workers)

    def busy(self) -> set[str]:
        return {name for name, worker in self.workers.items() if worker.held}

    async def shown(self, pipeline: str = "p") -> records.Scaling:
        entry = await self.scaling.get(pipeline)
        assert entry is not None
        assert entry.value is not None
        return entry.value

    def take(self, listed: ports.Worker) -> Work | None:
        for work in self.work:
            if work.pending and work.pipeline == listed.pipeline:
                return work
        return None

    async def _measure(self, pipeline: str, job: str) -> Gauge | None:
        for work in self.work:
            if (work.pipeline, work.job) == (pipeline, job):
                return work.gauge()
        return None

    async def _deliveries(self, pipeline: str, job: str) -> int | None:
        return 1 if await self._measure(pipeline, job) is not None else None

    async def _leases(self, _pipeline: str, _job: str) -> InFlight | None:
        return None  # here every claim arrives

    def _nak(self, subject: str) -> None:
        _, _, _stream, job, _, sequence, *_ = subject.split(".")
        for work in self.work:
            if work.job == job:
                work.give_back(int(sequence) - 1)
        self._there_is_more()

    def _there_is_more(self) -> None:
        self.more.set()
        self.more = asyncio.Event()

    def _control(self, subject: str, drain: messages.Drain) -> None:
        name = subject.rpartition(".")[2]
        for worker in [*self.workers.values(), *self.former]:
            if worker.listed.name == name and drain.incarnation in ("", worker.listed.instance):
                worker.drain()

    def _changed(self) -> None:
        self.history.append((self.clock.monotonic_s(), len(self.workers)))
