"""The worker agent's process: `run_pair` for a fork server, `main` for a container.

A local worker is a pair: the shim is forked first, before there is a loop or a thread, and lives in
a mount namespace of its own; the two are joined by a socket pair, so there is no path at which
anybody else could speak as one of them. In a container the agent listens on a path, and the shim is
the first process of the container beside it.
"""

import asyncio
import contextlib
import dataclasses
import functools
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

from trunkline.bus.connection import connect
from trunkline.contracts import subjects
from trunkline.contracts.messages import Cut
from trunkline.contracts.wards import Ward
from trunkline.runtime import ending, logs, metric_names, probes, settings
from trunkline.runtime.clock import SystemClock
from trunkline.runtime.metrics import WORKER, Sample
from trunkline.runtime.showing import Shown
from trunkline.storage.store import Store, open_store
from trunkline.worker_agent import assembly, children, environment, link, linux, namespaces, shim
from trunkline.worker_agent.assembly import UserSide
from trunkline.worker_agent.files import Workspace
from trunkline.worker_agent.link import Link
from trunkline.worker_agent.protocol import NO_FLAGS, HelloFlag
from trunkline.worker_agent.service import EXIT_SHIM_LOST, EXIT_STOPPED, Worker
from trunkline.worker_agent.settings import Settings

_SHIM_END_S = 6.0
"""Seconds for the shim to end after the agent, and for what it leaves; it ends by itself."""

_GROUPS_UMASK = 0o002
"""In a pod commands run as other users of our group: what we make is the group's, too."""

_STOPPING = (signal.SIGTERM, signal.SIGINT)


def run_pair(environ: Mapping[str, str]) -> None:
    """Be a local worker, agent and shim, until it is stopped; SystemExit for any other end.

    Called in a process of its own with one thread and without an event loop.
    """
    stops = _Stops()
    config = settings.load(Settings, environ)
    space = Workspace(Path(config.home_dir).absolute())
    space.prepare()
    ours, theirs = socket.socketpair()
    linux.become_subreaper()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_shim(theirs, space)
    theirs.close()
    linux.set_dumpable(False)  # a command of the same user must not read our memory
    buried = threading.Thread(target=_bury, args=(pid,), name="shim-end", daemon=True)
    buried.start()
    try:
        code = _run(_one(config, environ, space, functools.partial(_at_once, ours), stops))
    finally:
        ours.close()  # by which the shim ends, also that of an agent which has never met it
        buried.join(_SHIM_END_S)
    if code:
        raise SystemExit(code)


def main(environ: Mapping[str, str] | None = None) -> None:
    """Be the agent's container of a pod, until it is stopped; SystemExit for any other end."""
    stops = _Stops()
    environ = os.environ if environ is None else environ
    config = settings.load(Settings, environ)
    os.umask(_GROUPS_UMASK)
    space = Workspace(Path(config.home_dir).absolute(), shared=True)
    linux.set_dumpable(False)  # whoever shares our user id must not read our memory
    code = _run(_incarnations(config, environ, space, stops))
    if code:
        raise SystemExit(code)


async def _one(
    config: Settings,
    environ: Mapping[str, str],
    space: Workspace,
    meet: Callable[[], Coroutine[Any, Any, socket.socket]],
    stops: "_Stops",
) -> int:
    """Be one worker, for the one shim that there is."""
    async with _probed(config) as (readiness, shown):
        return await agent(config, environ, space, meet, stops, readiness, shown)


async def _incarnations(
    config: Settings, environ: Mapping[str, str], space: Workspace, stops: "_Stops"
) -> int:
    """Be a worker for each life of the user's container, one after the other; return the exit code.

    While there is none nothing is pulled. To the others it is a worker that closed well and came back, under
    the same name: nobody is charged for what it had not begun.
    """
    meet = functools.partial(link.accept, config.shim_socket)
    past = _Past()
    async with _probed(config) as (readiness, shown):
        while True:
            readiness.judge_by(lambda: ["the user's container is not there"])
            code = await agent(config, environ, space, meet, stops, readiness, shown, past)
            if code != EXIT_SHIM_LOST or stops.seen:
                return code


@contextlib.asynccontextmanager
async def _probed(config: Settings) -> AsyncIterator[tuple[probes.Readiness, Shown]]:
    """Answer probes and scrapes inside."""
    readiness = probes.Readiness()
    shown = Shown(WORKER, lambda: readiness.reasons)
    async with probes.served(config.probe_host, config.probe_port, readiness, shown):
        yield readiness, shown


