"""Creates the jobs that must be there and moves the waiting ones on; what decides is in `core`.

A round is level-triggered: `create_missing`, then `advance`. Only after the first has come through
does the second let a job begin, so that a set that has begun is complete.
"""

import logging
from collections.abc import Collection
from typing import assert_never

import msgspec

from trunkline.contracts import records, traces
from trunkline.contracts.states import JobState, PipelineState
from trunkline.coordinator import beginning
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.core import jobsets, readiness
from trunkline.coordinator.events import Events
from trunkline.coordinator.tables import commit_key
from trunkline.runtime import tracing
from trunkline.runtime.clock import Clock

log = logging.getLogger(__name__)


class JobSets:
    """Keeps the jobs of all sets complete, and begins those whose inputs are there."""

    def __init__(self, catalog: Catalog, events: Events, clock: Clock) -> None:
        self._catalog, self._events, self._clock = catalog, events, clock

    async def create_missing(self) -> int:
        """Create the jobs that are missing, upstream ones first; return how many.

        Looked at is what something has changed for since the last time that came through (`core.dag`).
        Called with the lock on the graph held.
        """
        marks = self._catalog.dag.take_marks()
        try:
            return await self._create_missing(marks)
        except BaseException:
            self._catalog.dag.mark(*marks)
            raise

    async def _create_missing(self, marks: Collection[str]) -> int:
        catalog = self._catalog
        nodes, heads = catalog.dag.due(marks), catalog.heads()
        known = jobsets.rests_on(nodes, heads, catalog.jobs.list, catalog.jobs.of_set)
        now_ns = self._clock.wall_ns()
        wanted = jobsets.derive(nodes, heads, known)
        for each in wanted:
            pipeline = catalog.dag.pipelines[each.pipeline]
            traceparent = await self._traceparent(each, pipeline)
            job = msgspec.structs.replace(
                jobsets.record(each, pipeline, now_ns), traceparent=traceparent
            )
            if await catalog.jobs.create(job) is not job:  # it was there, and forgotten
                continue
            with tracing.within(job.traceparent):
                log.info("job created", extra={"pipeline": job.pipeline, "job": job.id})
                text = f"job {job.pipeline}@{job.id} waits for its inputs"
                await self._events.mention("job-created", job.pipeline, text, job=job.id)
        return len(wanted)

    async def _traceparent(self, wanted: jobsets.Wanted, pipeline: records.Pipeline) -> str:
        """Return the trace of what sets a job off: that of its set, of the spec, of the commit; or one of its id."""
        for job in self._catalog.jobs.of_set(wanted.id):
            if job.traceparent:
                return job.traceparent
        if pipeline.set_id == wanted.id and pipeline.traceparent:
            return pipeline.traceparent
        for each in wanted.inputs:
            if each.commit == wanted.id:
                key = commit_key(each.repo, each.commit)
                entry = await self._catalog.tables.commits.get(key)
                if entry is not None and entry.value is not None and entry.value.traceparent:
                    return entry.value.traceparent
        return traces.of_set(wanted.id)

    async def advance(self) -> None:
        """Let each WAITING job begin whose inputs are committed, and end each whose never will be."""
        async with self._catalog.pins:
            await self._advance()

    async def _advance(self) -> None:
        for job in list(self._catalog.jobs.unsettled()):
            if job.state is not JobState.WAITING or self._held(job):
                continue
            match readiness.advance(job, self._catalog.jobs.known):
                case readiness.Waits():
                    continue
                case readiness.Ready(inputs):
                    if not beginning.may_begin(job, self._catalog.jobs.unsettled(job.pipeline)):
                        continue
                    changed = await beginning.begin(
                        self._catalog.jobs,
                        self._catalog.tables.done,
                        job,
                        inputs,
                        self._clock.wall_ns(),
                    )
                case readiness.Unrunnable(reason):
                    changed = await self._end(job, reason)
                case other:
                    assert_never(other)
            with tracing.within(job.traceparent):
                extra = {"pipeline": job.pipeline, "job": job.id, "state": changed.state}
                log.info("job changed", extra=extra)
                why = f": {changed.reason}" if changed.reason else ""
                text = f"job {job.pipeline}@{job.id} is {changed.state}{why}"
                await self._events.mention("job-changed", job.pipeline, text, job=job.id)

    def _held(self, job: records.Job) -> bool:
        """Whether the pipeline lets none of its jobs begin now."""
        pipeline = self._catalog.pipelines.get(job.pipeline)
        return pipeline is None or pipeline.state in (
            PipelineState.STOPPED,
            PipelineState.DELETING,
        )

    async def _end(self, job: records.Job, reason: str) -> records.Job:
        def unrunnable(old: records.Job) -> records.Job | None:
            if old.state is not JobState.WAITING:
                return None
            return msgspec.structs.replace(
                old,
                state=JobState.UNRUNNABLE,
                reason=reason,
                ended_ns=self._clock.wall_ns(),
                compacted=True,
            )

        return await self._catalog.jobs.change(job.pipeline, job.id, unrunnable)
