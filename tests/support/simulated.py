"""A cluster, its workers and the messages between them and the scaler, in simulated time.

Nothing here polls: everything wakes on an event or sleeps until an instant, so hours pass in
milliseconds. The workers do what worker agents promise, no more: they claim, work one datum at a
time, and answer a drain.
"""

import asyncio
import collections
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Generic, TypeVar

import msgspec
import pytest
from tests.support.wards import DATA_KEY, WARDS, ward

from trunkline.bus.ports import Acked, Entry, Message, Stored
from trunkline.bus.topology import InFlight
from trunkline.contracts import errors, messages, records, spec, subjects
from trunkline.contracts.messages import HEARTBEAT_S, Claim, Held
from trunkline.contracts.states import JobState, PipelineState
from trunkline.coordinator.tables import Tables
from trunkline.scaler import ports
from trunkline.scaler.core.decision import Gauge
from trunkline.scaler.service import Scaler
from trunkline.scaler.settings import Settings

R = TypeVar("R", bound=msgspec.Struct)


TIME = pytest.mark.looptime(noop_cycles=1)
"""For tests in it. What is simulated wakes at once, so the loop need not idle dozens of times to be
sure of that before it moves the clock."""


class LoopClock:
    """The event loop's time, as both clocks."""

    def wall_ns(self) -> int:
        return int(self.monotonic_s() * 1e9)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


class MemoryBus:
    """A connection, and the publisher on it: messages reach whoever serves their subject."""

    max_payload, violations = 1 << 20, 0
    problems: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.connected = True
        self.handlers: dict[str, Callable[[Message], Awaitable[None]]] = {}
        self.stored: dict[str, Stored] = {}
        self.naks: list[str] = []
        self.on_nak: Callable[[str], None] = lambda _: None
        self.on_control: Callable[[str, messages.Drain], None] = lambda *_: None
        self._sequences = itertools.count(1)
        self._reconnected: list[Callable[[], None]] = []

    async def publish(
        self, subject: str, data: bytes, *, headers: Mapping[str, str] | None = None
    ) -> None:
        del headers
        if not self.connected:
            return  # of workers, too: they go on, and nobody hears them
        if subject.startswith("$JS.ACK."):
            self.naks.append(subject)
            self.on_nak(subject)
            return
        if subject.startswith("trunkline.control."):
            self.on_control(subject, messages.decode(subject, data, messages.Drain))
            return
        self.store(subject, data)
        handler = self.handlers.get(subjects.CLAIMS)
        if subject.startswith("trunkline.claims.") and handler is not None:
            await handler(Message(subject=subject, data=data))

    def reconnect(self) -> None:
        self.connected = True
        for callback in self._reconnected:
            callback()

    async def tell(self, subject: str, user: str, name: str, connection: int) -> None:
        """Say what a server says when a client comes or goes."""
        client = {"id": connection, "user": user, "name": name}
        event = {"client": client, "server": {"id": "s"}, "reason": "Client Closed"}
        if subject in self.handlers:
            await self.handlers[subject](Message(subject=subject, data=msgspec.json.encode(event)))

    def store(self, subject: str, data: bytes) -> Stored:
        self.stored[subject] = Stored(subject=subject, data=data, sequence=next(self._sequences))
        return self.stored[subject]

    async def put(
        self,
        subject: str,
        data: bytes,
        *,
        msg_id: str = "",
        expected_last: int | None = None,
        timeout_s: float = 30.0,
    ) -> Acked:
        del msg_id, timeout_s
        last = self.stored.get(subject)
        if expected_last is not None and expected_last != (last.sequence if last else 0):
            raise errors.RefusedError(subject, errors.RefusedError.WRONG_LAST_SEQUENCE, "moved")
        return Acked(stream="s", sequence=self.store(subject, data).sequence)

    async def request(self, subject: str, data: bytes, **_: Any) -> Message:
        raise errors.UnavailableError(subject, f"nobody listens ({len(data)} bytes)")

    async def serve(self, subject: str, handler: Callable[[Message], Awaitable[None]]) -> None:
        self.handlers[subject] = handler

    def on_reconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        self._reconnected.append(callback)
        return lambda: self._reconnected.remove(callback)

    async def last(self, stream: str, subject: str) -> Stored | None:
        del stream
        return self.stored.get(subject)

    async def scan(self, stream: str, subject_filter: str) -> list[Stored]:
        del stream
        prefix = subject_filter.partition("*")[0]
        return [each for key, each in self.stored.items() if key.startswith(prefix)]

    async def flush(self) -> None:
        return

    async def closed(self) -> None:
        await asyncio.Event().wait()


