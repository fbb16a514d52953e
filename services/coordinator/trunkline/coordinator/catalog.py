"""All that is there, in memory: the mirrors of the buckets, and the lock on the graph.

*The graph* is pipelines, branches that users move, and the jobs that follow from both. Whatever
changes it holds `graph` from its checks to the creation of the jobs that follow, so that each commit
sets off its jobs before the next one lands, and no two specs close a cycle together.

Who looks for a pipeline, the readers of a repo, its branches or the jobs of a set finds them by name: one spec
among ten thousand costs what it costs among ten.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

from trunkline.contracts import records
from trunkline.contracts.states import PipelineState
from trunkline.coordinator.core import pipelines
from trunkline.coordinator.core.dag import Dag
from trunkline.coordinator.counting import Counting
from trunkline.coordinator.jobs import JobStore
from trunkline.coordinator.mirror import Mirror
from trunkline.coordinator.tables import Tables, job_key, version_key
from trunkline.runtime.clock import Clock
from trunkline.storage.secrets import Secrets


class Catalog:
    """The mirrors; `woken` is set whenever a change may call for a round."""

    def __init__(
        self,
        tables: Tables,
        clock: Clock,
        *,
        local: bool,
        secrets: Secrets | None = None,
        counting: Counting | None = None,
    ) -> None:
        self.tables = tables
        self.graph = asyncio.Lock()
        self.pins = asyncio.Lock()
        """Held while jobs begin: from the look at a done index to the record that pins its runs."""
        self.woken = asyncio.Event()
        self._local, self._secrets = local, secrets
        self._counting = counting or Counting(clock)
        self.dag = Dag()
        self.pipelines = Mirror(tables.pipelines, self._note_pipeline, self.woken.set)
        self.repos = Mirror(tables.repos, self._note_repo, self.woken.set)
        self.branches = Mirror(tables.branches, self._note_branch, self.woken.set)
        self.jobs = JobStore(tables.jobs, clock, self._note_job, spoiled=self.woken.set)
        self.scaling = Mirror(tables.scaling, self._quiet, self.woken.set)
        self._repos: dict[str, records.Repo] = {}
        self._branches: dict[str, dict[str, records.Branch]] = {}
        """Repo -> name -> branch."""
        self._heads: dict[tuple[str, str], str] = {}

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow all buckets inside; what was there at first is here once this is entered."""
        mirrors: dict[str, Mirror[Any]] = {
            "pipelines": self.pipelines,
            "repos": self.repos,
            "branches": self.branches,
            "jobs": self.jobs.mirror,
            "scaling": self.scaling,
        }
        async with asyncio.TaskGroup() as tasks:
            followers = [
                tasks.create_task(mirror.follow(), name=f"follow-{name}")
                for name, mirror in mirrors.items()
            ]
            for mirror in mirrors.values():
                await mirror.filled.wait()
            self.jobs.forget()
            try:
                yield
            finally:
                for follower in followers:
                    follower.cancel()

    def all_pipelines(self) -> list[records.Pipeline]:
        """Return all pipelines at their newest version, by name."""
        return [each for _, each in sorted(self.dag.pipelines.items())]

    def versions_of(self, pipeline: str) -> list[records.Pipeline]:
        """Return what is kept of a pipeline's history, oldest first."""
        newest = self.pipelines.get(pipeline)
        keys = (version_key(pipeline, each + 1) for each in range(newest.version if newest else 0))
        return [each for key in keys if (each := self.pipelines.get(key))]

    def heads(self) -> Mapping[tuple[str, str], str]:
        """Return the heads of all branches that have one, as they are at any time."""
        return MappingProxyType(self._heads)

    def branches_of(self, repo: str) -> list[records.Branch]:
        """Return the branches of a repo, by name."""
        return [each for _, each in sorted(self._branches.get(repo, {}).items())]

    def installed(self) -> pipelines.Installed:
        """Return what a spec is checked against, as it is at any time."""
        return pipelines.Installed(
            pipelines=self.dag.pipelines,
            repos=MappingProxyType(self._repos),
            heads=self.heads(),
            local=self._local,
            secrets=None if self._secrets is None else self._secrets.all(),
        )

    def deleting(self) -> list[records.Pipeline]:
        """Return the pipelines that are to go."""
        going = PipelineState.DELETING
        return [each for each in self.dag.pipelines.values() if each.state is going]

    def _quiet(self, key: str, old: object, new: object) -> None:
        """Nothing follows from this change."""

    def _note_pipeline(
        self, key: str, old: records.Pipeline | None, new: records.Pipeline | None
    ) -> None:
        del old
        if "." not in key:  # else it is of the history
            self.dag.put(key, new)
            if new is None:
                self._counting.pipeline_gone(key)
            self.woken.set()

    def _note_repo(self, key: str, old: records.Repo | None, new: records.Repo | None) -> None:
        del old
        self._repos.pop(key, None)
        if new is not None:
            self._repos[key] = new

    def _note_branch(
        self, key: str, old: records.Branch | None, new: records.Branch | None
    ) -> None:
        repo, _, name = key.partition(".")
        if new is not None:
            self._branches.setdefault(repo, {})[name] = new
        elif repo in self._branches:
            self._branches[repo].pop(name, None)
            if not self._branches[repo]:
                del self._branches[repo]
        self._heads.pop((repo, name), None)
        if new is not None and new.head:
            self._heads[repo, name] = new.head
        if (old.head if old else "") != (new.head if new else ""):
            self.dag.mark_readers(repo)
        self.woken.set()

    def _note_job(self, old: records.Job | None, new: records.Job | None) -> None:
        job = new or old
        assert job is not None
        stored_ns = self.jobs.mirror.stored_ns(job_key(job.pipeline, job.id))
        self._counting.job_changed(old, new, stored_ns)
        if old is None or new is None or _shown(old) != _shown(new):
            self.dag.mark(job.pipeline)
            self.woken.set()


def _shown(job: records.Job) -> tuple[object, ...]:
    """Return what others are made, begun or ended by."""
    return job.state, job.compacted, job.halted, job.inputs
