"""The API: answers requests on `subjects.API`, each in a task of its own, a bounded number at once.

Whatever a request holds, it is answered with a `Reply`, and does not reach its neighbours: it has a
limit of size and of time, and an error that nobody foresaw is logged and answered as `internal`.
Requests that come while all places and the waiting room are taken are answered `unavailable` at once,
and those that come before the first round is done wait for it: nothing is decided by half a picture.

A request without a reply subject is dropped: it is nobody's.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from trunkline.bus.ports import Connection, Message
from trunkline.contracts import api, errors, subjects
from trunkline.coordinator.commits import InvalidRequestError
from trunkline.coordinator.core import pipelines
from trunkline.coordinator.core.conduct import NotNowError
from trunkline.coordinator.core.restarts import RestartRefusedError
from trunkline.coordinator.repos import InUseError
from trunkline.runtime import tracing

log = logging.getLogger(__name__)

WAITING_ROOM = 512
"""Requests that may wait for a place."""

REQUEST_MAX_BYTES = 768 * 1024
"""More than a spec may have; a larger request is answered without being read."""


@dataclass(frozen=True)
class Answer:
    """The result of a request that was fulfilled."""

    result: bytes
    more: bool = False
    next: str = ""
    passed: int = 0


Handler = Callable[[bytes], Awaitable[Answer]]
"""Takes the body of a request; raises one of our errors to refuse it."""


class ApiServer:
    """Serves the verbs that `handlers` has.

    Args:
        connection: In the account CTL.
        handlers: By verb, such as `pipeline.get`.
        ready: Set once requests may be answered.
        places: How many are worked on at once.
        timeout_s: After which a request is answered `unavailable`.
    """

    def __init__(
        self,
        connection: Connection,
        handlers: Mapping[str, Handler],
        ready: asyncio.Event,
        *,
        places: int,
        timeout_s: float,
    ) -> None:
        self._connection, self._handlers, self._ready = connection, handlers, ready
        self._places = asyncio.Semaphore(places)
        self._most = places + WAITING_ROOM
        self._timeout_s = timeout_s
        self._open = 0

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as tasks:

            async def take(message: Message) -> None:
                if not message.reply:
                    return
                if self._open >= self._most:
                    await self._send(message, refusal("unavailable", "too many requests wait"))
                    return
                self._open += 1
                tasks.create_task(self._serve(message), name=f"request-{message.subject}")

            await self._connection.serve(subjects.API, take)
            await self._connection.closed()

    async def _serve(self, message: Message) -> None:
        tracing.begin(message.headers)
        try:
            await self._send(message, await self._reply(message))
        except Exception:  # the outermost loop of a request
            log.exception("request failed", extra={"verb": message.subject})
        finally:
            self._open -= 1

    async def _reply(self, message: Message) -> api.Reply:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._ready.wait()
                async with self._places:
                    return await self._fulfil(message)
        except TimeoutError:
            return refusal("unavailable", f"no answer within {self._timeout_s:g} s; repeat it")
        except Exception as error:  # the outermost loop of a request
            return _told(message, error)

    async def _fulfil(self, message: Message) -> api.Reply:
        verb = message.subject.removeprefix(subjects.api(""))
        handler = self._handlers.get(verb)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            return refusal("invalid", f"there is no request {verb[:100]!r}; known are {known}")
        if len(message.data) > REQUEST_MAX_BYTES:
            return refusal("invalid", f"the request has over {REQUEST_MAX_BYTES} bytes")
        answer = await handler(message.data)
        return api.Reply(
            ok=True,
            result=msgspec.Raw(answer.result),
            more=answer.more,
            next=answer.next,
            passed=answer.passed,
        )

    async def _send(self, message: Message, reply: api.Reply) -> None:
        data = msgspec.json.encode(reply)
        if len(data) > self._connection.max_payload:
            text = f"the answer has {len(data)} bytes, which no NATS message holds here"
            data = msgspec.json.encode(refusal("internal", text))
        try:
            await self._connection.publish(message.reply, data)
        except errors.TrunklineError as error:
            log.warning("answer is lost", extra={"verb": message.subject, "reason": str(error)})


def refusal(code: str, *texts: str) -> api.Reply:
    """Return a reply that says no."""
    return _refusal(code, tuple(("", text) for text in texts))


def _refusal(code: str, problems: pipelines.Problems) -> api.Reply:
    return api.Reply(ok=False, code=code, problems=pipelines.bounded(problems))


def decode(data: bytes, kind: type[Any]) -> Any:  # noqa: ANN401 - an instance of `kind`
    """Return the request in a body; an empty body is one without any field.

    Raises:
        InvalidRequestError: it is no such request.
    """
    try:
        return msgspec.json.decode(data.strip() or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text, _, inner = str(error).partition(" - at `$")
        path = "$" + inner.rstrip("`")
        raise InvalidRequestError(path, text) from error


_CODES: dict[type[errors.TrunklineError], str] = {
    errors.InvalidNameError: "invalid",
    errors.InvalidPathError: "invalid",
    errors.InvalidGlobError: "invalid",
    errors.MalformedMessageError: "invalid",
    errors.NotFoundError: "not-found",
    errors.AlreadyExistsError: "exists",
    errors.ConflictError: "conflict",
    InUseError: "invalid",
    RestartRefusedError: "invalid",
    NotNowError: "invalid",
    errors.UnavailableError: "unavailable",
}


def _told(message: Message, error: Exception) -> api.Reply:
    """Return the reply that an error makes."""
    if isinstance(error, errors.InvalidSpecError):
        return _refusal("invalid", tuple(error.problems))
    if isinstance(error, InvalidRequestError):
        return _refusal("invalid", ((error.path, str(error)),))
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return refusal(code, str(error))
    trace = tracing.known()  # the log line has it by that
    log.error("request failed", exc_info=error, extra={"verb": message.subject})
    return refusal(
        "internal", f"the coordinator has failed at this; its log says how, by trace {trace}"
    )
