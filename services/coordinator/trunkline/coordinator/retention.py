"""Takes away records that nobody needs: old jobs, and commits that no branch leads to (`core.keeping`).

It runs every `keep_every_s`, and at the beginning of each collection. A record that is gone is the only
change, one after the other, so a crash leaves fewer or more of them. The bytes are the collector's.

All records of a pipeline or a repo are read once, and what may go of them is taken away some at a time. A job
goes only as its record was read: whatever has moved meanwhile stays. New jobs may be derived meanwhile; they,
their sets and the heads they read are looked at again with the lock on the graph held, which is what sets off
jobs. That a job is the newest of its pipeline cannot come about meanwhile: a newest one is not deleted.
"""

import asyncio
import logging
from collections.abc import Sequence

from trunkline.contracts import errors, names, records
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.core import keeping
from trunkline.coordinator.jobs import settled
from trunkline.coordinator.repos import InUseError
from trunkline.coordinator.settings import Settings
from trunkline.coordinator.tables import commit_key
from trunkline.runtime.clock import Clock

log = logging.getLogger(__name__)

_AT_ONCE = 100
"""Records that are deleted while the graph is locked, at most."""


class Retention:
    """See the module."""

    def __init__(self, catalog: Catalog, settings: Settings, clock: Clock) -> None:
        self._catalog, self._settings, self._clock = catalog, settings, clock

    async def run(self) -> None:
        """Take away what may go, for ever."""
        while True:
            await asyncio.sleep(self._settings.keep_every_s)
            try:
                await self.take_away()
            except errors.TrunklineError as error:
                log.warning("records could not be looked through", extra={"reason": str(error)})

    async def take_away(self) -> tuple[int, int]:
        """Take away what may go; return how many jobs and commits."""
        jobs = commits = 0
        for pipeline in self._catalog.all_pipelines():
            spare = await self.spare_jobs(pipeline.name)
            for at in range(0, len(spare), _AT_ONCE):
                jobs += await self._delete_jobs(pipeline.name, spare[at : at + _AT_ONCE])
        read = self.read()
        for repo in self._catalog.repos.values():
            commits += await self._delete_commits(
                repo.name, await self.spare_commits(repo.name, read)
            )
        if jobs or commits:
            log.info("records taken away", extra={"jobs": jobs, "commits": commits})
        return jobs, commits

    async def spare_jobs(self, pipeline: str) -> list[records.Job]:
        """Return which jobs of a pipeline may go."""
        jobs = self._catalog.jobs
        if pipeline not in jobs.forgotten and len(jobs.list(pipeline)) <= self._settings.keep_jobs:
            return []
        found = [each for each in await jobs.every(pipeline) if settled(each)]
        keep = self._settings.keep_jobs
        return keeping.spare_jobs(found, self._catalog.heads(), self._asked_for(), keep)

    async def spare_commits(self, repo: str, read: keeping.Read) -> list[records.Commit]:
        """Return which commits of a repo may go.

        Args:
            repo: Its name.
            read: As `read` has returned it for all repos. It may be old by now: what is deleted is looked at again.
        """
        entries = await self._catalog.tables.commits.all(f"{names.repo(repo)}.")
        return keeping.spare_commits(
            {each.value.id: each.value for each in entries if each.value is not None},
            self._heads_of(repo),
            read,
            keep=self._settings.keep_commits,
            before_ns=self._clock.wall_ns() - int(self._settings.gc_grace_s * 1e9),
        )

    async def delete_job(self, pipeline: str, identifier: str) -> records.Job:
        """Delete the record of one job, as a user asks.

        Raises:
            NotFoundError: there is none.
            InUseError: it has not ended, or what it has done would be done again.
        """
        async with self._catalog.graph:
            jobs = self._catalog.jobs
            job = await jobs.get(pipeline, identifier)
            if job is None:
                raise errors.NotFoundError("job", f"{pipeline}@{identifier}")
            if not settled(job):
                raise InUseError("job", f"{pipeline}@{job.id}", "it has not ended", "stop it first")
            newest = keeping.newest(await jobs.every(pipeline))
            if job.id in newest or keeping.needed(job, self._catalog.heads(), self._asked_for()):
                reason = "it is what says that the newest input is done"
                raise InUseError(
                    "job", f"{pipeline}@{job.id}", reason, "it may go once there is a newer one"
                )
            await jobs.delete(pipeline, job.id)
            return job

    async def _delete_jobs(self, pipeline: str, chosen: Sequence[records.Job]) -> int:
        async with self._catalog.graph:
            heads, asked_for = self._catalog.heads(), self._asked_for()
            going = [
                each
                for each in chosen
                if not keeping.needed(each, heads, asked_for)
                and self._catalog.jobs.known(pipeline, each.id) in (each, None)
            ]
            for job in going:
                await self._catalog.jobs.delete(pipeline, job.id)
        return len(going)

    async def _delete_commits(self, repo: str, chosen: Sequence[records.Commit]) -> int:
        """Delete commits; a branch may have been made at one meanwhile, or a job that reads it."""
        gone = 0
        for at in range(0, len(chosen), _AT_ONCE):
            async with self._catalog.graph:
                heads, read = self._heads_of(repo), self.read()
                for commit in chosen[at : at + _AT_ONCE]:
                    if commit.id not in heads and not read.has(commit):
                        key = commit_key(repo, commit.id)
                        await self._catalog.tables.commits.delete(key)
                        gone += 1
        return gone

    def _asked_for(self) -> frozenset[str]:
        catalog = self._catalog
        return keeping.sets(catalog.jobs.unsettled(), catalog.all_pipelines(), catalog.heads())

    def _heads_of(self, repo: str) -> frozenset[str]:
        return frozenset(each.head for each in self._catalog.branches_of(repo) if each.head)

    def read(self) -> keeping.Read:
        """Return the commits that jobs read, or are about to make, which are not settled."""
        return keeping.read(self._catalog.jobs.unsettled())
