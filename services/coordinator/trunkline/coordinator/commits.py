"""Commits that users finish: checked against the store and the branch, then the branch moves.

The client has put the files' bytes and the manifest into the store before it asks. Everything in the
request is hostile until it is checked: the manifest is read to its end, outside the lock on the
graph, and its paths, their order, and its sums must be what the request says. See `repos` for the
order of the writes and what a crash between any two of them leaves.
"""

from collections import OrderedDict

import msgspec

from trunkline.contracts import api, errors, names, records
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.jobsets import JobSets
from trunkline.coordinator.repos import Repos, is_ancestor, same, store_commit
from trunkline.coordinator.tables import branch_key, commit_key
from trunkline.runtime import tracing
from trunkline.runtime.clock import Clock
from trunkline.runtime.turns import Turns
from trunkline.storage import checking
from trunkline.storage.store import Store

REMEMBERED = 1000
"""How many checked manifests are remembered, so that a repeated request costs no second reading."""


class InvalidRequestError(errors.TrunklineError):
    """A request says something that cannot be; `path` is the JSON path of it."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(text)
        self.path = path


class Commits:
    """Takes finished commits of users."""

    def __init__(
        self, catalog: Catalog, repos: Repos, jobsets: JobSets, store: Store, clock: Clock
    ) -> None:
        self._catalog, self._repos, self._jobsets = catalog, repos, jobsets
        self._store, self._clock = store, clock
        self._checked: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._reading = Turns()

    async def finish(self, request: api.CommitFinish) -> records.Commit:
        """Make a commit and move its branch to it; repeated, it is answered like the first time.

        Raises:
            InvalidRequestError: the manifest cannot be read, or is not what the request says.
            NotFoundError: there is no such repo or branch.
            InUseError: the repo is a pipeline's.
            AlreadyExistsError: the id is another commit's.
            ConflictError: the branch's head is not `parent` any more.
            UnavailableError: unknown how far it came; repeat it.
        """
        names.commit(request.id)
        if request.parent:
            names.commit(request.parent)
        self._repos.owned_by_user(request.repo)
        self._repos.branch(request.repo, request.branch)
        await self._check_manifest(request)
        async with self._catalog.graph:
            self._repos.owned_by_user(request.repo)
            commit = await self._move(request)
            await self._jobsets.create_missing()
        return commit

    async def _move(self, request: api.CommitFinish) -> records.Commit:
        branch = self._repos.branch(request.repo, request.branch)
        wanted = records.Commit(
            id=request.id,
            repo=request.repo,
            branch=request.branch,
            manifest=request.manifest,
            files=request.files,
            size=request.size,
            created_ns=self._clock.wall_ns(),
            parent=request.parent,
            traceparent=tracing.current.get(),
        )
        tables = self._catalog.tables
        entry = await tables.commits.get(commit_key(request.repo, request.id))
        found = entry.value if entry else None
        if found is not None and not same(found, wanted):
            raise errors.AlreadyExistsError("commit", request.id)
        if found is not None and await is_ancestor(tables, request.repo, request.id, branch.head):
            return found
        if branch.head != request.parent:
            raise errors.ConflictError("branch", f"{request.repo}@{request.branch}")
        # A set is one commit's: its id must not be in use by jobs that other repos have set off.
        if await self._catalog.jobs.is_used(request.id):
            raise errors.AlreadyExistsError("commit", request.id)
        await store_commit(tables, wanted)
        moved = msgspec.structs.replace(branch, head=request.id, moved_ns=self._clock.wall_ns())
        await self._catalog.branches.replace(branch_key(branch.repo, branch.name), moved)
        return found or wanted

    async def _check_manifest(self, request: api.CommitFinish) -> None:
        """Read the manifest to its end; raise InvalidRequestError unless it is what was said."""
        sums = await self._sums(request.manifest)
        for path, told, found in (
            ("$.files", request.files, sums[0]),
            ("$.size", request.size, sums[1]),
        ):
            if told != found:
                raise InvalidRequestError(path, f"the manifest has {found}, not {told}")

    async def _sums(self, manifest: str) -> tuple[int, int]:
        """Return the files and bytes of a manifest; requests for one manifest share a reading."""
        async with self._reading.of(manifest):
            if manifest not in self._checked:
                self._checked[manifest] = await self._read(manifest)
                while len(self._checked) > REMEMBERED:
                    self._checked.popitem(last=False)
            return self._checked[manifest]

    async def _read(self, manifest: str) -> tuple[int, int]:
        try:
            found = await checking.check(self._store, manifest)
        except (
            errors.NotFoundError,
            errors.CorruptObjectError,
            errors.MalformedMessageError,
            errors.InvalidPathError,
        ) as error:
            raise InvalidRequestError("$.manifest", f"cannot be used: {error}"[:500]) from error
        return found.files, found.size