async def agent(
    config: Settings,
    environ: Mapping[str, str],
    space: Workspace,
    meet: Callable[[], Coroutine[Any, Any, socket.socket]],
    stops: "_Stops",
    readiness: probes.Readiness,
    shown: Shown,
    past: "_Past | None" = None,
) -> int:
    """Work until stopped, or until the shim is gone; return the exit code.

    Args:
        config: What the worker is told.
        environ: What a part of is passed on to commands.
        space: Its directories, prepared.
        meet: Gives the connection to the shim.
        stops: The signals that may have come already.
        readiness: Is told how it is judged.
        shown: Is told what there is to show.
        past: What one life of the user's container leaves to the next.
    """
    past = past or _Past()
    logs.configure("worker-agent", pipeline=config.pipeline, worker=config.worker)
    logs.say_failures(asyncio.get_running_loop())
    store, ward = open_store(config.store), Ward(config.pipeline, config.ward)
    worker: Worker | None = None
    own = asyncio.current_task()

    def stop() -> None:
        stops.seen = True
        if worker is not None:
            worker.stop()
        elif own is not None:
            own.cancel()  # it waits for the shim or for NATS, and holds nothing

    async with contextlib.AsyncExitStack() as ends:
        ends.callback(stops.deliver_to(stop))
        if stops.seen:
            return EXIT_STOPPED
        ends.enter_context(_stopped_is_an_end(stops))
        shim_link = Link(await meet(), on_term=stop)
        ends.callback(shim_link.close)
        try:
            side = await _met(shim_link, config, environ, space)
        except link.ShimLostError:
            return EXIT_SHIM_LOST
        inbox = subjects.worker_inbox(ward, config.worker)
        connection = await ends.enter_async_context(
            connect(config.data_url, name=config.worker, inbox=inbox)
        )
        readiness.judge_by(lambda: [*connection.problems, *store.health.problems])
        lines = assembly.lines(connection, ward)
        worker = Worker(config, lines, side, store, clock=SystemClock(), cut=past.cut)
        if stops.seen or side.terminating:
            worker.stop()
        async with shown.about(functools.partial(_samples, store, worker), connection):
            code = await worker.run()
        past.cut = worker.cut
        return code
    return EXIT_STOPPED


async def _met(
    shim_link: Link, config: Settings, environ: Mapping[str, str], space: Workspace
) -> UserSide:
    """Greet the shim; ShimLostError if it is gone."""
    hello = await shim_link.hello()
    if config.shim_socket:  # what an agent before us has left there, only the shim may open
        await shim_link.chmod("/pfs")
        await asyncio.to_thread(space.prepare)
    # in a container of its own a command has that image's PATH and HOME, not ours
    inherited = {} if config.shim_socket else environment.base(environ)
    return UserSide(link=shim_link, hello=hello, space=space, inherited=inherited)


def _samples(store: Store, worker: Worker) -> list[Sample]:
    return [
        (metric_names.STORE_ERRORS, (WORKER,), store.health.failures),
        (metric_names.WORKER_LOG_LINES_DROPPED, (), worker.dropped_lines),
    ]


@contextlib.contextmanager
def _stopped_is_an_end(stops: "_Stops") -> Iterator[None]:
    try:
        yield
    except asyncio.CancelledError:
        if not stops.seen:
            raise


@dataclasses.dataclass
class _Past:
    """What is still to be told of the lives of the user's container that are over."""

    cut: Cut | None = None


class _Stops:
    """SIGTERM and SIGINT, from the first line on: one that comes early is kept."""

    def __init__(self) -> None:
        self.seen = False
        for number in _STOPPING:
            signal.signal(number, self._see)

    def deliver_to(self, stop: Callable[[], None]) -> Callable[[], None]:
        """Call `stop` from the loop at each signal from now on; return what ends that."""
        loop = asyncio.get_running_loop()
        for number in _STOPPING:
            loop.add_signal_handler(number, stop)

        def undo() -> None:
            for number in _STOPPING:
                loop.remove_signal_handler(number)
                signal.signal(number, self._see)

        return undo

    def _see(self, *_: object) -> None:
        self.seen = True


def _be_shim(theirs: socket.socket, space: Workspace) -> None:
    """Be the shim, and never return."""
    code = shim.EXIT_AGENT_LOST
    try:
        refused = namespaces.present(space.pfs, space.root)
        if refused:
            sys.stderr.write(f"no /pfs here, commands have $PFS only: {refused}\n")
            sys.stderr.flush()
            code = shim.serve_one(theirs, flags=NO_FLAGS)
        else:
            code = shim.serve_one(theirs, flags=HelloFlag.PFS_MOUNTED, show=namespaces.show)
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


async def _at_once(connected: socket.socket) -> socket.socket:
    return connected


def _run(service: Coroutine[Any, Any, int]) -> int:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.run(service)
    return uvloop.run(service)


def _bury(pid: int) -> None:
    """Wait for the shim's end, then kill what it has not: of a shim that was killed, all commands.

    They have become our children. That the agent dies, too, before this is done, is the pool's case.
    """
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    children.sweep()


if __name__ == "__main__":
    ending.run(main)
