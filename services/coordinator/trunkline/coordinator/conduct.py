"""Pipelines are stopped, started and run again, and jobs with them; what decides is in `core.conduct`.

Each verb is one write by compare-and-set; all that follows from it is made by rounds, and made again by
those of the next coordinator:

- *stop*: the record says STOPPED. Rounds kill what is left of the pipeline's jobs, the scaler takes the
  workers away. A coordinator that dies in between leaves jobs at work for a while; its successor's first
  round kills them;
- *start*: the record says RUNNING; the jobs that are missing then are created. What is KILLING by now goes
  its way, what no round has killed yet goes on as if nothing had been;
- *rerun* of a pipeline: the record names the set. Of a job: its record is created. Then the jobs downstream
  are. The id is the client's, so a request that is repeated makes no second job;
- *apply --now*: the spec's version and that older ones are over come in one write (`pipelines`).
"""

import logging
import secrets
from collections.abc import Callable

import msgspec

from trunkline.contracts import api, errors, names, records, traces
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.core import conduct as core
from trunkline.coordinator.events import Events
from trunkline.coordinator.jobsets import JobSets
from trunkline.runtime import tracing
from trunkline.runtime.clock import Clock

log = logging.getLogger(__name__)

Decide = Callable[[records.Pipeline], records.Pipeline]


class Conduct:
    """Stops, starts and runs again."""

    def __init__(self, catalog: Catalog, jobsets: JobSets, events: Events, clock: Clock) -> None:
        self._catalog, self._jobsets = catalog, jobsets
        self._events, self._clock = events, clock

    async def stop(self, name: str) -> records.Pipeline:
        """Have a pipeline stopped; rounds do the rest.

        Raises:
            NotFoundError: there is none.
            NotNowError: there is nothing that could be stopped.
        """
        async with self._catalog.graph:
            pipeline = await self._change(name, core.stopped)
        self._catalog.woken.set()
        await self._tell("pipeline-stopped", name, f"pipeline {name} is stopped")
        return pipeline

    async def start(self, name: str) -> records.Pipeline:
        """Let a pipeline go on, and give it the job on what it has missed.

        Raises:
            NotFoundError, NotNowError: as for `stop`.
        """
        async with self._catalog.graph:
            pipeline = await self._change(name, core.started)
            await self._jobsets.create_missing()
        await self._tell("pipeline-started", name, f"pipeline {name} is started")
        return pipeline

    async def rerun(self, request: api.PipelineRerun) -> records.Job:
        """Give a pipeline another job on the newest inputs.

        Raises:
            NotFoundError, NotNowError: as for `stop`; a stopped pipeline runs nothing.
            AlreadyExistsError: the id is used for something else.
        """
        identifier = self._identifier(request.id)

        def decide(current: records.Pipeline) -> records.Pipeline:
            heads = self._catalog.heads()
            traceparent = tracing.current.get()
            return core.run_again(
                current, heads, identifier, reprocess=request.reprocess, traceparent=traceparent
            )

        async with self._catalog.graph:
            if found := await self._made(request.name, identifier):
                return found
            await self._change(request.name, decide)
            await self._jobsets.create_missing()
            made = await self._catalog.jobs.find(request.name, identifier)
        if made is None:
            what = f"job {request.name}@{identifier}"
            raise errors.UnavailableError(what, "it is not made yet; repeat it")
        return made

    async def rerun_job(self, request: api.JobRerun) -> records.Job:
        """Make a job on the inputs of another one.

        Raises:
            NotFoundError: there is no such job.
            NotNowError: it cannot be run again, or not now.
            AlreadyExistsError: the id is used for something else.
        """
        identifier = self._identifier(request.id)
        async with self._catalog.graph:
            if found := await self._made(request.pipeline, identifier):
                return found
            pipeline = self._pipeline(request.pipeline)
            old = await self._catalog.jobs.find(pipeline.name, names.commit(request.job))
            if old is None:
                raise errors.NotFoundError("job", f"{request.pipeline}@{request.job}")
            job = core.job_again(
                pipeline,
                old,
                self._catalog.jobs.list(pipeline.name),
                identifier,
                self._clock.wall_ns(),
                reprocess=request.reprocess,
            )
            traceparent = tracing.current.get() or traces.of_set(identifier)
            made = await self._catalog.jobs.create(
                msgspec.structs.replace(job, traceparent=traceparent)
            )
            await self._jobsets.create_missing()
        text = f"job {made.pipeline}@{made.id} runs on the inputs of {old.id}"
        await self._tell("job-created", made.pipeline, text, job=made.id)
        return made

    async def round(self) -> None:
        """Kill what must not go on."""
        for each in core.doomed(self._catalog.dag.pipelines, self._catalog.jobs.unsettled()):
            await self._catalog.jobs.kill(each.pipeline, each.id, each.reason, halted=each.halted)
            extra = {"pipeline": each.pipeline, "job": each.id, "reason": each.reason}
            log.info("job is killed", extra=extra)

    async def _change(self, name: str, decide: Decide) -> records.Pipeline:
        """Write what is decided, again if somebody else wrote meanwhile. The graph is locked."""
        while True:
            current = self._pipeline(name)
            try:
                return await self._catalog.pipelines.replace(current.name, decide(current))
            except errors.ConflictError:
                continue

    async def _made(self, pipeline: str, identifier: str) -> records.Job | None:
        """Return the job that an earlier request of this id made."""
        found = await self._catalog.jobs.find(names.pipeline(pipeline), identifier)
        if found is None and await self._catalog.jobs.is_used(identifier):
            raise errors.AlreadyExistsError("job set", identifier)
        return found

    def _pipeline(self, name: str) -> records.Pipeline:
        found = self._catalog.pipelines.get(names.pipeline(name))
        if found is None:
            raise errors.NotFoundError("pipeline", name)
        return found

    def _identifier(self, wanted: str) -> str:
        return names.commit(wanted) if wanted else secrets.token_hex(16)

    async def _tell(self, kind: str, pipeline: str, text: str, *, job: str = "") -> None:
        log.info(kind.replace("-", " "), extra={"pipeline": pipeline})
        await self._events.mention(kind, pipeline, text, job=job)
