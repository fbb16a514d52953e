"""Requests to the coordinator, as `api` describes them, with its refusals as errors.

A request whose answer was lost may have taken effect. Nearly all verbs answer a repeated request like the first
one, so those are repeated until the client's patience is at its end: a coordinator that is killed is back within about
two seconds, a server that is silent within 15, and their clients need not notice. The two that create a thing by name,
and the one that makes a tick, are repeated only where nobody has got them. A deletion is repeated, and where the thing
is gone by then, that is what was asked for (`delete`). A published spec is repeated under one Msg-Id, so it is stored
once. Whoever waits for longer than `NOTICE_S` is told once what for.
"""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import NamedTuple, TypeVar

import msgspec

from trunkline.bus import connection as connections
from trunkline.bus import headers as header_block
from trunkline.bus import logins, ports
from trunkline.bus.jetstream import NoRespondersError
from trunkline.contracts import api, errors, messages, subjects
from trunkline.runtime import backoff, tracing
from trunkline.storage import store as stores

T = TypeVar("T")

PATIENCE_S = 10.0
"""How long an unanswered request is repeated: some restarts of the coordinator."""

NOTICE_S = 3.0
"""After how long without an answer it is told what is waited for."""

REQUEST_S = 5.0
"""How long one request waits for its answer."""

CONNECT_S = 10.0
"""How long a client waits for a NATS server before it says that there is none."""

_ONCE = frozenset({"repo.create", "branch.create", "pipeline.tick"})
"""Repeating these would answer `exists` to the one who has just made the thing, or make another tick."""


class LogsPage(NamedTuple):
    """A page of what was printed."""

    found: list[api.LogEntry]
    after: int
    """The sequence to go on behind."""
    more: bool
    """Whether there is more now."""
    passed: int
    """How many messages were passed over, since nobody can read them."""


