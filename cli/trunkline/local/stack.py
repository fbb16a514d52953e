"""An installation on one machine: a nats-server, the services and the pool, kept running.

    locked -> leftovers cleared -> credentials and configuration written -> context.json written
           -> all services started at once -> the API answers -> nodes set -> up
    up     -> (a service dies -> started again at once, then with back-off) -> up
    up     -> stopped: scaler, coordinator, pool (its workers drain), nats-server -> unlocked

The order of the stop lets each service still reach those that it needs: the scaler makes no more
workers, workers finish or give back what they hold, and the server goes last.

What a crash of the supervisor between any two lines leaves behind: the lock is the kernel's and
goes with the process; children are told by the kernel (see `children`) or cleared at the next
start; configuration and context are whole files, replaced by rename; everything else is the
services' own state, which survives kill -9 of any of them. A second supervisor on the same state
directory is refused while the first one lives.

What ends it is told in a line: a signal, or a fault of our own in what keeps a service. No death of a service does, nor
that one cannot be started, nor that nobody is there any more to be told.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from pathlib import Path

from trunkline.bus import logins
from trunkline.client import client as clients
from trunkline.client.client import Client
from trunkline.contracts import api, errors, records
from trunkline.local import children, full_disk, layout, log_files, scraping, storing
from trunkline.local.children import Child
from trunkline.local.home import Context, Home
from trunkline.storage import urls
from trunkline.storage.store import open_store

READY_S = 30.0
"""How long a start may take before it is called failed; it takes about two seconds."""

Front = Callable[[Sequence[tuple[int, int]]], AbstractAsyncContextManager[None]]
"""Takes ports: where a server is looked for, and where it listens."""

STOP_ORDER = ("scaler", "coordinator", "pool")
"""What their names begin with. And the servers last. All of a kind at once: what shrinks under way would
only elect leaders."""


class AlreadyRunningError(errors.TrunklineError):
    """Another supervisor has this state directory, or processes that have none (`single`)."""

    def __init__(self, root: Path, pid: str) -> None:
        who = (
            f"as process {pid}; stop it with `trunkline down`"
            if pid
            else "of single processes; end them"
        )
        super().__init__(
            f"an installation runs in {str(root)!r} already, {who}, or choose another directory with --home"
        )
        self.root, self.pid = root, pid


class StartError(errors.TrunklineError):
    """The services did not come up in time."""

    def __init__(self, reason: str, logs: Mapping[str, str]) -> None:
        lines = "".join(f"\n  {name}: {line}" for name, line in logs.items())
        super().__init__(f"the installation did not come up: {reason}{lines}")
        self.reason, self.logs = reason, logs


class Stack:
    """An installation that is up."""

    def __init__(self, home: Home, context: Context, services: Mapping[str, Child]) -> None:
        self.home = home
        self.context = context
        self.services = services

    @property
    def url(self) -> str:
        """URL of NATS for users, with a password."""
        return self.context.url

    @property
    def store(self) -> str:
        """URL of the object store."""
        return self.context.store

    @property
    def pids(self) -> dict[str, int]:
        """Process id of each service that runs now."""
        return {name: child.pid for name, child in self.services.items() if child.pid}

    def kill(self, service: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a service a signal; the supervisor starts it again if it ends by that."""
        self.services[service].kill(number)

    async def restarted(self, service: str, *, after: int) -> int:
        """Return the process id once the service was started more than `after` times."""
        return await self.services[service].started(after)

    def starts(self, service: str) -> int:
        """Return how often a service was started."""
        return self.services[service].starts

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Yield a client of this installation."""
        async with clients.connect(self.url, self.store) as client:
            yield client


@asynccontextmanager
async def running(
    home: Home | Path,
    *,
    nodes: int | None = None,
    port: int | None = None,
    servers: int | None = None,
    store: str | None = None,
    settings: Mapping[str, str] | None = None,
    tell: Callable[[str], None] = lambda _: None,
    ready_s: float = READY_S,
    front: Front | None = None,
    standbys: bool = False,
) -> AsyncIterator[Stack]:
    """Run an installation; yield it once its API answers, and stop it at the end.

    Args:
        home: The state directory; made if it is not there.
        nodes: Logical nodes; None keeps what was set before (at first: one per processor).
        port: Of NATS on loopback; None takes the last one, or 4222, or any that is free; 0 any.
        servers: Of NATS: 1, or 3, of which one may be lost; None takes as many as before, or one.
        store: URL of the object store; None takes the last one, or a directory in the state
            directory. Credentials of a bucket stand in our environment (`storage.clouds`).
        settings: Environment of the services beside their own, such as TRUNKLINE_ACK_WAIT_S.
        tell: Takes a line for people when a service dies.
        ready_s: Within which the API must answer.
        front: Stands between the NATS servers and all that look for them, as long as they run.
        standbys: Whether another coordinator and another scaler stand by.

    Raises:
        AlreadyRunningError: another supervisor runs in this directory.
        AnotherNumberError: its streams are in another number of servers.
        AnotherStoreError: its objects are in another store.
        InvalidStoreUrlError: no store can be meant by that.
        StartError: the API did not answer in time.
    """
    home = home if isinstance(home, Home) else Home(home)
    home.make()
    tell = _to_whom_is_there(tell)
    with ExitStack() as ends:
        ends.enter_context(_locked(home))
        for name in await children.clear_leftovers(home.pids):
            tell(f"{name} was left from a supervisor that was killed; stopped")
        store = storing.choose(home, store)
        open_store(store)  # one that cannot be meant is told before anything is started
        plan = layout.prepare(
            home,
            port=port,
            servers=servers,
            store_url=store,
            settings=settings or {},
            fronted=front is not None,
            standbys=standbys,
        )
        home.write_context(plan.context)
        made = ends.enter_context(scraping.listening(home, plan.services))
        services = {
            each.name: Child(each, pids=home.pids, logs=home.logs, tell=tell) for each in made
        }
        stack = Stack(home, plan.context, services)
        outside = front(plan.fronts) if front is not None else nullcontext()
        async with _kept_running(stack, outside, tell):
            await _ready(stack, nodes, ready_s)
            storing.keep(home, store)
            yield stack


@asynccontextmanager
async def _kept_running(
    stack: Stack, outside: AbstractAsyncContextManager[None], tell: Callable[[str], None]
) -> AsyncIterator[None]:
    """Run the services inside; at the end stop them, kind by kind.

    Args:
        stack: Of them.
        outside: Begins before all, and ends after all.
        tell: Takes a line that says why they are stopped, if it was not asked for from inside.
    """
    services, home = stack.services, stack.home
    failure: BaseException | None = None
    async with outside, asyncio.TaskGroup() as tasks:
        runs = {name: tasks.create_task(child.run(), name=name) for name, child in services.items()}
        nats = {name: services[name] for name in services if name.startswith(layout.SERVER)}
        room = full_disk.watch(nats, home.nats, home.logs, tell)
        beside = [
            tasks.create_task(log_files.keep_small(home.logs), name="logs"),
            tasks.create_task(room, name="full-disk"),
        ]
        try:
            yield
        except BaseException as error:
            failure = error  # the caller's own error: it leaves as it is, in no group of ours
            if why := _why(error, [*runs.values(), *beside]):
                tell(f"stopping: {why}")
        for kind in (*STOP_ORDER, layout.SERVER):
            names = [name for name in services if name.startswith(kind)]
            for name in names:
                services[name].stop()
            await asyncio.wait({runs[name] for name in names})
        for each in beside:
            each.cancel()
    if failure is not None:
        raise failure


async def serve(
    home: Home,
    *,
    nodes: int | None = None,
    port: int | None = None,
    servers: int | None = None,
    store: str | None = None,
    settings: Mapping[str, str] | None = None,
    tell: Callable[[str], None],
    front: Front | None = None,
    standbys: bool = False,
    meanwhile: Callable[[], Awaitable[object]] | None = None,
) -> None:
    """Run an installation until cancelled; say when it is up and what a user needs to know.

    It does `meanwhile` what it is told, if that is anything. For the rest see `running`.
    """
    began = time.monotonic()
    async with running(
        home,
        nodes=nodes,
        port=port,
        servers=servers,
        store=store,
        settings=settings,
        tell=tell,
        front=front,
        standbys=standbys,
    ) as stack:
        tell(f"up in {time.monotonic() - began:.1f} s; state in {home.root}")
        # they are kept in a log
        tell(f"NATS:  {logins.shown(stack.url)}; with the password in {home.context}")
        tell(f"metrics: {' '.join(scraping.addresses(home).values())}")
        tell(f"store: {urls.shown(stack.store)}")
        if meanwhile is not None:
            await meanwhile()
        await asyncio.Event().wait()


def _to_whom_is_there(tell: Callable[[str], None]) -> Callable[[str], None]:
    """Return the same for a supervisor that goes on though its terminal, or who read its lines, is gone."""

    def told(text: str) -> None:
        with contextlib.suppress(OSError):
            tell(text)

    return told


def _why(error: BaseException, tasks: Sequence[asyncio.Task[None]]) -> str:
    """Return what ends an installation: a fault in one of its tasks, or who cancelled it; empty if who runs it knows."""
    for task in tasks:
        if task.done() and not task.cancelled() and (fault := task.exception()) is not None:
            return f"{task.get_name()} cannot be kept running: {type(fault).__name__}: {fault}"
    if isinstance(error, asyncio.CancelledError):
        return f"told to by {' '.join(map(str, error.args)) or 'who runs it'}"
    return ""


@contextmanager
def _locked(home: Home) -> Iterator[None]:
    """Hold the state directory; the kernel lets go of it when this process ends in any way."""
    with home.lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise AlreadyRunningError(home.root, file.read().strip()) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


async def _ready(stack: Stack, nodes: int | None, ready_s: float) -> None:
    """Return once the API answers and there are nodes."""
    reason = "no answer"
    try:
        async with asyncio.timeout(ready_s), stack.client() as client:
            while True:
                try:
                    status = await client.call("status", None, api.Status)
                except errors.UnavailableError as error:
                    reason = str(error)
                    continue
                if status.ready:
                    break
                reason = "; ".join(status.problems) or "not ready"
                await asyncio.sleep(0.05)
            await _set_nodes(client, nodes)
    except (TimeoutError, errors.UnavailableError) as error:
        if isinstance(error, errors.UnavailableError):
            reason = str(error)
        logs = {
            name: lines[-1]
            for name in stack.services
            if (lines := children.last_lines(stack.home.logs / f"{name}.log"))
        }
        raise StartError(reason, logs) from error


async def _set_nodes(client: Client, nodes: int | None) -> None:
    """Set the number of logical nodes; the first time, to one per processor."""
    if nodes is None:
        try:
            if (await client.call("nodes.get", None, records.Nodes)).count > 0:
                return
        except errors.RequestRefusedError as error:
            if error.code != "not-found":
                raise
        nodes = os.cpu_count() or 1
    await client.call("nodes.set", api.NodesSet(count=nodes), records.Nodes)
