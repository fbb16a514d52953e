"""Liveness, readiness and metrics over HTTP, for whoever runs the process: a kubelet, Prometheus, or a person with curl.

    /livez    200 while the event loop turns: who gets no answer may kill the process
    /readyz   200 if nothing keeps the process from its work, else 503, and in both cases JSON:
              {"ready": false, "reasons": ["..."]}
    /metrics  what the process shows (`showing`), as text, or as OpenMetrics for who asks for that

The reasons are asked for at each request; they are for people, and say nothing secret. That a process
is not ready never ends it: what passes by itself (a server that is away) is waited out, and what does
not (a subject that is refused) would be no better after a restart.

The port is open from the first line on; the library that answers (0.3 s of CPU, 20 MB) is imported when somebody
first asks, in a thread, so that who is never asked never pays for it, and nobody waits for it but who asks.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from trunkline.runtime.metrics import Sample
from trunkline.runtime.showing import Shown

if TYPE_CHECKING:
    from aiohttp import web

log = logging.getLogger(__name__)


class Readiness:
    """Whether a process can do its work. It cannot until somebody says how that is judged."""

    def __init__(self) -> None:
        self._judge: Callable[[], Sequence[str]] = lambda: ["it is starting"]

    def judge_by(self, judge: Callable[[], Sequence[str]]) -> None:
        """Ask this function from now on: it returns a sentence for each reason why not."""
        self._judge = judge

    @property
    def reasons(self) -> list[str]:
        """What keeps the process from its work; nothing when it is ready."""
        return list(self._judge())


@asynccontextmanager
async def served(
    host: str,
    port: int | None,
    readiness: Readiness,
    shown: Shown | None = None,
    *,
    fd: int | None = None,
) -> AsyncIterator[int | None]:
    """Answer probes inside; yield the port. It is entered first: a process that waits is alive.

    Args:
        host: The address to listen on: the host's own for kubelets, loopback for ourselves.
        port: None: serve nothing; 0: any that is free.
        readiness: What is told.
        shown: What is shown as metrics; None: nothing.
        fd: A socket that listens already, in place of the port.

    Raises:
        OSError: the port is taken.
    """
    if port is None and fd is None:
        yield None
        return
    with _listening(host, port or 0, fd) as listening:
        listening.setblocking(False)
        bound = int(listening.getsockname()[1])
        log.info("probes are served", extra={"host": host, "port": bound})
        async with asyncio.TaskGroup() as tasks:
            beside = [tasks.create_task(_answer(listening, readiness, shown), name="probes")]
            if shown is not None:
                beside.append(tasks.create_task(shown.watch_loop(), name="loop-lag"))
            try:
                yield bound
            finally:
                for each in beside:
                    each.cancel()


def _listening(host: str, port: int, fd: int | None) -> socket.socket:
    if fd is not None:
        return socket.socket(fileno=fd)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


async def _answer(listening: socket.socket, readiness: Readiness, shown: Shown | None) -> None:
    """Answer who asks, for ever."""
    await _asked(listening)
    runner = await asyncio.to_thread(_runner, readiness, shown)
    await runner.setup()
    try:
        from aiohttp import web  # noqa: PLC0415 - `_runner` has imported it

        await web.SockSite(runner, listening).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def _asked(listening: socket.socket) -> None:
    """Return once somebody wants to be connected."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(listening, asked.set)
    try:
        await asked.wait()
    finally:
        loop.remove_reader(listening)


def _runner(readiness: Readiness, shown: Shown | None) -> "web.AppRunner":
    from aiohttp import web  # noqa: PLC0415 - see the module

    def answer(status: int, content: dict[str, object]) -> web.Response:
        body = msgspec.json.encode(content)
        return web.Response(status=status, body=body, content_type="application/json")

    async def live(_request: web.Request) -> web.Response:
        return answer(200, {"live": True})

    async def ready(_request: web.Request) -> web.Response:
        reasons = readiness.reasons
        return answer(503 if reasons else 200, {"ready": not reasons, "reasons": reasons})

    handlers: dict[str, Callable[[web.Request], Awaitable[web.Response]]] = {
        "/livez": live,
        "/readyz": ready,
    }
    if shown is not None:
        handlers["/metrics"] = _metrics(shown)
    app = web.Application()
    for path, handler in handlers.items():
        app.router.add_get(path, handler)
    return web.AppRunner(app, access_log=None, shutdown_timeout=0.5)


def _metrics(shown: Shown) -> "Callable[[web.Request], Awaitable[web.Response]]":
    from aiohttp import web  # noqa: PLC0415 - see the module

    async def metrics(request: web.Request) -> web.Response:
        accept = ",".join(request.headers.getall("Accept", []))
        body, content_type = await asyncio.to_thread(_rendered, shown.samples(), accept)
        return web.Response(body=body, headers={"Content-Type": content_type})

    return metrics


def _rendered(samples: list[Sample], accept: str) -> tuple[bytes, str]:
    from trunkline.runtime import exposition  # noqa: PLC0415 - 0.1 s that only who is scraped pays

    return exposition.rendered(samples, accept)
