"""Requests that change what a pipeline is or does, and those that ask for its past and its reasons."""

import msgspec

from trunkline.bus.connection import NatsConnection
from trunkline.contracts import api as contract
from trunkline.contracts import errors, messages, names, records, spec_parsing, subjects
from trunkline.coordinator import paging
from trunkline.coordinator.api import Answer, Handler, decode
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.commits import InvalidRequestError
from trunkline.coordinator.conduct import Conduct
from trunkline.coordinator.deleting import Deleting
from trunkline.coordinator.pipelines import Pipelines
from trunkline.coordinator.planning import Planning

SALT_MAX = 200
"""It goes into the pipeline's record and each of its jobs'."""


class PipelineVerbs:
    """The verbs; `ctl` is the connection in the account CTL."""

    def __init__(
        self,
        catalog: Catalog,
        pipelines: Pipelines,
        conduct: Conduct,
        deleting: Deleting,
        planning: Planning,
        ctl: NatsConnection,
    ) -> None:
        self._catalog, self._pipelines = catalog, pipelines
        self._conduct, self._deleting, self._ctl = conduct, deleting, ctl
        self._planning = planning

    def all(self) -> dict[str, Handler]:
        """Return the handlers by verb."""
        return {
            "pipeline.apply": self.apply,
            "pipeline.apply-now": self.apply_now,
            "pipeline.delete": self.delete,
            "pipeline.explain": self.explain,
            "pipeline.plan": self.plan,
            "pipeline.plan-as": self.plan_as,
            "pipeline.reprocess": self.reprocess,
            "pipeline.rerun": self.rerun,
            "pipeline.start": self.start,
            "pipeline.stop": self.stop,
            "pipeline.versions": self.versions,
            "job.rerun": self.rerun_job,
        }

    async def apply(self, body: bytes) -> Answer:
        """Take a spec."""
        return paging.answer(await self._pipelines.apply(spec_parsing.parse(body)))

    async def apply_now(self, body: bytes) -> Answer:
        """Take a spec, and have the jobs of older versions killed."""
        return paging.answer(await self._pipelines.apply(spec_parsing.parse(body), now=True))

    async def plan(self, body: bytes) -> Answer:
        """Say what specs would do."""
        return Answer(msgspec.json.encode(await self._planning.plan(body)))

    async def plan_as(self, body: bytes) -> Answer:
        """Say what specs would do if they were applied with these options."""
        asked: contract.PipelinePlan = decode(body, contract.PipelinePlan)
        specs = asked.specs.encode("utf-8", "replace")
        plans = await self._planning.plan(specs, now=asked.now, reprocess=asked.reprocess)
        return Answer(msgspec.json.encode(plans))

    async def reprocess(self, body: bytes) -> Answer:
        """Take a spec, and have everything done anew."""
        asked: contract.PipelineReprocess = decode(body, contract.PipelineReprocess)
        if not 0 < len(asked.salt) <= SALT_MAX:
            raise InvalidRequestError("$.salt", f"must have up to {SALT_MAX} characters")
        wanted = spec_parsing.parse(asked.spec.encode("utf-8", "replace"))
        taken = await self._pipelines.apply(wanted, now=asked.now, reprocess=asked.salt)
        return paging.answer(taken)

    async def delete(self, body: bytes) -> Answer:
        """Have a pipeline deleted."""
        request: contract.PipelineDelete = decode(body, contract.PipelineDelete)
        return paging.answer(await self._deleting.delete(request.name, force=request.force))

    async def stop(self, body: bytes) -> Answer:
        """Have a pipeline stopped."""
        return paging.answer(await self._conduct.stop(decode(body, contract.Named).name))

    async def start(self, body: bytes) -> Answer:
        """Let a pipeline go on."""
        return paging.answer(await self._conduct.start(decode(body, contract.Named).name))

    async def rerun(self, body: bytes) -> Answer:
        """Give a pipeline another job on the newest inputs."""
        return paging.answer(await self._conduct.rerun(decode(body, contract.PipelineRerun)))

    async def rerun_job(self, body: bytes) -> Answer:
        """Make a job on the inputs of another one."""
        return paging.answer(await self._conduct.rerun_job(decode(body, contract.JobRerun)))

    async def versions(self, body: bytes) -> Answer:
        """List the versions of a pipeline, newest first."""
        page: contract.Page = decode(body, contract.Page)
        name = self._pipeline(page.key).name
        history = list(reversed(self._catalog.versions_of(name)))
        rest = paging.following(((str(each.version), each) for each in history), page.after)
        return paging.cut(rest, paging.limit(page.limit))

    async def explain(self, body: bytes) -> Answer:
        """Say why a pipeline has as many workers as it has."""
        pipeline = self._pipeline(decode(body, contract.Named).name)
        subject = subjects.event(pipeline.name, "scaled")
        stored = await self._ctl.last(subjects.EVENTS_STREAM, subject)
        decision = None
        if stored is not None:
            decision = messages.decode(subject, stored.data, messages.Event)
        return paging.answer(
            contract.Explained(
                pipeline=pipeline,
                decision=decision,
                scaling=self._catalog.scaling.get(pipeline.name),
            )
        )

    def _pipeline(self, name: str) -> records.Pipeline:
        found = self._catalog.pipelines.get(names.pipeline(name))
        if found is None:
            raise errors.NotFoundError("pipeline", name)
        return found
