"""Requests to the coordinator, as `api` describes them, with its refusals as errors.

A request whose answer was lost may have taken effect. All verbs but the two that create a thing by
name answer a repeated request like the first one, so those are repeated until `PATIENCE_S` has
passed: a coordinator that is killed is back within about two seconds, and its clients need not
notice.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from trunkline.bus import connection as connections
from trunkline.bus import ports
from trunkline.contracts import api, errors, messages, subjects
from trunkline.runtime import backoff
from trunkline.storage import store as stores

T = TypeVar("T")

PATIENCE_S = 10.0
"""How long an unanswered request is repeated: some restarts of the coordinator."""

REQUEST_S = 5.0
"""How long one request waits for its answer."""

CONNECT_S = 10.0
"""How long a client waits for a NATS server before it says that there is none."""

_ONCE = frozenset({"repo.create", "branch.create"})
"""Repeating these would answer `exists` to the one who has just made the thing."""


class Client:
    """What a user can ask of an installation. One connection, in the account USERS."""

    def __init__(self, connection: ports.Connection, store: stores.Store) -> None:
        self.connection = connection
        self.store = store

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
            UnavailableError: nobody answered within PATIENCE_S.
        """
        reply = await self._reply(verb, request, timeout_s)
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
        request = api.LogPage(
            pipeline=pipeline,
            job=job,
            index=index,
            worker=worker,
            stream=stream,
            since_ns=since_ns,
            last=last,
        )
        while True:
            request = msgspec.structs.replace(request, after=after)
            reply = await self._reply("log.page", request, REQUEST_S)
            entries = _result("log.page", reply, list[api.LogEntry])
            for each in entries:
                yield each
            if not reply.more:
                return
            after = int(reply.next) if reply.next else entries[-1].sequence

    async def events(
        self, pipeline: str = "", *, job: str = "", worker: str = "", since_ns: int = 0
    ) -> AsyncIterator[messages.Event]:
        """Yield the events of a pipeline or of all, oldest first; or those of a job or a worker."""
        asked = api.EventPage(
            key=pipeline, limit=api.PAGE_MAX, since_ns=since_ns, job=job, worker=worker
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
        answer = await self.connection.request(subjects.APPLY, text, timeout_s=REQUEST_S)
        acked = msgspec.json.decode(answer.data)
        if "error" in acked:
            raise errors.UnavailableError("the command stream", acked["error"]["description"])

    async def _reply(
        self, verb: str, request: msgspec.Struct | bytes | None, timeout_s: float
    ) -> api.Reply:
        data = request if isinstance(request, bytes) else b""
        if isinstance(request, msgspec.Struct):
            data = msgspec.json.encode(request)
        deadline = time.monotonic() + PATIENCE_S
        failures = 0
        while True:
            try:
                answer = await self.connection.request(
                    subjects.api(verb), data, timeout_s=timeout_s
                )
                reply = msgspec.json.decode(answer.data, type=api.Reply)
                if reply.code != "unavailable":
                    return reply
                error = errors.UnavailableError(verb, _told(reply))
            except errors.UnavailableError as unanswered:
                error = unanswered
            if verb in _ONCE or time.monotonic() > deadline:
                raise error
            failures += 1
            await asyncio.sleep(backoff.delay_s(failures, most_s=1.0))


@asynccontextmanager
async def connect(
    url: str, store_url: str, *, connect_s: float = CONNECT_S
) -> AsyncIterator[Client]:
    """Yield a client of the installation whose NATS and store these URLs name.

    Raises:
        UnavailableError: there is no server, or it does not let this user in.
    """
    user = urlsplit(url).username or "user"
    opening = connections.connect(url, name="trunkline-cli", inbox=subjects.user_inbox(user))
    async with AsyncExitStack() as opened:
        try:
            async with asyncio.timeout(connect_s):
                connection = await opened.enter_async_context(opening)
        except TimeoutError:
            what = f"NATS at {without_password(url)}"
            reason = f"no connection within {connect_s:g} s"
            raise errors.UnavailableError(what, reason) from None
        yield Client(connection, stores.open_store(store_url))


def without_password(url: str) -> str:
    """Return the URL as it may be shown."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{parts.username}:***@{host}").geturl()


def _result(verb: str, reply: api.Reply, kind: type[T]) -> T:
    if not reply.ok:
        raise errors.RequestRefusedError(reply.code, reply.problems)
    try:
        return msgspec.json.decode(reply.result, type=kind)
    except msgspec.DecodeError as error:
        raise errors.MalformedMessageError(subjects.api(verb), str(error)) from error


def _told(reply: api.Reply) -> str:
    return "; ".join(text for _, text in reply.problems) or reply.code
