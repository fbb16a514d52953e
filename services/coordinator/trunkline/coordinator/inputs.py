"""The datums of a job, found again from its inputs whenever they are asked for."""

from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Protocol

from trunkline.bus.ports import Entry
from trunkline.contracts import errors, records, spec
from trunkline.coordinator.core.datums import Datum, Leaf, Listing, Part, Source
from trunkline.coordinator.tables import commit_key
from trunkline.storage import manifests
from trunkline.storage.store import Store

Parts = tuple[Part, ...]
Stream = Callable[[], AsyncGenerator[Sequence[Parts], None]]
"""Lists an input from its beginning, some datums at a time."""

REMEMBERED = 2000
"""Parts of a crossed input that are kept, some 2 MB; a longer one is read again for each round."""


class Commits(Protocol):
    """Where commits are found."""

    async def get(self, key: str) -> Entry[records.Commit] | None:
        """Return the commit; see ports.Table."""
        ...


class Inputs:
    """Lists datums.

    Args:
        commits: The commits that jobs name.
        store: Holds their manifests.
    """

    def __init__(self, commits: Commits, store: Store) -> None:
        self._commits, self._store = commits, store

    async def datums(
        self, job: records.Job, wanted: Callable[[int], bool]
    ) -> AsyncGenerator[Sequence[Datum], None]:
        """Yield those datums of a job whose indexes are wanted, in order, some at a time.

        Close it (`aclosing`) if it is not read to its end.

        Raises:
            NotFoundError: a commit or its manifest is gone.
            UnavailableError: the server or the store is away.
        """
        sources = iter(await self._sources(job))
        listing = Listing(job.salt, job.code_hash, wanted)
        async with aclosing(self._node(job.spec.input, sources)()) as combined:
            async for some in combined:
                datums = listing.datums(some)
                if datums:
                    yield datums

    async def named(self, job: records.Job, indexes: Collection[int]) -> dict[int, str]:
        """Return what to call these datums in a message to people."""
        told = {index: f"datum {index}" for index in indexes}
        last = max(told)
        async with aclosing(self.datums(job, told.__contains__)) as found:
            async for datums in found:
                for datum in datums:
                    told[datum.index] = f"datum {datum.id} (index {datum.index}, {datum.paths})"
                if datums[-1].index == last:
                    break
        return told

    def _node(self, node: spec.Input, sources: Iterator[Source]) -> Stream:
        """Return what lists an input from its beginning, as often as it is called."""
        if node.cross is not None:
            return _crossed([self._node(each, sources) for each in node.cross])
        if node.union is not None:
            return _united([self._node(each, sources) for each in node.union])
        return partial(self._leaf, next(sources))

    async def _leaf(self, source: Source) -> AsyncGenerator[Sequence[Parts], None]:
        leaf = Leaf(source)
        manifest = await manifests.open_manifest(self._store, source.manifest)
        async for files in manifest.batches():
            yield [(part,) for part in leaf.feed(files)]
        yield [(part,) for part in leaf.finish()]

    async def _sources(self, job: records.Job) -> list[Source]:
        leaves = spec.inputs(job.spec.input)
        pairs = zip(leaves, job.inputs, strict=True)
        return [await self._source(leaf, chosen) for leaf, chosen in pairs]

    async def _source(self, leaf: spec.PfsInput, chosen: records.JobInput) -> Source:
        manifest = manifests.EMPTY
        if chosen.commit:
            entry = await self._commits.get(commit_key(chosen.repo, chosen.commit))
            if entry is None or entry.value is None:
                raise errors.NotFoundError("commit", f"{chosen.repo}@{chosen.commit}")
            manifest = entry.value.manifest
        return Source(name=chosen.name, glob=leaf.glob, commit=chosen.commit, manifest=manifest)


class Portions:
    """Takes datums in portions of any size from a listing."""

    def __init__(self, datums: AsyncGenerator[Sequence[Datum], None]) -> None:
        self._datums = datums
        self._left: list[Datum] = []

    async def next(self, most: int) -> list[Datum]:
        """Return the next datums: as many as that, or the last ones."""
        while len(self._left) < most:
            datums = await anext(self._datums, None)
            if datums is None:
                break
            self._left += datums
        portion, self._left = self._left[:most], self._left[most:]
        return portion


def _united(streams: Sequence[Stream]) -> Stream:
    async def united() -> AsyncGenerator[Sequence[Parts], None]:
        for stream in streams:
            async with aclosing(stream()) as listed:
                async for some in listed:
                    yield some

    return united


def _crossed(streams: Sequence[Stream]) -> Stream:
    """Return each of the first with each of the others, which are listed again for each."""
    first = streams[0]
    if len(streams) == 1:
        return first
    others = _remembered(_crossed(streams[1:]))

    async def crossed() -> AsyncGenerator[Sequence[Parts], None]:
        async with aclosing(first()) as outer:
            async for some in outer:
                for parts in some:
                    async with aclosing(others()) as inner:
                        async for more in inner:
                            yield [parts + each for each in more]

    return crossed


def _remembered(stream: Stream) -> Stream:
    """Return a stream that is read from its source only once where it is short."""
    kept: list[Sequence[Parts]] | None = None

    async def remembered() -> AsyncGenerator[Sequence[Parts], None]:
        nonlocal kept
        if kept is not None:
            for some in kept:
                yield some
            return
        seen: list[Sequence[Parts]] = []
        room = REMEMBERED
        async with aclosing(stream()) as listed:
            async for some in listed:
                room -= len(some)
                if room >= 0:
                    seen.append(some)
                yield some
        if room >= 0:
            kept = seen

    return remembered
