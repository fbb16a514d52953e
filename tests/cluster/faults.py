"""A way to the API server on which what a test has written down goes wrong.

The proxy hands over every request, watches line by line, until a rule fits: a rule says which requests it is for,
what happens to them, and how often. A refusal is answered by the proxy alone, in the server's own
words; a slow answer is held until the test lets it go; a watch is cut after so many events, or at once
when the test says so, or is told in the stream that its version is too old; all watches are late while
`flowing` is cleared.

It speaks plain HTTP to its clients, on loopback; their tokens it hands over as they are.
"""

import asyncio
import contextlib
import json
import re
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web
from tests.cluster.plane.credentials import kubeconfig
from yarl import URL

_REASONS = {410: "Expired", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}
_NOT_HANDED_OVER = ("Host", "Content-Length", "Transfer-Encoding", "Content-Encoding", "Connection")


@dataclass(kw_only=True)
class Rule:
    """What goes wrong, for which requests. Made by the functions below."""

    method: str
    path: re.Pattern[str]
    watch: bool | None = None
    """True: watches only; False: anything else; None: both."""
    times: int = 1
    """How many requests it still is for."""
    status: int | None = None
    retry_after_s: int | None = None
    held: asyncio.Event | None = None
    """The answer waits until this is set."""
    events: int | None = None
    """A watch ends after so many."""
    ending: bytes = b""
    """What a watch says last; nothing: the connection is cut."""
    met: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a request has fitted it for the first time."""

    def fits(self, method: str, path: str, *, watch: bool) -> bool:
        """Say whether it is for this request; counts it if so."""
        if self.times <= 0 or method != self.method or self.watch not in (None, watch):
            return False
        if not self.path.search(path):
            return False
        self.times -= 1
        self.met.set()
        return True


def refuse(
    status: int, path: str, *, method: str = "GET", times: int = 1, retry_after_s: int | None = None
) -> Rule:
    """Answer with an error; with 429, `retry_after_s` is what the client is told."""
    return Rule(
        method=method,
        path=re.compile(path),
        times=times,
        status=status,
        retry_after_s=retry_after_s,
    )


def hold(path: str, *, method: str = "GET", times: int = 1) -> Rule:
    """Answer, but not before `rule.held.set()`; what was asked for is done at once."""
    return Rule(
        method=method, path=re.compile(path), watch=False, times=times, held=asyncio.Event()
    )


def cut(path: str, *, events: int = 0, times: int = 1) -> Rule:
    """Cut the connection of a watch after so many events."""
    return Rule(method="GET", path=re.compile(path), watch=True, times=times, events=events)


def expire(path: str, *, events: int = 0, times: int = 1) -> Rule:
    """Say 410 in a watch's stream, after so many events."""
    status = {"type": "ERROR", "object": _status(410, "too old resource version")}
    rule = cut(path, events=events, times=times)
    rule.ending = json.dumps(status).encode() + b"\n"
    return rule


class FaultProxy:
    """Made by `before()`; rules may be added at any time, the first that fits is taken."""

    def __init__(
        self, server: str, context: ssl.SSLContext, session: aiohttp.ClientSession
    ) -> None:
        self.url = ""
        self.rules: list[Rule] = []
        self.requests = Counter[tuple[str, str]]()
        """How often (method, path) was asked for; a watch counts as WATCH."""
        self._server, self._context, self._session = server, context, session
        self.flowing = asyncio.Event()
        """While it is not set, nothing comes through any watch, and nothing is lost."""
        self.flowing.set()
        self._watches = set[asyncio.Transport]()

    def add(self, rule: Rule) -> Rule:
        """Have this go wrong from now on."""
        self.rules.append(rule)
        return rule

    def cut_watches(self) -> int:
        """Cut all watches that are open; return how many that were."""
        for transport in self._watches:
            transport.abort()
        return len(self._watches)

    def kubeconfig(self, token: str, path: Path) -> Path:
        """Write a kubeconfig that leads through here; return its path."""
        path.write_text(kubeconfig(self.url, token))
        return path

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        watch = request.query.get("watch", "").lower() in ("true", "1")
        self.requests["WATCH" if watch else request.method, request.path] += 1
        fitting = (one for one in self.rules if one.fits(request.method, request.path, watch=watch))
        rule = next(fitting, None)
        if rule is not None and rule.status is not None:
            return _refusal(rule.status, rule.retry_after_s)
        headers = {k: v for k, v in request.headers.items() if k not in _NOT_HANDED_OVER}
        try:
            async with self._session.request(
                request.method,
                URL(f"{self._server}{request.raw_path}", encoded=True),
                headers=headers,
                data=await request.read(),
                ssl=self._context,
            ) as answer:
                if watch and answer.status == 200:
                    return await self._relay_watch(request, answer, rule)
                body = await answer.read()
        except aiohttp.ClientError:  # the server is away: so are we
            _cut(request)
            return web.Response(status=502)
        if rule is not None and rule.held is not None:
            await rule.held.wait()
        kept = {k: v for k, v in answer.headers.items() if k not in _NOT_HANDED_OVER}
        return web.Response(status=answer.status, headers=kept, body=body)

    async def _relay_watch(
        self, request: web.Request, answer: aiohttp.ClientResponse, rule: Rule | None
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        assert request.transport is not None
        transport = request.transport
        self._watches.add(transport)
        try:
            left = None if rule is None else rule.events
            while left is None or left > 0:
                line = await answer.content.readline()
                if not line:
                    return response
                await self.flowing.wait()
                await response.write(line)
                left = None if left is None else left - 1
            if rule is not None and rule.ending:
                await response.write(rule.ending)
                return response
        except (aiohttp.ClientError, ConnectionError):
            _cut(request)  # the server, or the client, has gone
        finally:
            self._watches.discard(transport)
        _cut(request)
        return response


@contextlib.asynccontextmanager
async def before(server: str, context: ssl.SSLContext) -> AsyncIterator[FaultProxy]:
    """Yield a proxy before the API server at this address."""
    async with aiohttp.ClientSession(auto_decompress=True, read_bufsize=1 << 21) as session:
        proxy = FaultProxy(server, context, session)
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            proxy.url = f"http://127.0.0.1:{port}"
            yield proxy
        finally:
            await runner.cleanup()


def _refusal(status: int, retry_after_s: int | None) -> web.Response:
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return web.json_response(
        _status(status, "as the test wants it"), status=status, headers=headers
    )


def _status(code: int, message: str) -> dict[str, object]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": _REASONS.get(code, "Unknown"),
        "message": message,
        "code": code,
    }


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
