"""What the scaler knows of pipelines, their jobs and what is left of these: caches of NATS."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from trunkline.bus.ports import Table
from trunkline.contracts import errors, records, spec
from trunkline.contracts.states import JobState
from trunkline.scaler.core.decision import Gauge

log = logging.getLogger(__name__)

_SHOWN_EVERY = 4
"""Gauges that decide nothing are read each so many times less often."""
_AT_ONCE = 32
_AT_WORK = (JobState.LISTING, JobState.RUNNING)


class Measured(Protocol):
    """What a look at a job's consumer gives."""

    @property
    def pending(self) -> int:
        """Datums that wait."""
        ...

    @property
    def in_flight(self) -> int:
        """Datums that were delivered and are not settled."""
        ...


Measure = Callable[[str, str], Awaitable[Measured | None]]
"""(pipeline, job) -> what is left of it, or None when it has no consumer (any more)."""


class Views:
    """Follows the buckets and the gauges; `wake` is called when something may be decided anew."""

    def __init__(
        self,
        pipelines: Table[records.Pipeline],
        jobs: Table[records.Job],
        measure: Measure,
        *,
        wake: Callable[[], None],
        gauge_s: float,
    ) -> None:
        self._pipeline_table, self._job_table, self._measure = pipelines, jobs, measure
        self._wake, self._gauge_s = wake, gauge_s
        self._pipelines: dict[str, records.Pipeline] = {}
        self._jobs: dict[str, dict[str, records.Job]] = {}
        self._gauges: dict[str, dict[str, Gauge]] = {}
        self._look_now = asyncio.Event()
        self._loaded = [asyncio.Event(), asyncio.Event()]

    async def loaded(self) -> None:
        """Return once all that was there at the start is known: nothing may be decided before."""
        for each in self._loaded:
            await each.wait()

    @property
    def names(self) -> list[str]:
        """The pipelines that there are."""
        return list(self._pipelines)

    def pipeline(self, name: str) -> records.Pipeline | None:
        """Return a pipeline's record."""
        return self._pipelines.get(name)

    def jobs(self, pipeline: str) -> list[records.Job]:
        """Return a pipeline's jobs that have not ended, oldest first."""
        return sorted(self._jobs.get(pipeline, {}).values(), key=lambda job: job.order)

    def busy(self, pipeline: str) -> bool:
        """Return whether a pipeline has jobs that have not ended."""
        return pipeline in self._jobs

    def gauges(self, pipeline: str) -> dict[str, Gauge]:
        """Return job id -> what is left of it."""
        return self._gauges.get(pipeline, {})

    def live(self, pipeline: str, job: str) -> bool:
        """Return whether a job is there and has not ended."""
        return job in self._jobs.get(pipeline, ())

    def live_jobs(self) -> list[tuple[str, str]]:
        """Return (pipeline, id) of all jobs that are there and have not ended."""
        return [(pipeline, job) for pipeline, jobs in self._jobs.items() for job in jobs]

    async def follow_pipelines(self) -> None:
        """Keep the pipelines known, for ever."""
        async with self._pipeline_table.watch() as batches:
            async for batch in batches:
                for entry in batch:
                    if "." in entry.key:  # a version of the past
                        continue
                    self._take_pipeline(entry.key, entry.value)
                self._loaded[0].set()
                self._look_now.set()
                self._wake()

    async def follow_jobs(self) -> None:
        """Keep the jobs that have not ended known, for ever."""
        async with self._job_table.watch() as batches:
            async for batch in batches:
                for entry in batch:
                    self._take_job(entry.key, entry.value)
                self._loaded[1].set()
                self._look_now.set()
                self._wake()

    async def follow_gauges(self) -> None:
        """Look again and again at what is left, as often as it matters."""
        turn = 0
        while True:
            self._look_now.clear()
            await self._look(shown=turn % _SHOWN_EVERY == 0)
            turn += 1
            try:
                async with asyncio.timeout(self._gauge_s if self._at_work() else None):
                    await self._look_now.wait()
            except TimeoutError:
                continue

    def _take_pipeline(self, name: str, pipeline: records.Pipeline | None) -> None:
        before = self._pipelines.pop(name, None)
        if pipeline is not None:
            self._pipelines[name] = pipeline
        if before is not None and pipeline is not None and _code(before) != _code(pipeline):
            # what was only shown until now decides who stays: better unknown than old
            self._gauges.pop(name, None)

    def _take_job(self, key: str, job: records.Job | None) -> None:
        pipeline, _, identifier = key.partition(".")
        if job is not None and not job.state.ended:
            self._jobs.setdefault(pipeline, {})[identifier] = job
            return
        for of in (self._jobs, self._gauges):
            of.get(pipeline, {}).pop(identifier, None)
            if not of.get(pipeline):
                of.pop(pipeline, None)  # of thousands of pipelines few have any

    async def _look(self, *, shown: bool) -> None:
        at_once = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            for pipeline, jobs in self._jobs.items():
                if not (shown or self._decides(pipeline)):
                    continue
                for job in jobs.values():
                    if job.state in _AT_WORK:
                        tasks.create_task(
                            self._look_at(pipeline, job.id, at_once), name=f"gauge-{job.id}"
                        )

    def _at_work(self) -> bool:
        return any(job.state in _AT_WORK for jobs in self._jobs.values() for job in jobs.values())

    def _decides(self, pipeline: str) -> bool:
        """Return whether numbers of workers depend on this pipeline's gauges."""
        record = self._pipelines.get(pipeline)
        several = len({job.code_hash for job in self._jobs.get(pipeline, {}).values()}) > 1
        return several or (record is not None and record.spec is not None and record.spec.standby)

    async def _look_at(self, pipeline: str, job: str, at_once: asyncio.Semaphore) -> None:
        async with at_once:
            try:
                measured = await self._measure(pipeline, job)
            except errors.TrunklineError as error:
                log.debug("no gauge", extra={"pipeline": pipeline, "reason": str(error)})
                return  # the last look holds
        if job not in self._jobs.get(pipeline, {}):
            return  # it has ended meanwhile, and its gauge is gone
        gauges = self._gauges.setdefault(pipeline, {})
        before = gauges.get(job)
        if measured is None:
            gauges.pop(job, None)
        else:
            gauges[job] = Gauge(pending=measured.pending, in_flight=measured.in_flight)
        if gauges.get(job) != before:
            self._wake()


def _code(pipeline: records.Pipeline) -> str:
    return spec.code_hash(pipeline.spec.transform) if pipeline.spec is not None else ""
