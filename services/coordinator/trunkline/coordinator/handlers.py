"""What each request is answered with, but for datums, logs and events: see `readers`."""

from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

import msgspec

from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Table
from trunkline.contracts import api as contract
from trunkline.contracts import errors, names, records, subjects
from trunkline.contracts.durability import Durability
from trunkline.coordinator import paging, standings
from trunkline.coordinator.api import Answer, Handler, decode
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.commits import Commits, InvalidRequestError
from trunkline.coordinator.core import jobsets
from trunkline.coordinator.core.job import Fold
from trunkline.coordinator.repos import Repos
from trunkline.coordinator.settings import Settings
from trunkline.coordinator.tables import NODES_KEY, version_key
from trunkline.coordinator.ticking import Ticking
from trunkline.storage import urls

NODES_MAX = 10_000
"""Logical nodes that one machine may pretend to have."""


Folds = Callable[[str, str], Fold | None]
"""Returns what is known of a live job, by pipeline and id."""


class Handlers:
    """The verbs about pipelines, repos, commits, jobs, workers, nodes and the whole."""

    def __init__(
        self,
        catalog: Catalog,
        repos: Repos,
        commits: Commits,
        ticking: Ticking,
        folds: Folds,
        ctl: NatsConnection,
        leaders: Table[records.Candidate],
        problems: Callable[[], Sequence[str]],
        settings: Settings,
    ) -> None:
        self._catalog, self._tables = catalog, catalog.tables
        self._repos, self._commits = repos, commits
        self._ticking = ticking
        self._folds, self._ctl, self._leaders = folds, ctl, leaders
        self._problems, self._settings = problems, settings

    def all(self) -> dict[str, Handler]:
        """Return the handlers by verb."""
        return {
            "pipeline.get": self.pipeline_get,
            "pipeline.list": self.pipeline_list,
            "pipeline.tick": self.pipeline_tick,
            "repo.create": self.repo_create,
            "repo.get": self.repo_get,
            "repo.list": self.repo_list,
            "repo.delete": self.repo_delete,
            "branch.create": self.branch_create,
            "branch.get": self.branch_get,
            "commit.finish": self.commit_finish,
            "commit.get": self.commit_get,
            "commit.list": self.commit_list,
            "job.get": self.job_get,
            "job.list": self.job_list,
            "job.find": self.job_find,
            "job.stop": self.job_stop,
            "worker.list": self.worker_list,
            "nodes.get": self.nodes_get,
            "nodes.set": self.nodes_set,
            "status": self.status,
        }

    async def pipeline_get(self, body: bytes) -> Answer:
        """Show a pipeline, or what a former version of it was."""
        request: contract.PipelineNamed = decode(body, contract.PipelineNamed)
        name, version = names.pipeline(request.name), request.version
        found = self._catalog.pipelines.get(version_key(name, version) if version else name)
        if found is None:
            what = f"version {version} of pipeline" if version else "pipeline"
            raise errors.NotFoundError(what, name)
        return paging.answer(self._pipeline_view(found, self._last_jobs(name)))

    async def pipeline_list(self, body: bytes) -> Answer:
        """List pipelines by name."""
        page: contract.Page = decode(body, contract.Page)
        found = (each for each in self._catalog.all_pipelines() if each.name > page.after)
        last_jobs = self._last_jobs()
        views = ((each.name, self._pipeline_view(each, last_jobs)) for each in found)
        return paging.cut(views, paging.limit(page.limit))

    async def pipeline_tick(self, body: bytes) -> Answer:
        """Let a pipeline's cron inputs tick now."""
        name = names.pipeline(decode(body, contract.Named).name)
        commits = await self._ticking.tick(name)
        return paging.answer(contract.Ticked(commits=tuple(commits)))

    async def repo_create(self, body: bytes) -> Answer:
        """Create a repo."""
        request: contract.RepoCreate = decode(body, contract.RepoCreate)
        return paging.answer(await self._repos.create(request.name, request.description))

    async def repo_get(self, body: bytes) -> Answer:
        """Show a repo."""
        return paging.answer(self._repo_view(self._repos.repo(decode(body, contract.Named).name)))

    async def repo_list(self, body: bytes) -> Answer:
        """List repos by name."""
        page: contract.Page = decode(body, contract.Page)
        found = (each for each in self._catalog.repos.values() if each.name > page.after)
        views = ((each.name, self._repo_view(each)) for each in found)
        return paging.cut(views, paging.limit(page.limit))

    async def repo_delete(self, body: bytes) -> Answer:
        """Delete a repo."""
        return paging.answer(await self._repos.delete(decode(body, contract.Named).name))

    async def branch_create(self, body: bytes) -> Answer:
        """Create a branch; at a commit, it sets off jobs like any head."""
        branch = await self._repos.create_branch(decode(body, contract.BranchCreate))
        return paging.answer(branch)

    async def branch_get(self, body: bytes) -> Answer:
        """Show a branch."""
        request: contract.BranchNamed = decode(body, contract.BranchNamed)
        return paging.answer(self._repos.branch(request.repo, request.branch))

    async def commit_finish(self, body: bytes) -> Answer:
        """Make a commit of files that are in the store."""
        return paging.answer(await self._commits.finish(decode(body, contract.CommitFinish)))

    async def commit_get(self, body: bytes) -> Answer:
        """Show a commit."""
        request: contract.CommitNamed = decode(body, contract.CommitNamed)
        return paging.answer(await self._repos.commit(request.repo, request.ref))

    async def commit_list(self, body: bytes) -> Answer:
        """List the commits of a repo, newest first."""
        page: contract.Page = decode(body, contract.Page)
        repo = self._repos.repo(page.key)
        entries = await self._tables.commits.all(f"{repo.name}.")
        found = [each.value for each in entries if each.value is not None]
        found.sort(key=lambda each: (-each.created_ns, each.id))
        rest = paging.following(((each.id, each) for each in found), page.after)
        return paging.cut(rest, paging.limit(page.limit))

    async def job_get(self, body: bytes) -> Answer:
        """Show a job."""
        request: contract.JobNamed = decode(body, contract.JobNamed)
        return paging.answer(await self._job(request))

    async def job_list(self, body: bytes) -> Answer:
        """List jobs, newest first."""
        page: contract.Page = decode(body, contract.Page)
        if page.key:
            names.pipeline(page.key)
        jobs, most = self._catalog.jobs, paging.limit(page.limit)
        forgotten = page.key in jobs.forgotten if page.key else bool(jobs.forgotten)
        # The newest jobs of each pipeline are in memory, so the newest of all are: the first page,
        # which is asked for again and again, never reads the bucket.
        short = forgotten and not page.after
        known = jobs.list(page.key) if short or not forgotten else await jobs.every(page.key)
        found = sorted(
            map(self._live, known), key=lambda each: (-each.created_ns, each.pipeline, each.id)
        )
        entries = [(f"{each.pipeline}.{each.id}", each) for each in found]
        rest = paging.following(entries, page.after)
        return paging.cut(rest, min(most, jobs.kept - 1) if short else most)

    async def job_find(self, body: bytes) -> Answer:
        """Show the job of a pipeline that runs on a commit."""
        asked: contract.JobReading = decode(body, contract.JobReading)
        named, jobs = names.pipeline(asked.pipeline), self._catalog.jobs
        found = jobsets.reading(jobs.list(named), asked.repo, asked.commit)
        if named in jobs.forgotten:  # there may be an older one
            found = jobsets.reading(await jobs.every(named), asked.repo, asked.commit)
        if found is None:
            what = f"job of {named} on {asked.repo}@{asked.commit}"
            raise errors.NotFoundError(what, named)
        return paging.answer(self._live(found))

    async def job_stop(self, body: bytes) -> Answer:
        """Have a job killed; one that has ended stays as it is."""
        job = await self._job(decode(body, contract.JobNamed))
        killed = await self._catalog.jobs.kill(job.pipeline, job.id, "stopped by a user")
        return paging.answer(killed)

    async def worker_list(self, body: bytes) -> Answer:
        """List what the scaler says of its workers, by pipeline."""
        page: contract.Page = decode(body, contract.Page)
        found = (
            (each.pipeline, each)
            for each in self._catalog.scaling.values()
            if page.key in ("", each.pipeline) and each.pipeline > page.after
        )
        return paging.cut(found, paging.limit(page.limit))

    async def nodes_get(self, body: bytes) -> Answer:  # noqa: ARG002 - it has no fields
        """Show how many logical nodes there are."""
        self._need_local()
        entry = await self._tables.nodes.get(NODES_KEY)
        if entry is None or entry.value is None:
            raise errors.NotFoundError("number of nodes", NODES_KEY, "set it first")
        return paging.answer(entry.value)

    async def nodes_set(self, body: bytes) -> Answer:
        """Set how many logical nodes there are."""
        self._need_local()
        request: contract.NodesSet = decode(body, contract.NodesSet)
        if not 0 <= request.count <= NODES_MAX:
            raise InvalidRequestError("$.count", f"must be from 0 to {NODES_MAX}")
        nodes = records.Nodes(count=request.count)
        await self._tables.nodes.put(NODES_KEY, nodes)
        return paging.answer(nodes)

    async def status(self, body: bytes) -> Answer:  # noqa: ARG002 - it has no fields
        """Show what the installation is."""
        info = await self._ctl.js_api(f"STREAM.INFO.{subjects.bucket_stream(subjects.PIPELINES)}")
        config = info["config"]
        problems = self._problems()
        return paging.answer(
            contract.Status(
                version=metadata.version("trunkline"),
                durability=_durability(self._settings.durability, info),
                store=urls.shown(self._settings.store),
                server=config.get("metadata", {}).get("_nats.ver", ""),
                ready=not problems,
                problems=tuple(problems),
                services=standings.of(await self._leaders.all()),
            )
        )

    def _pipeline_view(
        self, pipeline: records.Pipeline, last_jobs: Mapping[str, records.Job]
    ) -> contract.PipelineView:
        last_job = last_jobs.get(pipeline.name)
        return contract.PipelineView(
            pipeline=pipeline,
            scaling=self._catalog.scaling.get(pipeline.name),
            last_job=self._live(last_job) if last_job else None,
        )

    def _last_jobs(self, pipeline: str = "") -> dict[str, records.Job]:
        """Return the newest job of each pipeline (or of one)."""
        return {each.pipeline: each for each in self._catalog.jobs.list(pipeline)}

    def _repo_view(self, repo: records.Repo) -> contract.RepoView:
        return contract.RepoView(repo=repo, branches=tuple(self._catalog.branches_of(repo.name)))

    async def _job(self, request: contract.JobNamed) -> records.Job:
        found = await self._catalog.jobs.find(request.pipeline, request.id)
        if found is None:
            raise errors.NotFoundError("job", f"{request.pipeline}@{request.id}")
        return self._live(found)

    def _live(self, job: records.Job) -> records.Job:
        """Return a job with what is known of its datums by now; its record lags behind."""
        fold = self._folds(job.pipeline, job.id)
        return msgspec.structs.replace(job, counts=fold.counts) if fold else job

    def _need_local(self) -> None:
        if not self._settings.local:
            text = (
                "this installation's nodes are Kubernetes'; logical ones exist in local mode only"
            )
            raise InvalidRequestError("", text)


def _durability(level: Durability, info: Mapping[str, Any]) -> str:
    """Return what was stated, and what a stream has of it."""
    config, cluster = info["config"], info.get("cluster") or {}
    copies = config["num_replicas"]
    others = cluster.get("replicas") or ()
    behind = sum(not each.get("current") or bool(each.get("offline")) for each in others)
    told = f"{level.value}: {config['storage']} R{copies}"
    return told + (f", {copies - behind} of {copies} copies up to date" if behind else "")
