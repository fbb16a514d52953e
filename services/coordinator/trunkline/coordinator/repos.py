"""Repos, branches and commits.

A commit is made in this order: its record is created (create-only), then the branch's head is moved
by compare-and-set, then the jobs that it sets off are created. The move is the commit point:

- killed before it, there is a record that no branch leads to. Whoever made the commit was not
  answered, repeats itself with the same id, finds its own record and goes on; if nobody does, the
  record is of no consequence.
- killed after it, the jobs are missing: the round at the next start derives them, before any other
  commit is taken. An output's job finds its own commit at the head and takes it for done.

A repo is created the other way round, its branch before its record: only the record makes it exist.
It goes in the same order, record last.
"""

from collections.abc import Callable

import msgspec

from trunkline.bus.ports import Entry
from trunkline.contracts import api, errors, names, records, spec
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.core import ticks
from trunkline.coordinator.tables import Tables, branch_key, commit_key
from trunkline.runtime.clock import Clock

MASTER = "master"
"""The branch that every repo has."""

ANCESTORS_MAX = 1000
"""How far back a repeated commit is looked for."""


async def store_commit(tables: Tables, commit: records.Commit) -> None:
    """Create a commit's record; one that says the same is fine.

    Raises:
        AlreadyExistsError: there is another commit of this id.
    """
    key = commit_key(commit.repo, commit.id)
    try:
        await tables.commits.create(key, commit)
    except errors.AlreadyExistsError:
        found = await tables.commits.get(key)
        if found is None or found.value is None or not same(found.value, commit):
            raise errors.AlreadyExistsError("commit", commit.id) from None


def same(one: records.Commit, other: records.Commit) -> bool:
    """Return whether two commits differ at most in when they were made, and in which trace."""
    return msgspec.structs.replace(one, created_ns=0, traceparent="") == msgspec.structs.replace(
        other, created_ns=0, traceparent=""
    )


async def is_ancestor(tables: Tables, repo: str, commit: str, head: str) -> bool:
    """Return whether a commit is the head or one of the last ANCESTORS_MAX before it."""
    current = head
    for _ in range(ANCESTORS_MAX):
        if current in (commit, ""):
            return current == commit
        entry = await tables.commits.get(commit_key(repo, current))
        current = entry.value.parent if entry and entry.value else ""
    return False


