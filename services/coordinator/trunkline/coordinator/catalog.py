"""All that is there, in memory: the mirrors of the buckets, and the lock on the graph.

*The graph* is pipelines, branches that users move, and the jobs that follow from both. Whatever
changes it holds `graph` from its checks to the creation of the jobs that follow, so that each commit
sets off its jobs before the next one lands, and no two specs close a cycle together.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from trunkline.contracts import records
from trunkline.contracts.states import PipelineState
from trunkline.coordinator.core import jobsets, pipelines
from trunkline.coordinator.jobs import JobStore
from trunkline.coordinator.mirror import Mirror
from trunkline.coordinator.tables import Tables
from trunkline.runtime.clock import Clock
from trunkline.storage.secrets import Secrets


class Catalog:
    """The mirrors; `woken` is set whenever a change may call for a round."""

    def __init__(
        self, tables: Tables, clock: Clock, *, local: bool, secrets: Secrets | None = None
    ) -> None:
        self.tables = tables
        self.graph = asyncio.Lock()
        self.pins = asyncio.Lock()
        """Held while jobs begin: from the look at a done index to the record that pins its runs."""
        self.woken = asyncio.Event()
        self._local, self._secrets = local, secrets
        self.pipelines = Mirror(tables.pipelines, self._wake)
        self.repos = Mirror(tables.repos, self._quiet)
        self.branches = Mirror(tables.branches, self._wake)
        self.jobs = JobStore(tables.jobs, clock, self._wake_on_state)
        self.scaling = Mirror(tables.scaling, self._quiet)
        self._nodes: dict[str, tuple[records.Pipeline, jobsets.Node | None]] = {}
        """By name, with the record that it was made from: each round asks for those of all pipelines."""

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

    def heads_of_pipelines(self) -> dict[str, records.Pipeline]:
        """Return all pipelines at their newest version, by name; history stands under other keys."""
        return {each.name: each for each in self.all_pipelines()}

    def all_pipelines(self) -> list[records.Pipeline]:
        """Return all pipelines, by name."""
        return [
            each for key in self.pipelines if "." not in key and (each := self.pipelines.get(key))
        ]

    def heads(self) -> dict[tuple[str, str], str]:
        """Return the heads of all branches that have one."""
        return {(each.repo, each.name): each.head for each in self.branches.values() if each.head}

    def branches_of(self, repo: str) -> list[records.Branch]:
        """Return the branches of a repo, by name."""
        return [each for each in self.branches.values() if each.repo == repo]

    def nodes(self) -> list[jobsets.Node]:
        """Return the pipelines that make jobs."""
        known = self._nodes
        self._nodes = {}
        for each in self.all_pipelines():
            made = known.get(each.name)
            if made is None or made[0] is not each:
                made = (each, jobsets.node(each))
            self._nodes[each.name] = made
        return [node for _, node in self._nodes.values() if node is not None]

    def installed(self) -> pipelines.Installed:
        """Return what a spec is checked against."""
        return pipelines.Installed(
            pipelines=self.heads_of_pipelines(),
            repos={each.name: each for each in self.repos.values()},
            heads=self.heads(),
            local=self._local,
            secrets=None if self._secrets is None else self._secrets.all(),
        )

    def deleting(self) -> list[records.Pipeline]:
        """Return the pipelines that are to go."""
        return [each for each in self.all_pipelines() if each.state is PipelineState.DELETING]

    def _quiet(self, old: object, new: object) -> None:
        """Nothing follows from this change."""

    def _wake(self, old: object, new: object) -> None:  # noqa: ARG002 - any change will do
        self.woken.set()

    def _wake_on_state(self, old: records.Job | None, new: records.Job | None) -> None:
        if old is None or new is None or (old.state, old.compacted) != (new.state, new.compacted):
            self.woken.set()
