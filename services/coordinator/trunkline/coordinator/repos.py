"""Repos, branches and commits: create, list, finish, and the move of a branch."""

import asyncio

from trunkline.bus.ports import Entry
from trunkline.contracts import errors, records
from trunkline.coordinator.tables import Tables, branch_key, commit_key
from trunkline.runtime.clock import Clock


class Committer:
    """Makes commits and moves branches to them."""

    def __init__(self, tables: Tables, clock: Clock) -> None:
        self.tables, self.clock = tables, clock

    async def commit_output(
        self, job: records.Job, manifest: str, files: int, size: int
    ) -> records.Commit:
        """Commit a job's output and move its branch there; the same again changes nothing.

        Raises:
            ConflictError: the branch was moved to something that is not this job's to replace.
            UnavailableError: unknown how far it came; call again.
        """
        raise NotImplementedError
