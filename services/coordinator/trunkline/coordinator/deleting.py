"""Pipelines are deleted.

State DELETING first; from then on no job is made and no spec may read it. Then each round does what is not
done yet: jobs are killed (`conduct`); once all are put away, the datum stream goes, then the records of the
jobs, the done index, the history, repos of its ticks that nobody else reads, an output repo in which
nothing was ever committed and that nobody reads, and the pipeline's own record last. Each step may be
repeated, and as long as that record is there, it is. An output repo that stays belongs to nobody: its
files can be read, it can be deleted, and a pipeline of the same name takes it over.

A pipeline that others read is deleted only by force: they keep what is on its branch.
"""

import logging

import msgspec

from trunkline.bus import topology
from trunkline.bus.connection import NatsConnection
from trunkline.contracts import errors, names, records
from trunkline.contracts.states import PipelineState
from trunkline.contracts.wards import Wards
from trunkline.coordinator.assignments import Assignments
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.events import Events
from trunkline.coordinator.repos import InUseError, Repos
from trunkline.coordinator.tables import version_key

log = logging.getLogger(__name__)


class Deleting:
    """Deletes pipelines; `data` is the connection in the account DATA."""

    def __init__(
        self,
        catalog: Catalog,
        repos: Repos,
        assignments: Assignments,
        data: NatsConnection,
        wards: Wards,
        events: Events,
    ) -> None:
        self._catalog, self._repos, self._assignments = catalog, repos, assignments
        self._data, self._wards, self._events = data, wards, events

    async def delete(self, name: str, *, force: bool = False) -> records.Pipeline:
        """Have a pipeline deleted; rounds do the rest.

        Raises:
            NotFoundError: there is none.
            InUseError: another pipeline reads its output, and that was not forced.
        """
        async with self._catalog.graph:
            current = self._catalog.pipelines.get(names.pipeline(name))
            if current is None:
                raise errors.NotFoundError("pipeline", name)
            readers = self._catalog.dag.readers(name)
            if readers and not force:
                told = ", ".join(readers)
                remedy = "delete what reads it first, or use force"
                raise InUseError("pipeline", name, f"its output is read by {told}", remedy)
            going = msgspec.structs.replace(current, state=PipelineState.DELETING)
            await self._catalog.pipelines.replace(name, going)
        self._catalog.woken.set()
        await self._events.mention("pipeline-deleting", name, f"pipeline {name} is being deleted")
        return going

    async def round(self) -> None:
        """Go on with each deletion as far as it goes now."""
        for pipeline in self._catalog.deleting():
            if not self._catalog.jobs.unsettled(pipeline.name):
                await self._remove(pipeline.name)

    async def _remove(self, name: str) -> None:
        async with self._catalog.graph:
            await topology.delete_pipeline(self._data, self._wards.of(name))
            self._assignments.forget(name)
            await self._catalog.jobs.delete_all(name)
            await self._catalog.tables.done.delete(name)
            for each in self._catalog.versions_of(name):
                await self._catalog.pipelines.delete(version_key(name, each.version))
            await self._repos.remove_ticks(name)
            repo = self._catalog.repos.get(name)
            if repo is not None and repo.pipeline and not self._output_is_of_use(name):
                await self._repos.remove(name)
            await self._catalog.pipelines.delete(name)
        log.info("pipeline deleted", extra={"pipeline": name})
        await self._events.mention("pipeline-deleted", name, f"pipeline {name} is gone")

    def _output_is_of_use(self, name: str) -> bool:
        """Whether there is anything in a pipeline's output repo, or anybody who reads it."""
        return bool(self._catalog.dag.readers(name)) or any(
            each.head for each in self._catalog.branches_of(name)
        )
