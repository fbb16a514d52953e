"""Liveness and readiness over HTTP, for whoever runs the process: a kubelet, or a person with curl.

    /livez    200 while the event loop turns: who gets no answer may kill the process
    /readyz   200 if nothing keeps the process from its work, else 503, and in both cases JSON:
              {"ready": false, "reasons": ["..."]}

The reasons are asked for at each request; they are for people, and say nothing secret. That a process
is not ready never ends it: what passes by itself (a server that is away) is waited out, and what does
not (a subject that is refused) would be no better after a restart.
"""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

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
async def served(host: str, port: int | None, readiness: Readiness) -> AsyncIterator[int | None]:
    """Answer probes inside; yield the port. It is entered first: a process that waits is alive.

    Args:
        host: The address to listen on: the host's own for kubelets, loopback for ourselves.
        port: None: serve nothing; 0: any that is free.
        readiness: What is told.

    Raises:
        OSError: the port is taken.
    """
    if port is None:
        yield None
        return
    from aiohttp import web  # noqa: PLC0415 - 0.6 s that only who serves probes pays

    def answer(status: int, content: dict[str, object]) -> web.Response:
        body = msgspec.json.encode(content)
        return web.Response(status=status, body=body, content_type="application/json")

    async def live(_request: web.Request) -> web.Response:
        return answer(200, {"live": True})

    async def ready(_request: web.Request) -> web.Response:
        reasons = readiness.reasons
        return answer(503 if reasons else 200, {"ready": not reasons, "reasons": reasons})

    app = web.Application()
    app.router.add_get("/livez", live)
    app.router.add_get("/readyz", ready)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound = int(runner.addresses[0][1])
        log.info("probes are served", extra={"host": host, "port": bound})
        yield bound
    finally:
        await runner.cleanup()