class Repos:
    """Repos and branches, as users make and delete them."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog, self._clock = catalog, clock

    async def create(self, name: str, description: str = "") -> records.Repo:
        """Create a repo with an empty branch `master`, or raise AlreadyExistsError."""
        async with self._catalog.graph:
            if names.repo(name) in self._catalog.repos or self._pipeline(name) is not None:
                raise errors.AlreadyExistsError("repo", name)
            await self.ensure_branch(name, MASTER)
            record = records.Repo(
                name=name, created_ns=self._clock.wall_ns(), description=description[:1000]
            )
            return await self._catalog.repos.create(name, record)

    async def ensure_branch(self, repo: str, branch: str) -> records.Branch:
        """Return a branch, created empty if it is not there."""
        record = records.Branch(repo=repo, name=branch)
        return await self._catalog.branches.ensure(branch_key(repo, branch), record)

    async def ensure_output(self, pipeline: str, branch: str) -> None:
        """See that a pipeline's output repo and branch are there."""
        await self.ensure_branch(pipeline, branch)
        record = records.Repo(name=pipeline, created_ns=self._clock.wall_ns(), pipeline=True)
        await self._catalog.repos.ensure(pipeline, record)

    async def ensure_ticks(self, pipeline: str, cron: spec.CronInput, made_ns: int) -> None:
        """See that the repo of a cron input's ticks is there, and from when on it ticks.

        Args:
            pipeline: Whose input it is.
            cron: The input.
            made_ns: When the pipeline's version was applied.
        """
        key, name = branch_key(cron.repo, MASTER), ticks.name(pipeline, cron.name)
        branch = await self._catalog.branches.ensure(
            key, records.Branch(repo=cron.repo, name=MASTER)
        )
        if name not in branch.ticks:
            begin = ticks.begin(cron.start, made_ns)
            known = {**branch.ticks, name: begin}
            await self._catalog.branches.replace(key, msgspec.structs.replace(branch, ticks=known))
        record = records.Repo(name=cron.repo, created_ns=self._clock.wall_ns(), ticks_of=pipeline)
        await self._catalog.repos.ensure(cron.repo, record)

    async def create_branch(self, request: api.BranchCreate) -> records.Branch:
        """Create a branch, empty or at a commit that the repo has.

        Raises:
            NotFoundError: there is no such repo or commit.
            AlreadyExistsError: there is such a branch.
        """
        async with self._catalog.graph:
            repo = self.owned_by_user(request.repo)
            key = branch_key(repo.name, request.branch)
            if request.head:
                await self.commit(repo.name, request.head)
            record = records.Branch(
                repo=repo.name,
                name=request.branch,
                head=request.head,
                moved_ns=self._clock.wall_ns() if request.head else 0,
            )
            return await self._catalog.branches.create(key, record)

    async def delete_branch(self, repo: str, branch: str) -> records.Branch:
        """Delete a branch; its commits go with the next look for records that may (`retention`).

        A deleted `master` is there again at once, empty. One whose head is lost may go although it is read, since
        nothing could be committed there any more.

        Raises:
            NotFoundError: there is no such branch.
            InUseError: a pipeline reads it, or owns it.
        """
        async with self._catalog.graph:
            found = self.branch(repo, branch)
            if self._pipeline(repo) is not None:
                raise InUseError(
                    "branch", f"{repo}@{branch}", f"pipeline {repo!r} owns it", "delete that first"
                )
            readers = self._readers_of(repo, branch)
            if readers and (found.ticks or not await self._lost(found)):
                reason = f"it is read by {', '.join(readers)}"
                raise InUseError("branch", f"{repo}@{branch}", reason, "delete what reads it first")
            await self._catalog.branches.delete(branch_key(repo, branch))
            if branch == MASTER:
                await self.ensure_branch(repo, MASTER)
            return found

    def _readers_of(self, repo: str, branch: str) -> list[str]:
        pipelines = self._catalog.dag.pipelines
        return [
            name
            for name in self._catalog.dag.readers(repo)
            if (found := pipelines[name].spec) is not None
            and any((leaf.repo, leaf.branch) == (repo, branch) for leaf in spec.inputs(found.input))
        ]

    async def delete(self, name: str) -> records.Repo:
        """Delete a repo with its branches and commits; the bytes are left to the collector.

        Raises:
            ConflictError: a pipeline reads it, or owns it.
        """
        async with self._catalog.graph:
            repo = self.repo(name)
            if self._pipeline(name) is not None:
                raise InUseError("repo", name, f"pipeline {name!r} owns it", "delete that first")
            if readers := self._catalog.dag.readers(name):
                told = ", ".join(readers)
                raise InUseError(
                    "repo", name, f"it is read by {told}", "delete what reads it first"
                )
            await self.remove(name)
            return repo

    async def remove_ticks(self, pipeline: str) -> None:
        """Remove the repos that were made for ticks of a pipeline that goes, but for those that others read."""
        for repo in self._catalog.repos.values():
            if repo.ticks_of != pipeline:
                continue
            if not set(self._catalog.dag.readers(repo.name)) - {pipeline}:
                await self.remove(repo.name)

    async def remove(self, name: str) -> None:
        """Remove commits, branches and then the repo itself; repeatable."""
        for entry in await self._catalog.tables.commits.all(f"{names.repo(name)}."):
            await self._catalog.tables.commits.delete(entry.key)
        for branch in self._catalog.branches_of(name):
            await self._catalog.branches.delete(branch_key(name, branch.name))
        await self._catalog.repos.delete(name)

    def repo(self, name: str) -> records.Repo:
        """Return a repo, or raise NotFoundError."""
        found = self._catalog.repos.get(names.repo(name))
        if found is None:
            raise errors.NotFoundError(
                "repo", name, f"create it with `trunkline create repo {name}`"
            )
        return found

    def owned_by_user(self, name: str) -> records.Repo:
        """Return a repo that users commit to, or raise NotFoundError or InUseError."""
        repo = self.repo(name)
        if repo.pipeline:
            reason = "it is a pipeline's output repo"
            raise InUseError("repo", name, reason, "only its pipeline commits to it")
        return repo

    def branch(self, repo: str, branch: str) -> records.Branch:
        """Return a branch, or raise NotFoundError."""
        found = self._catalog.branches.get(branch_key(self.repo(repo).name, branch))
        if found is None:
            raise errors.NotFoundError("branch", f"{repo}@{branch}")
        return found

    async def commit(self, repo: str, ref: str) -> records.Commit:
        """Return a commit by its id, or the head of a branch; NotFoundError if there is none."""
        self.repo(repo)
        key = branch_key(repo, ref)
        branch = self._catalog.branches.get(key)
        identifier = branch.head if branch else ref
        if branch is not None and not branch.head:
            raise errors.NotFoundError("commit", f"{repo}@{ref}", "nothing was committed there yet")
        try:
            entry = await self._catalog.tables.commits.get(commit_key(repo, identifier))
        except errors.InvalidNameError:
            entry = None
        if entry is None or entry.value is None:
            raise errors.NotFoundError("commit", f"{repo}@{ref}", self._if_lost(repo, identifier))
        return entry.value

    async def _lost(self, branch: records.Branch) -> bool:
        """Return whether the head is a commit that the server had, and has no more."""
        key = commit_key(branch.repo, branch.head) if branch.head else ""
        entry = await self._catalog.tables.commits.get(key) if key else None
        return bool(key) and (entry is None or entry.value is None)

    def _if_lost(self, repo: str, commit: str) -> str:
        """Return what helps where a commit that is not there is the head of a branch; else nothing."""
        heads = [each.name for each in self._catalog.branches_of(repo) if each.head == commit]
        if not heads:
            return ""
        lost = f"it is lost, though branch {repo}@{heads[0]} has it as its head"
        if self.repo(repo).pipeline:
            return f"{lost}: `trunkline rerun` a job of {repo}, or commit to what it reads"
        return f"{lost}: `trunkline delete branch {repo}@{heads[0]}`, then put its files again"

    async def repair(self) -> None:
        """See that each repo has what the one who created it may have been killed before."""
        for repo in self._catalog.repos.values():
            if not repo.pipeline:
                await self.ensure_branch(repo.name, MASTER)

    def _pipeline(self, name: str) -> records.Pipeline | None:
        found = self._catalog.pipelines.get(name)
        return found if found is not None and found.spec is not None else None


