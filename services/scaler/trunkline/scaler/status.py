"""Tells what was decided: the record that people see, and an event for each decision.

The record of a pipeline is written at once when a decision changed or was fulfilled, and at most
once a second when only what is seen of its workers did. Nothing reads either back to decide: a write that is lost is
made up for by the next.
"""

import asyncio
import logging
from collections.abc import Collection, Coroutine, Sequence
from typing import Any

import msgspec

from trunkline.bus.ports import Publisher, Table
from trunkline.contracts import errors, messages, records, subjects
from trunkline.contracts.wording import counted
from trunkline.runtime.clock import Clock

log = logging.getLogger(__name__)

EVERY_S = 1.0
"""Seconds between two records of one pipeline that differ in no decision."""
_NAMES_MAX, _NAMED_MAX = 1000, 20
"""Names in the facts of an event, which must fit into a message, and in its sentence."""
_MOMENT_S = 0.01
"""Not worth waiting for."""


class Status:
    """The writer of all scaling records."""

    def __init__(self, table: Table[records.Scaling], publisher: Publisher, clock: Clock) -> None:
        self._table, self._publisher, self._clock = table, publisher, clock
        self._latest: dict[str, records.Scaling | None] = {}
        self._written: dict[str, records.Scaling | None] = {}
        self._written_s: dict[str, float] = {}
        self._due: set[str] = set()
        """Pipelines whose record may not be what is written."""
        self._events: list[messages.Event] = []
        self._changed = asyncio.Event()

    @property
    def latest(self) -> list[records.Scaling]:
        """What was noted last of each pipeline that is there."""
        return [each for each in self._latest.values() if each is not None]

    def note(self, scaling: records.Scaling, *, acts: dict[str, list[str]]) -> None:
        """Take note of a round's result for one pipeline.

        Args:
            scaling: What is wanted and seen; `at_ns` is filled in when it is written.
            acts: What was begun because of it: verb -> names of workers.
        """
        before = self._latest.get(scaling.pipeline)
        self._latest[scaling.pipeline] = scaling
        if before is None or _decided(before) != _decided(scaling) or any(acts.values()):
            self._events.append(self._event(before, scaling, acts))
            self._changed.set()
        if scaling != before:
            self._have_written(scaling.pipeline)

    def trouble(self, pipeline: str, problem: str) -> None:
        """Take note that nothing could be decided for a pipeline: the rest is told as it was."""
        before = self._latest.get(pipeline) or _nothing_of(pipeline)
        self.note(msgspec.structs.replace(before, problem=problem), acts={})

    def forget(self, pipeline: str) -> None:
        """The pipeline is gone, and so are its workers."""
        if self._latest.get(pipeline) is not None:
            self._latest[pipeline] = None
            self._have_written(pipeline)

    def _have_written(self, pipeline: str) -> None:
        self._due.add(pipeline)
        self._changed.set()

    async def write_forever(self, pipelines: Collection[str]) -> None:
        """Write what has changed, when it is due.

        Args:
            pipelines: Those that there are at the start; records of others were left by a predecessor.
        """
        for entry in await self._stored():
            self._written.setdefault(entry.pipeline, entry)
            if entry.pipeline not in pipelines:
                self._latest.setdefault(entry.pipeline, None)
                self._have_written(entry.pipeline)
        while True:
            self._changed.clear()  # first: what is noted while we write must not be passed over
            due_s = await self._write_due()
            try:
                async with asyncio.timeout(due_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _stored(self) -> list[records.Scaling]:
        while True:
            try:
                return [each.value for each in await self._table.all() if each.value]
            except errors.UnavailableError:
                await asyncio.sleep(EVERY_S)

    async def _write_due(self) -> float | None:
        """Write what is due; return the seconds until something else is."""
        now_s = self._clock.monotonic_s()
        next_s: list[float] = []
        for pipeline in list(self._due):
            scaling, written = self._latest.get(pipeline), self._written.get(pipeline)
            if scaling == (written and msgspec.structs.replace(written, at_ns=0)):
                self._due.discard(pipeline)
                if scaling is None:
                    self._drop(pipeline)
                continue
            quiet_s = now_s - self._written_s.get(pipeline, -EVERY_S)
            urgent = (_decided(scaling), _settled(scaling)) != (
                _decided(written),
                _settled(written),
            )
            if not urgent and quiet_s < EVERY_S - _MOMENT_S:
                next_s.append(EVERY_S - quiet_s)
            elif not await self._try(self._write(pipeline, scaling)):
                next_s.append(EVERY_S)
            elif self._latest.get(pipeline) is scaling:  # else it has been noted again meanwhile
                self._due.discard(pipeline)
        events, self._events = self._events, []
        for position, event in enumerate(events):
            if not await self._try(self._publish(event)):
                self._events[:0] = events[position:][-1000:]
                next_s.append(EVERY_S)
                break
        return min(next_s, default=None)

    async def _try(self, act: Coroutine[Any, Any, None]) -> bool:
        try:
            await act
        except (errors.UnavailableError, errors.RefusedError) as error:
            log.warning("status not written", extra={"reason": str(error)})
            return False
        return True

    async def _write(self, pipeline: str, scaling: records.Scaling | None) -> None:
        if scaling is None:
            await self._table.delete(pipeline)
            self._drop(pipeline)
            return
        record = msgspec.structs.replace(scaling, at_ns=self._clock.wall_ns())
        await self._table.put(pipeline, record)
        self._written[pipeline] = record
        self._written_s[pipeline] = self._clock.monotonic_s()

    async def _publish(self, event: messages.Event) -> None:
        subject = subjects.event(event.pipeline, event.kind)
        identifier = f"scaled/{event.pipeline}/{event.at_ns}"
        await self._publisher.put(subject, messages.encode(event), msg_id=identifier)

    def _drop(self, pipeline: str) -> None:
        self._latest.pop(pipeline, None)
        self._written.pop(pipeline, None)
        self._written_s.pop(pipeline, None)

    def _event(
        self,
        before: records.Scaling | None,
        scaling: records.Scaling,
        acts: dict[str, list[str]],
    ) -> messages.Event:
        facts = {
            "cap": scaling.cap,
            "want": scaling.want,
            "wanted_before": before.want if before else None,
            "have": scaling.have,
            "ready": scaling.ready,
            "busy": scaling.busy,
            "pending": scaling.pending,
            "in_flight": scaling.in_flight,
            "nodes": scaling.nodes,
            "more_nodes": scaling.more_nodes,
            "eligible": scaling.eligible,
            "wants": scaling.wants,
            "reason": scaling.reason,
            "kind": scaling.kind,
            "problem": scaling.problem,
            **{verb: names[:_NAMES_MAX] for verb, names in acts.items()},
        }
        done = [f"{verb} {_named(names)}" for verb, names in acts.items() if names]
        text = f"{scaling.have} -> {counted(scaling.want, 'worker')}: {scaling.reason}"
        if scaling.problem:
            text += f"; problem: {scaling.problem}"
        return messages.Event(
            kind="scaled",
            pipeline=scaling.pipeline,
            at_ns=self._clock.wall_ns(),
            source="scaler",
            text="; ".join([text, *done]),
            facts={key: msgspec.Raw(msgspec.json.encode(value)) for key, value in facts.items()},
        )


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return ", ".join(names[:_NAMED_MAX]) + more


def _nothing_of(pipeline: str) -> records.Scaling:
    return records.Scaling(
        pipeline=pipeline,
        cap=0,
        want=0,
        have=0,
        ready=0,
        busy=0,
        pending=0,
        in_flight=0,
        reason="nothing could be decided",
    )


def _decided(scaling: records.Scaling | None) -> tuple[object, ...]:
    if scaling is None:
        return ()
    return scaling.cap, scaling.want, scaling.wants, scaling.problem, scaling.nodes


def _settled(scaling: records.Scaling | None) -> bool:
    """Return whether all is as it is wanted: worth telling at once."""
    return scaling is not None and scaling.want == scaling.have == scaling.ready
