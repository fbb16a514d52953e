"""The datums of a job, found again from its inputs whenever they are asked for."""

from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing

from trunkline.bus.ports import Table
from trunkline.contracts import errors, records, spec
from trunkline.coordinator.core.datums import Datum, Listing, Source
from trunkline.coordinator.tables import commit_key
from trunkline.storage import manifests
from trunkline.storage.store import Store


class Inputs:
    """Lists datums.

    Args:
        commits: The commits that jobs name.
        store: Holds their manifests.
    """

    def __init__(self, commits: Table[records.Commit], store: Store) -> None:
        self._commits, self._store = commits, store

    async def datums(
        self, job: records.Job, wanted: Callable[[int], bool]
    ) -> AsyncGenerator[Datum, None]:
        """Yield those datums of a job whose indexes are wanted, in order.

        Close it (`aclosing`) if it is not read to its end.

        Raises:
            NotFoundError: a commit or its manifest is gone.
            UnavailableError: the server or the store is away.
        """
        source = await self._source(job)
        listing = Listing(source, job.salt, job.code_hash, wanted)
        manifest = await manifests.open_manifest(self._store, source.manifest)
        async for batch in manifest.batches():
            for file in batch:
                for datum in listing.feed(file):
                    yield datum
        for datum in listing.finish():
            yield datum

    async def named(self, job: records.Job, indexes: Collection[int]) -> dict[int, str]:
        """Return what to call these datums in a message to people."""
        told = {index: f"datum {index}" for index in indexes}
        async with aclosing(self.datums(job, told.__contains__)) as datums:
            async for datum in datums:
                told[datum.index] = f"datum {datum.id} (index {datum.index}, {datum.paths})"
                if datum.index == max(told):
                    break
        return told

    async def _source(self, job: records.Job) -> Source:
        (leaf,) = spec.inputs(job.spec.input)
        (chosen,) = job.inputs
        manifest = manifests.EMPTY
        if chosen.commit:
            entry = await self._commits.get(commit_key(chosen.repo, chosen.commit))
            if entry is None or entry.value is None:
                raise errors.NotFoundError("commit", f"{chosen.repo}@{chosen.commit}")
            manifest = entry.value.manifest
        return Source(name=chosen.name, glob=leaf.glob, commit=chosen.commit, manifest=manifest)
