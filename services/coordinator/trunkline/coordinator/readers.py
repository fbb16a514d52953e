"""Requests that read streams: logs and events, a page at a time.

Both are read from where the page before ended, as a stretch that nobody's garbage ends (`stretches`). Events lie in two
streams: services tell theirs in CTL, workers in DATA, and what comes from there is no service's, whatever it says. A page is the
older ones of both, and its `next` names a sequence in each. A page may be empty and not the last; also the last one has a `next`,
for who follows.
"""

import bisect
import dataclasses
import heapq
import sys
from collections.abc import Callable
from functools import partial

from trunkline.bus import jetstream, present
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Stored
from trunkline.contracts import api as contract
from trunkline.contracts import messages, subjects, traces
from trunkline.contracts.wards import Wards
from trunkline.coordinator import paging, stretches
from trunkline.coordinator.api import Answer, Handler, decode
from trunkline.coordinator.commits import InvalidRequestError
from trunkline.coordinator.core import untrusted
from trunkline.coordinator.stretches import Stretch

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
        since_ns = _sequence(page.since_ns, "$.since_ns")
        if page.last and not after:
            count = min(_sequence(page.last, "$.last"), LAST_MAX)
            after = await present.last_ones(self._data, subjects.LOGS_STREAM, subject, count)
        passed: list[int] = []

        def taken(stored: Stored) -> contract.LogEntry | None:
            if stored.at_ns < since_ns:  # what `last` reaches back to may be older
                return None
            entry = _entry(stored)
            if entry is None:
                passed.append(stored.sequence)
            return entry

        read = await stretches.read(
            self._data,
            subjects.LOGS_STREAM,
            subject,
            taken,
            after=after,
            most=most,
            since_ns=since_ns,
        )
        keyed = ((f"{stored.sequence}", entry) for stored, entry in read.found)
        answer = paging.cut(keyed, most)
        if answer.more:
            count = bisect.bisect(passed, int(answer.next))
            return dataclasses.replace(answer, passed=count)
        return Answer(answer.result, read.more, f"{read.to}", passed=len(passed))

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
                await present.last_ones(self._ctl, subjects.EVENTS_STREAM, ctl, count),
                await present.last_ones(self._data, subjects.WORKER_EVENTS_STREAM, data, count),
            )
        told = partial(_event, page, untrusted.event)

        def owned(stored: Stored) -> messages.Event | None:
            # not what a worker had the server store in another's name
            if not self._wards.owns(stored.subject):
                return None
            return _event(page, untrusted.worker_event, stored)

        ours = await stretches.read(
            self._ctl,
            subjects.EVENTS_STREAM,
            ctl,
            told,
            after=seen[0],
            most=most,
            since_ns=since_ns,
        )
        theirs = await stretches.read(
            self._data,
            subjects.WORKER_EVENTS_STREAM,
            data,
            owned,
            after=seen[1],
            most=most,
            since_ns=since_ns,
        )
        entries, ended = _merged(ours, theirs, seen)
        answer = paging.cut(entries, most)
        return answer if answer.more else Answer(answer.result, ours.more or theirs.more, ended)


def _entry(stored: Stored) -> contract.LogEntry | None:
    """Return what a message of the log stream is shown as, if it can be read."""
    line = untrusted.line(stored.subject, stored.data)
    if line is None:
        return None
    _, _, pipeline, _, job, *_ = stored.subject.split(".")
    traceparent = traces.parsed(stored.headers.get(traces.HEADER, ""))
    return contract.LogEntry(
        sequence=stored.sequence,
        job=job,
        line=line,
        pipeline=pipeline,
        trace=traces.trace(traceparent),
        traceparent=traceparent,
    )


def _event(
    page: contract.EventPage, read: Callable[[str, bytes], messages.Event | None], stored: Stored
) -> messages.Event | None:
    """Return an event if a page asks for it, by its time, its job and its worker, and it can be read."""
    if stored.at_ns < page.since_ns:  # what `last` reaches back to
        return None
    event = read(stored.subject, stored.data)
    if event is None or page.job not in ("", event.job):
        return None
    if page.worker in ("", event.worker):
        return event
    named = f'"{page.worker}"'.encode()
    created_or_drained = (bytes(event.facts.get(verb, b"")) for verb in ("create", "drain"))
    return event if any(named in each for each in created_or_drained) else None


def _merged(
    ours: Stretch[messages.Event], theirs: Stretch[messages.Event], seen: tuple[int, int]
) -> tuple[list[tuple[str, messages.Event]], str]:
    """Return the events of both streams by time, each with where a page that ends with it goes on; and where, behind them all.

    Of a stream that was read up to some time, an event that is older than what was found of the other may still
    come: what is newer than that time waits for the next page, and the place in its stream stays before it.
    """
    both = (ours, theirs)
    until_ns = min((each.to_ns for each in both if each.more), default=sys.maxsize)
    at, left = list(seen), [len(each.found) for each in both]
    numbered = [
        [(stored, which, event) for stored, event in each.found] for which, each in enumerate(both)
    ]
    entries: list[tuple[str, messages.Event]] = []
    for stored, which, event in heapq.merge(*numbered, key=lambda each: each[0].at_ns):
        if stored.at_ns > until_ns:
            break
        at[which] = stored.sequence
        left[which] -= 1
        entries.append((f"{at[0]}.{at[1]}", event))
    ended = [
        place if some_left else each.to
        for place, some_left, each in zip(at, left, both, strict=True)
    ]
    return entries, f"{ended[0]}.{ended[1]}"


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