class Client:
    """What a user can ask of an installation. One connection, in the account USERS."""

    def __init__(
        self,
        connection: ports.Connection,
        store: stores.Store,
        *,
        patience_s: float = PATIENCE_S,
        waiting: "Waiting | None" = None,
    ) -> None:
        self.connection = connection
        self.store = store
        self._patience_s, self._waiting = patience_s, waiting or Waiting(lambda _: None)
        self._headers = tracing.headers(tracing.of_environment(os.environ))

    async def call(
        self,
        verb: str,
        request: msgspec.Struct | bytes | None,
        kind: type[T],
        *,
        timeout_s: float = REQUEST_S,
    ) -> T:
        """Return the result of one request.

        Args:
            verb: As in `api`, such as `pipeline.get`.
            request: What the verb takes; bytes are sent as they are (a spec).
            kind: The type of the result.
            timeout_s: For one try.

        Raises:
            RequestRefusedError: the coordinator said no; `code` and `problems` say why.
            UnavailableError: nobody answered while there was patience.
        """
        reply = await self._reply(verb, request, timeout_s)
        return _result(verb, reply, kind)

    async def delete(self, verb: str, request: msgspec.Struct, kind: type[T]) -> T | None:
        """Return what a deletion has deleted; None if it was gone when the request was repeated.

        Raises:
            RequestRefusedError: as of `call`; there is none, if nobody may have got an earlier request.
            UnavailableError: as of `call`.
        """
        unanswered: list[errors.UnavailableError] = []
        reply = await self._reply(verb, request, REQUEST_S, unanswered.append)
        if unanswered and reply.code == "not-found":
            return None
        return _result(verb, reply, kind)

    async def every(
        self,
        verb: str,
        kind: type[T],
        *,
        key: str = "",
        page: int = api.PAGE_MAX,
    ) -> AsyncIterator[T]:
        """Yield all entries of a list, page by page."""
        after = ""
        while True:
            request = api.Page(key=key, after=after, limit=page)
            reply = await self._reply(verb, request, REQUEST_S)
            for each in _result(verb, reply, list[kind]):  # type: ignore[valid-type]
                yield each
            if not reply.more:
                return
            after = reply.next

    async def datums(
        self,
        pipeline: str,
        job: str,
        *,
        states: tuple[str, ...] = (),
        datum: str = "",
        page: int = api.PAGE_MAX,
    ) -> AsyncIterator[api.DatumView]:
        """Yield the datums of a job by index, all or some.

        Args:
            pipeline: Of the job.
            job: Its id.
            states: Only those in these states.
            datum: Only those whose ids begin like this.
            page: How many to ask for at once.
        """
        after = -1
        while True:
            request = api.DatumPage(
                pipeline=pipeline, job=job, after=after, limit=page, states=states, datum=datum
            )
            reply = await self._reply("datum.list", request, REQUEST_S)
            views = _result("datum.list", reply, list[api.DatumView])
            for each in views:
                yield each
            if not reply.more:
                return
            after = int(reply.next) if reply.next else views[-1].index

    async def logs(
        self,
        pipeline: str,
        job: str = "",
        index: int | None = None,
        *,
        worker: str = "",
        stream: str = "",
        after: int = 0,
        since_ns: int = 0,
        last: int = 0,
    ) -> AsyncIterator[api.LogEntry]:
        """Yield what is in the log stream now, after a sequence, oldest first; see `api.LogPage`."""
        asked = api.LogPage(
            pipeline=pipeline,
            job=job,
            index=index,
            worker=worker,
            stream=stream,
            after=after,
            since_ns=since_ns,
            last=last,
        )
        more = True
        while more:
            found, after, more, _ = await self.logs_page(asked)
            for each in found:
                yield each
            asked = msgspec.structs.replace(asked, after=after, last=0)

    async def logs_page(self, asked: api.LogPage) -> LogsPage:
        """Return one page of lines."""
        reply = await self._reply("log.page", asked, REQUEST_S)
        found = _result("log.page", reply, list[api.LogEntry])
        return LogsPage(found, int(reply.next), reply.more, reply.passed)

    async def events(
        self,
        pipeline: str = "",
        *,
        job: str = "",
        worker: str = "",
        since_ns: int = 0,
        last: int = 0,
    ) -> AsyncIterator[messages.Event]:
        """Yield the events of a pipeline or of all, oldest first; or those of a job or a worker; see `api.EventPage`."""
        asked = api.EventPage(
            key=pipeline, limit=api.PAGE_MAX, since_ns=since_ns, job=job, worker=worker, last=last
        )
        more = True
        while more:
            found, after, more = await self.events_page(asked)
            for each in found:
                yield each
            asked = msgspec.structs.replace(asked, after=after)

    async def events_page(self, asked: api.EventPage) -> tuple[list[messages.Event], str, bool]:
        """Return one page of events, where to go on behind it, and whether there is more now."""
        reply = await self._reply("event.list", asked, REQUEST_S)
        return _result("event.list", reply, list[messages.Event]), reply.next, reply.more

    async def publish_spec(self, text: bytes) -> None:
        """Publish a spec on the durable way in, and return once it is stored.

        Nothing of it has been checked then: a refused one shows in `pipeline.list`.

        Raises:
            UnavailableError: the server did not say that it stored it.
        """
        headers = {header_block.MSG_ID: f"spec/{secrets.token_urlsafe(16)}", **self._headers}

        async def publish() -> None:
            answer = await self.connection.request(
                subjects.APPLY, text, timeout_s=REQUEST_S, headers=headers
            )
            acked = msgspec.json.decode(answer.data)
            if "error" in acked:
                raise errors.UnavailableError("the command stream", acked["error"]["description"])

        await self._until_answered(publish, lambda _: True, REQUEST_S)

    async def _reply(
        self,
        verb: str,
        request: msgspec.Struct | bytes | None,
        timeout_s: float,
        unanswered: Callable[[errors.UnavailableError], None] = lambda _: None,
    ) -> api.Reply:
        """Return the answer; `unanswered` is told of each try that somebody may have got."""
        data = request if isinstance(request, bytes) else b""
        if isinstance(request, msgspec.Struct):
            data = msgspec.json.encode(request)

        async def ask() -> api.Reply:
            answer = await self.connection.request(
                subjects.api(verb), data, timeout_s=timeout_s, headers=self._headers
            )
            reply = msgspec.json.decode(answer.data, type=api.Reply)
            if reply.code == "unavailable":
                raise errors.UnavailableError(verb, _told(reply))
            return reply

        def repeatable(error: errors.UnavailableError) -> bool:
            if isinstance(error, NoRespondersError):
                return True
            unanswered(error)
            return verb not in _ONCE

        return await self._until_answered(ask, repeatable, timeout_s)

    async def _until_answered(
        self,
        ask: Callable[[], Awaitable[T]],
        repeatable: Callable[[errors.UnavailableError], bool],
        timeout_s: float,
    ) -> T:
        deadline = time.monotonic() + self._patience_s
        failures = 0
        work_s = timeout_s if timeout_s > REQUEST_S else 0.0  # its answer may take so long
        with self._waiting.told("the coordinator", self._patience_s, work_s):
            while True:
                try:
                    return await ask()
                except errors.UnavailableError as error:
                    if not repeatable(error) or time.monotonic() > deadline:
                        raise
                failures += 1
                await asyncio.sleep(backoff.delay_s(failures, most_s=1.0))


