"""The verbs about what is kept: collections, and the deletion of single jobs and branches."""

from trunkline.contracts import api as contract
from trunkline.contracts import errors
from trunkline.coordinator import paging
from trunkline.coordinator.api import Answer, Handler, decode
from trunkline.coordinator.collecting import Collector
from trunkline.coordinator.repos import Repos
from trunkline.coordinator.retention import Retention


class Upkeep:
    """See the module."""

    def __init__(self, collector: Collector, retention: Retention, repos: Repos) -> None:
        self._collector, self._retention, self._repos = collector, retention, repos

    def all(self) -> dict[str, Handler]:
        """Return the handlers by verb."""
        return {
            "gc.start": self.gc_start,
            "gc.get": self.gc_get,
            "job.delete": self.job_delete,
            "branch.delete": self.branch_delete,
        }

    async def gc_start(self, body: bytes) -> Answer:
        """Begin a collection, unless one runs."""
        return paging.answer(self._collector.start(decode(body, contract.Collect)))

    async def gc_get(self, body: bytes) -> Answer:  # noqa: ARG002 - it has no fields
        """Show the collection that runs, or else the last one."""
        if self._collector.report is None:
            remedy = "none was begun since the coordinator started: `trunkline gc`"
            raise errors.NotFoundError("collection", "gc", remedy)
        return paging.answer(self._collector.report)

    async def job_delete(self, body: bytes) -> Answer:
        """Delete the record of a job that has ended."""
        request: contract.JobNamed = decode(body, contract.JobNamed)
        return paging.answer(await self._retention.delete_job(request.pipeline, request.id))

    async def branch_delete(self, body: bytes) -> Answer:
        """Delete a branch."""
        request: contract.BranchNamed = decode(body, contract.BranchNamed)
        return paging.answer(await self._repos.delete_branch(request.repo, request.branch))
