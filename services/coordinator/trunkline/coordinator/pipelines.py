"""Pipelines: apply, refuse.

*Apply.* The record of the pipeline is written first, by compare-and-set: that is the point from which
the pipeline exists. What follows from it is then made, each step idempotent, in this order: the
version's entry in the history, the output branch, the output repo, repos of ticks, the datum stream, the
missing jobs. Killed between any two of them, the round at the next start makes the rest (`ensure`, then
`JobSets.create_missing`), before any request is answered. A repeated request finds the same spec and
does the same. Before a version is replaced its entry in the history is there, however the ones before
it ended.

*Refuse.* Nothing is written but the `refusal` beside what works, and only for a spec that was
published: whoever asked has the problems in the reply.

How a pipeline is stopped, started and run again: `conduct`; how it is deleted: `deleting`.
"""

import logging
import secrets
from collections.abc import Collection

import msgspec

from trunkline.bus import topology
from trunkline.bus.connection import NatsConnection
from trunkline.contracts import errors, records, spec, subjects
from trunkline.contracts.durability import Durability
from trunkline.contracts.states import PipelineState
from trunkline.contracts.wards import Wards
from trunkline.coordinator.assignments import Assignments
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.core import pipelines as core
from trunkline.coordinator.events import Events
from trunkline.coordinator.jobsets import JobSets
from trunkline.coordinator.repos import Repos
from trunkline.coordinator.tables import version_key
from trunkline.runtime import tracing
from trunkline.runtime.clock import Clock

log = logging.getLogger(__name__)

TRIES = 5
"""How often a change is decided again when its compare-and-set fails."""