class Waiting:
    """Says once what a client waits for.

    Args:
        tell: Takes the sentence.
        notice_s: After how long.
    """

    def __init__(self, tell: Callable[[str], None], *, notice_s: float = NOTICE_S) -> None:
        self._tell, self._notice_s = tell, notice_s
        self._has_told = False

    @contextmanager
    def told(self, what: str, patience_s: float, work_s: float = 0.0) -> Iterator[None]:
        """Tell of `what`, if it takes its time inside, and more than it has to do."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(max(self._notice_s, work_s), self._say, what, patience_s)
        try:
            yield
        finally:
            timer.cancel()

    def _say(self, what: str, patience_s: float) -> None:
        if not self._has_told and patience_s > self._notice_s:
            self._has_told = True
            self._tell(f"waiting for {what}, which does not answer, for up to {patience_s:g} s")


@asynccontextmanager
async def connect(
    url: str,
    store_url: str,
    *,
    connect_s: float = CONNECT_S,
    patience_s: float = PATIENCE_S,
    notice_s: float = NOTICE_S,
    tell: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Client]:
    """Yield a client of the installation whose NATS and store these URLs name.

    Args:
        url: Of NATS.
        store_url: Of the store.
        connect_s: How long to wait for a server.
        patience_s: How long to repeat a request without an answer.
        notice_s: After how long it is told what is waited for.
        tell: Takes a line for people on that.

    Raises:
        UnavailableError: there is no server, or it does not let this user in.
    """
    user = logins.Login(url).user or "user"
    opening = connections.connect(url, name="trunkline-cli", inbox=subjects.user_inbox(user))
    waiting, what = Waiting(tell, notice_s=notice_s), f"NATS at {logins.shown(url)}"
    async with AsyncExitStack() as opened:
        try:
            with waiting.told(what, connect_s):
                async with asyncio.timeout(connect_s):
                    connection = await opened.enter_async_context(opening)
        except TimeoutError:
            reason = f"no connection within {connect_s:g} s"
            raise errors.UnavailableError(what, reason) from None
        store = stores.open_store(store_url)
        yield Client(connection, store, patience_s=patience_s, waiting=waiting)


def _result(verb: str, reply: api.Reply, kind: type[T]) -> T:
    if not reply.ok:
        raise errors.RequestRefusedError(reply.code, reply.problems)
    try:
        return msgspec.json.decode(reply.result, type=kind)
    except msgspec.DecodeError as error:
        raise errors.MalformedMessageError(subjects.api(verb), str(error)) from error


def _told(reply: api.Reply) -> str:
    return "; ".join(text for _, text in reply.problems) or reply.code
