"""Requests that read streams: logs and events, a page at a time.

Both are read from where the page before ended, by a tail that stops at what was there when it began.
Events lie in two streams, one per account; a page is the older ones of both, and its `next` names a
sequence in each.
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from trunkline.bus import jetstream, tails
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Stored
from trunkline.contracts import api as contract
from trunkline.contracts import messages, subjects, traces
from trunkline.contracts.wards import Wards
from trunkline.coordinator import paging
from trunkline.coordinator.api import Answer, Handler, decode
from trunkline.coordinator.commits import InvalidRequestError

T = TypeVar("T")

LAST_MAX = 100_000
"""Of messages that are asked for from the end."""


class Readers:
    """The verbs that read streams; `ctl` and `data` are the connections in both accounts."""

    def __init__(self, ctl: NatsConnection, data: NatsConnection, wards: Wards) -> None:
        self._ctl, self._data, self._wards = ctl, data, wards

    def all(self) -> dict[str, Handler]:
        """Return the handlers by verb."""
        return {
            "log.page": self.log_page,
            "log.bounds": self.log_bounds,
            "event.list": self.event_list,
        }

    async def log_page(self, body: bytes) -> Answer:
        """Return what was printed, oldest first."""
        page: contract.LogPage = decode(body, contract.LogPage)
        most = paging.limit(page.limit)
        if page.index is not None and not page.job:
            raise InvalidRequestError("$.index", "name the job, too")
        if page.index is not None and page.index < 0:
            raise InvalidRequestError("$.index", f"must not be {page.index}")
        ward = self._wards.of(page.pipeline)
        subject = subjects.logs_of(ward, page.job, page.index, page.worker, page.stream)
        after = _sequence(page.after, "$.after")
        since_ns = 0 if after else _sequence(page.since_ns, "$.since_ns")
        if page.last and not after:
            count = min(_sequence(page.last, "$.last"), LAST_MAX)
            after = await tails.last_ones(self._data, subjects.LOGS_STREAM, subject, count)
        found = await _read(
            self._data,
            subjects.LOGS_STREAM,
            subject,
            after,
            most + 1,
            since_ns=since_ns,
            wanted=lambda stored: (
                stored.at_ns >= since_ns
            ),  # what `last` reaches back to may not be
        )
        return paging.cut(_entries(found), most)

    async def log_bounds(self, _body: bytes) -> Answer:
        """Return what the log stream holds."""
        info = await self._data.js_api(f"STREAM.INFO.{subjects.LOGS_STREAM}")
        state, config = info["state"], info["config"]
        bounds = contract.LogBounds(
            messages=state["messages"],
            bytes=state["bytes"],
            gone=state["first_seq"] > 1,
            first_ns=jetstream.parse_time(state["first_ts"]) if state["messages"] else 0,
            max_age_s=config["max_age"] / jetstream.SECOND_NS,
            max_bytes=config["max_bytes"],
        )
        return paging.answer(bounds)

    async def event_list(self, body: bytes) -> Answer:
        """Return events of both accounts, oldest first."""
        page: contract.EventPage = decode(body, contract.EventPage)
        most = paging.limit(page.limit)
        since_ns = _sequence(page.since_ns, "$.since_ns")
        ctl, data = subjects.EVENTS, subjects.WORKER_EVENTS
        if page.key:
            ward = self._wards.of(page.key)
            ctl, data = subjects.events_of(ward.pipeline), subjects.worker_events_of(ward)
        seen = _position(page.after)
        if page.last and not page.after:
            count = min(_sequence(page.last, "$.last"), LAST_MAX)
            seen = (
                await tails.last_ones(self._ctl, subjects.EVENTS_STREAM, ctl, count),
                await tails.last_ones(self._data, subjects.WORKER_EVENTS_STREAM, data, count),
            )
        ours = await _read(
            self._ctl,
            subjects.EVENTS_STREAM,
            ctl,
            seen[0],
            most + 1,
            since_ns=since_ns,
            wanted=partial(_is_asked_for, page),
        )
        theirs = await _read(
            self._data,
            subjects.WORKER_EVENTS_STREAM,
            data,
            seen[1],
            most + 1,
            since_ns=since_ns,
            # not what a worker had the server store in another's name
            wanted=lambda stored: self._wards.owns(stored.subject) and _is_asked_for(page, stored),
        )
        entries = list(_merged(ours, theirs, seen))
        answer = paging.cut(entries, most)
        if answer.more:
            return answer
        return Answer(answer.result, next=entries[-1][0] if entries else page.after)


async def _read(
    connection: NatsConnection,
    stream: str,
    subject: str,
    after: int,
    most: int,
    *,
    since_ns: int = 0,
    wanted: Callable[[Stored], bool] = lambda _: True,
) -> list[Stored]:
    """Return up to so many messages that are wanted, behind a sequence, or since a time."""
    found: list[Stored] = []
    tail = tails.tail(connection, stream, [subject], after=after, since_ns=since_ns, end=True)
    async with tail as batches:
        async for batch in batches:
            found += filter(wanted, batch)
            if len(found) >= most:
                break
    return found[:most]


def _is_asked_for(page: contract.EventPage, stored: Stored) -> bool:
    """Return whether an event is one that a page asks for, by its time, its job and its worker."""
    if stored.at_ns < page.since_ns:  # what `last` reaches back to
        return False
    if not (page.job or page.worker):
        return True
    event = _decoded(stored, messages.Event)
    if event is None or page.job not in ("", event.job):
        return False
    if page.worker in ("", event.worker):
        return True
    named = f'"{page.worker}"'.encode()
    return any(named in bytes(event.facts.get(verb, b"")) for verb in ("create", "drain"))


def _entries(found: Iterable[Stored]) -> Iterable[tuple[str, contract.LogEntry]]:
    for stored in found:
        line = _decoded(stored, messages.LogLine)
        if line is not None:
            _, _, pipeline, _, job, *_ = stored.subject.split(".")
            traceparent = traces.parsed(stored.headers.get(traces.HEADER, ""))
            entry = contract.LogEntry(
                sequence=stored.sequence,
                job=job,
                line=line,
                pipeline=pipeline,
                trace=traces.trace(traceparent),
                traceparent=traceparent,
            )
            yield str(stored.sequence), entry


def _merged(
    ours: Sequence[Stored], theirs: Sequence[Stored], seen: tuple[int, int]
) -> Iterable[tuple[str, messages.Event]]:
    """Yield the events of both streams by time, with where the next page would start behind each."""
    at = list(seen)
    both = heapq.merge(
        ((each.at_ns, 0, each) for each in ours),
        ((each.at_ns, 1, each) for each in theirs),
        key=lambda each: each[:2],
    )
    for _, which, stored in both:
        at[which] = stored.sequence
        event = _decoded(stored, messages.Event)
        if event is not None:
            yield f"{at[0]}.{at[1]}", event


def _decoded(stored: Stored, kind: type[T]) -> T | None:
    """Return what a message holds; nothing of what a worker has sent is trusted."""
    try:
        return msgspec.json.decode(stored.data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _position(after: str) -> tuple[int, int]:
    """Return the sequences in both streams that a page ended at."""
    first, _, second = after.partition(".")
    try:
        return _sequence(int(first or 0), "$.after"), _sequence(int(second or 0), "$.after")
    except ValueError:
        raise InvalidRequestError("$.after", f"{after[:100]!r} is no `next` of a page") from None


def _sequence(number: int, path: str) -> int:
    if not 0 <= number < 1 << 63:
        raise InvalidRequestError(path, f"must be a sequence, not {number}")
    return number