class Pipelines:
    """Changes pipelines; `data` is the connection in the account DATA."""

    def __init__(
        self,
        catalog: Catalog,
        repos: Repos,
        jobsets: JobSets,
        assignments: Assignments,
        data: NatsConnection,
        wards: Wards,
        events: Events,
        clock: Clock,
        *,
        durability: Durability = Durability.FILE,
    ) -> None:
        self._catalog, self._repos, self._jobsets = catalog, repos, jobsets
        self._assignments = assignments
        self._ensured: dict[str, int] = {}
        """The version of each pipeline for which all that follows was seen to be there."""
        self._data, self._wards, self._durability = data, wards, durability
        self._events, self._clock = events, clock

    async def apply(
        self,
        wanted: spec.PipelineSpec,
        command: int = 0,
        *,
        now: bool = False,
        reprocess: str = "",
    ) -> records.Pipeline:
        """Take a spec that parsed; return the pipeline's record.

        Args:
            wanted: The spec.
            command: Its sequence in the command stream, if it was published.
            now: Whether jobs of older versions are to be killed.
            reprocess: A new salt, where nothing is to count as done.

        Raises:
            InvalidSpecError: it does not fit what is there; nothing was changed.
            UnavailableError: unknown how far it came; repeat it.
        """
        async with self._catalog.graph:
            fresh = self._fresh(command, reprocess)
            decision = await self._store(wanted, fresh, now=now)
            if isinstance(decision, core.Refused):
                raise errors.InvalidSpecError(decision.problems)
            pipeline = decision.record
            if _lives(pipeline):
                self._ensured.pop(
                    pipeline.name, None
                )  # an older one of this name may have been there
                await self.ensure(pipeline)
                await self._jobsets.create_missing()
        if isinstance(decision, core.Accepted):
            await self._tell(pipeline)
        return pipeline

    async def refuse(
        self, name: str, problems: core.Problems, command: int
    ) -> records.Pipeline | None:
        """Show a refusal in the pipeline's record, which is made if there is none.

        One that is older than what was taken since changes nothing.
        """
        async with self._catalog.graph:
            for _ in range(TRIES):
                current = self._catalog.pipelines.get(name)
                if current is not None and command <= current.command:
                    return current
                record = core.refuse(name, current, problems, self._fresh(command))
                try:
                    return await self._catalog.pipelines.replace(name, record)
                except errors.ConflictError:
                    continue
        raise errors.UnavailableError("the pipeline's record", "it changes all the time")

    async def forget_commands(self, *, above: int) -> None:
        """Forget which published spec was taken last where its sequence cannot be."""
        async with self._catalog.graph:
            for pipeline in self._catalog.all_pipelines():
                if pipeline.command > above:
                    record = msgspec.structs.replace(pipeline, command=0)
                    await self._catalog.pipelines.replace(pipeline.name, record)

    def doubt_all(self) -> None:
        """Let the next round look again at what follows from every pipeline's record."""
        self._ensured.clear()

    def doubt_missing(self, streams: Collection[str]) -> None:
        """Let the next round look again at pipelines whose work queue is not among these streams."""
        for name in list(self._ensured):
            if subjects.datums_stream(name) in streams:
                continue
            del self._ensured[name]
            pipeline = self._catalog.pipelines.get(name)
            if pipeline is not None and _lives(pipeline):  # else it went with its pipeline
                log.warning("work queue was gone", extra={"pipeline": name})

    async def ensure(self, pipeline: records.Pipeline) -> None:
        """Make what follows from the record of a pipeline that lives and is not there yet."""
        assert pipeline.spec is not None
        await self._keep_version(pipeline)
        await self._repos.ensure_output(pipeline.name, pipeline.spec.output_branch)
        for cron in spec.crons(pipeline.spec.input):
            await self._repos.ensure_ticks(pipeline.name, cron, pipeline.updated_ns)
        ward = self._wards.of(pipeline.name)
        await topology.declare_pipeline(self._data, ward, self._durability)
        await self._assignments.publish(pipeline.name)
        self._ensured[pipeline.name] = pipeline.version

    async def ensure_all(self) -> None:
        """Make what follows from each pipeline's record, where that is in doubt.

        What keeps one pipeline from it (a limit of the server, say) keeps no other one.
        """
        for pipeline in list(self._catalog.dag.pipelines.values()):
            if self._ensured.get(pipeline.name) == pipeline.version:
                continue
            try:
                async with self._catalog.graph:
                    current = self._catalog.pipelines.get(pipeline.name)
                    if current is not None and _lives(current):
                        await self.ensure(current)
            except errors.UnavailableError:
                raise
            except errors.TrunklineError as error:
                extra = {"pipeline": pipeline.name, "reason": str(error)}
                log.error("pipeline cannot be made complete", extra=extra)  # noqa: TRY400 - told

    async def _keep_version(self, pipeline: records.Pipeline) -> None:
        """Make the version's entry in the history be there."""
        key = version_key(pipeline.name, pipeline.version)
        kept = msgspec.structs.replace(pipeline, refusal=None, command=0)
        await self._catalog.pipelines.ensure(key, kept)

    async def _store(
        self, wanted: spec.PipelineSpec, fresh: core.Fresh, *, now: bool
    ) -> core.Accepted | core.Unchanged | core.Refused:
        """Decide, and write the record; again if somebody else wrote it meanwhile."""
        for _ in range(TRIES):
            installed = self._catalog.installed()
            current = installed.pipelines.get(wanted.name)
            if current is not None and 0 < fresh.command <= current.command:
                return core.Unchanged(current)
            decision = core.accept(wanted, installed, fresh, now=now)
            if isinstance(decision, core.Refused):
                return decision
            if current is not None and current.spec is not None:
                await self._keep_version(current)
            try:
                await self._catalog.pipelines.replace(wanted.name, decision.record)
            except errors.ConflictError:
                continue
            return decision
        raise errors.UnavailableError("the pipeline's record", "it changes all the time")

    def _fresh(self, command: int, reprocess: str = "") -> core.Fresh:
        return core.Fresh(
            set_id=secrets.token_hex(16),
            salt=secrets.token_hex(16),
            now_ns=self._clock.wall_ns(),
            command=command,
            reprocess=reprocess,
            traceparent=tracing.current.get(),
        )

    async def _tell(self, pipeline: records.Pipeline) -> None:
        where = {"pipeline": pipeline.name, "version": pipeline.version}
        log.info("spec accepted", extra=where)
        text = f"version {pipeline.version} of {pipeline.name} is accepted"
        await self._events.mention("spec-accepted", pipeline.name, text)
        if pipeline.ignored:
            fields = ", ".join(pipeline.ignored)
            log.warning("fields have no effect here", extra={**where, "fields": fields})
            text = f"these fields have no effect in this installation: {fields}"
            await self._events.mention("spec-ignored", pipeline.name, text)


def _lives(pipeline: records.Pipeline) -> bool:
    """Whether anything follows from a pipeline's record."""
    return pipeline.spec is not None and pipeline.state is not PipelineState.DELETING