class InUseError(errors.TrunklineError):
    """Something cannot be changed or deleted because of who uses it."""

    def __init__(self, kind: str, name: str, reason: str, remedy: str) -> None:
        super().__init__(f"{kind} {name!r} cannot be changed: {reason}; {remedy}")
        self.kind, self.name, self.reason, self.remedy = kind, name, reason, remedy


class Committer:
    """Makes the output commits of jobs.

    Args:
        tables: The buckets; a branch is read there, since a mirror may lag.
        clock: The wall clock.
        moved: Told of each move of a branch before the job is said to have succeeded: who reads the branch
            then must not depend on a watch, which a server's end may keep silent for seconds.
    """

    def __init__(
        self, tables: Tables, clock: Clock, moved: Callable[[Entry[records.Branch]], None]
    ) -> None:
        self._tables, self._clock, self._moved = tables, clock, moved

    async def commit_output(
        self, job: records.Job, manifest: str, files: int, size: int
    ) -> records.Commit:
        """Commit a job's output and move its branch there; the same again changes nothing.

        Only the job that is next to finish calls this, so that nobody else moves the branch.

        Raises:
            AlreadyExistsError: the repo has another commit of this id.
            ConflictError: the branch was moved meanwhile; call again.
            UnavailableError: unknown how far it came; call again.
        """
        key = branch_key(job.pipeline, job.spec.output_branch)
        branch = await self._branch(key, job)
        assert branch.value is not None  # `_branch` has seen to it
        parent = branch.value.head
        if parent == job.id:
            self._moved(branch)
            return await self._own(job)
        commit = records.Commit(
            id=job.id,
            repo=job.pipeline,
            branch=job.spec.output_branch,
            manifest=manifest,
            files=files,
            size=size,
            created_ns=self._clock.wall_ns(),
            parent=parent,
            traceparent=job.traceparent,
        )
        await store_commit(self._tables, commit)
        moved = msgspec.structs.replace(branch.value, head=job.id, moved_ns=self._clock.wall_ns())
        revision = await self._tables.branches.update(key, moved, branch.revision)
        self._moved(Entry(key=key, value=moved, revision=revision))
        return commit

    async def has_committed(self, job: records.Job) -> bool:
        """Return whether the branch is at the job's output already.

        It stays there until the job has ended, since the next one waits for that.
        """
        entry = await self._tables.branches.get(branch_key(job.pipeline, job.spec.output_branch))
        if entry is None or entry.value is None or entry.value.head != job.id:
            return False
        self._moved(entry)
        return True

    async def _branch(self, key: str, job: records.Job) -> Entry[records.Branch]:
        """Return the output branch, made again if it is gone."""
        entry = await self._tables.branches.get(key)
        if entry is None or entry.value is None:
            branch = records.Branch(repo=job.pipeline, name=job.spec.output_branch)
            revision = await self._tables.branches.create(key, branch)
            return Entry(key=key, value=branch, revision=revision)
        return entry

    async def _own(self, job: records.Job) -> records.Commit:
        entry = await self._tables.commits.get(commit_key(job.pipeline, job.id))
        if entry is None or entry.value is None:
            raise errors.NotFoundError("commit", f"{job.pipeline}@{job.id}")
        return entry.value