class MemoryTable(Generic[R]):
    """A bucket whose watchers wake on each change."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry[R]] = {}
        self._revisions = itertools.count(1)
        self._watchers: list[asyncio.Queue[Sequence[Entry[R]]]] = []

    async def get(self, key: str) -> Entry[R] | None:
        entry = self.entries.get(key)
        return entry if entry is not None and entry.value is not None else None

    async def create(self, key: str, value: R) -> int:
        if await self.get(key) is not None:
            raise errors.AlreadyExistsError("record", key)
        return await self.put(key, value)

    async def update(self, key: str, value: R, revision: int) -> int:
        if self.entries[key].revision != revision:
            raise errors.ConflictError("record", key)
        return await self.put(key, value)

    async def put(self, key: str, value: R) -> int:
        return self._set(key, value)

    async def delete(self, key: str, revision: int | None = None) -> None:
        del revision
        self._set(key, None)

    async def all(self, prefix: str = "") -> list[Entry[R]]:
        live = [e for e in self.entries.values() if e.value is not None]
        return sorted((e for e in live if e.key.startswith(prefix)), key=lambda e: e.key)

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[Sequence[Entry[R]]]]:
        queue: asyncio.Queue[Sequence[Entry[R]]] = asyncio.Queue()
        queue.put_nowait(await self.all())
        self._watchers.append(queue)

        async def batches() -> AsyncIterator[Sequence[Entry[R]]]:
            while True:
                yield await queue.get()

        yield batches()
        self._watchers.remove(queue)

    def _set(self, key: str, value: R | None) -> int:
        entry = Entry[R](key=key, value=value, revision=next(self._revisions))
        self.entries[key] = entry
        for queue in self._watchers:
            queue.put_nowait([entry])
        return entry.revision


def tables() -> Tables:
    """Return all buckets of the account CTL, empty."""
    return Tables(
        pipelines=MemoryTable(),
        repos=MemoryTable(),
        branches=MemoryTable(),
        commits=MemoryTable(),
        jobs=MemoryTable(),
        done=MemoryTable(),
        nodes=MemoryTable(),
        scaling=MemoryTable(),
    )


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

    def drain(self) -> None:
        self.draining = True
        self._told.set()

    async def run(self) -> None:
        await asyncio.sleep(self.world.start_s)
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
        while (left_s := ends_s - self.world.clock.monotonic_s()) > 0:
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
        claim = Claim(
            worker=self.listed.name,
            incarnation=self.listed.instance,
            code_hash=self.listed.code_hash,
            slots=1,
            held=self.held,
            draining=self.draining,
            pulled_ns=1,
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
    """

    def __init__(self, *, nodes: int = 4, start_s: float = 0.1) -> None:
        self.clock, self.bus, self.start_s = LoopClock(), MemoryBus(), start_s
        self.bus.on_nak, self.bus.on_control = self._nak, self._control
        self.pipelines: MemoryTable[records.Pipeline] = MemoryTable()
        self.jobs: MemoryTable[records.Job] = MemoryTable()
        self.scaling: MemoryTable[records.Scaling] = MemoryTable()
        self.nodes = [ports.Node(name=f"n{number}") for number in range(nodes)]
        self.workers: dict[str, SimulatedWorker] = {}
        self.work: list[Work] = []
        self.more = asyncio.Event()
        self.history: list[tuple[float, int]] = []
        self.created: list[tuple[float, str]] = []
        self.killed_busy: list[str] = []
        self.refuse = ""
        self.deaf = False
        self.away = False
        self._numbers = itertools.count(1)
        self._events: asyncio.Queue[ports.ClusterEvent] = asyncio.Queue()
        self._tasks: asyncio.TaskGroup | None = None

    # --- the cluster ------------------------------------------------------------------------------

    def placement(self, pipeline: spec.PipelineSpec) -> ports.Placement:
        del pipeline
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
            for worker in self.workers.values():
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
        record = records.Pipeline(name=name, state=PipelineState.RUNNING, spec=converted)
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
        worker = self.workers.get(subject.rpartition(".")[2])
        if worker is not None and drain.incarnation in ("", worker.listed.instance):
            worker.drain()

    def _changed(self) -> None:
        self.history.append((self.clock.monotonic_s(), len(self.workers)))
