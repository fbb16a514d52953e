"""The datums of a job, found again from its inputs whenever they are asked for.

An input is listed from its beginning as often as it is needed: the later inputs of a cross once for each
datum of the first, from memory where they are short, from a scratch file where they had to be sorted
(`joining`), else from their manifests. So memory does not grow with the number of datums.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from trunkline.bus.ports import Entry
from trunkline.contracts import errors, records, spec
from trunkline.coordinator import spooling
from trunkline.coordinator.core import fruitless
from trunkline.coordinator.core.datums import Datum, Leaf, Listing, Source
from trunkline.coordinator.joining import Joining, Parts, Stream
from trunkline.coordinator.tables import commit_key
from trunkline.storage import manifests
from trunkline.storage.store import Store

REMEMBERED = 2000
"""Parts of a crossed input that are kept, some 2 MB; a longer one is read again for each round."""


@dataclass(frozen=True)
class Combined:
    """Inputs put together."""

    kind: str
    parts: "tuple[Combined | Source, ...]"

    @property
    def sorted(self) -> bool:
        """Whether anything in it is sorted before it is listed."""
        inner = (each.sorted for each in self.parts if isinstance(each, Combined))
        return self.kind in ("join", "group") or any(inner)


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
        spool: A directory for what is too large for memory while it is sorted; None for the
            system's own place.
        kept_bytes: How much of that is kept in memory.
        stores: Whether groups get the manifests that their messages name; who sends none needs none.
    """

    def __init__(
        self,
        commits: Commits,
        store: Store,
        spool: Path | None = None,
        *,
        kept_bytes: int = spooling.PIECE_BYTES,
        stores: bool = True,
    ) -> None:
        self._commits, self._store = commits, store
        self._spool, self._kept_bytes, self._stores = spool, kept_bytes, stores

    async def datums(
        self, job: records.Job, wanted: Callable[[int], bool]
    ) -> AsyncGenerator[Sequence[Datum], None]:
        """Yield those datums of a job whose indexes are wanted, in order, some at a time.

        Close it (`aclosing`) if it is not read to its end.

        Raises:
            NotFoundError: a commit or its manifest is gone.
            UnavailableError: the server or the store is away.
        """
        sources = await self._sources(job)
        tree = _tree(job.spec.input, iter(sources))
        listing = Listing(job.salt, job.code_hash, wanted)
        with ExitStack() as files:
            joining = Joining(
                sources, self._store, self._spool, files, self._kept_bytes, stores=self._stores
            )
            async with aclosing(self._datums(tree, joining)()) as combined:
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

    async def why_none(self, job: records.Job) -> str:
        """Return why a job has no datums at all, for people.

        Raises:
            NotFoundError, UnavailableError: as for `datums`.
        """
        looks: list[fruitless.Look] = []
        for given, source in zip(job.inputs, await self._sources(job), strict=True):
            files = (await manifests.open_manifest(self._store, source.manifest)).count
            matches = await _any(partial(self._leaf, source))
            looks.append(fruitless.Look(given, source.glob, files, matches))
        return fruitless.why(looks)

    def _datums(self, node: Combined | Source, joining: Joining) -> Stream:
        """Return what lists the datums of an input, as often as it is called."""
        if isinstance(node, Source):
            return partial(self._leaf, node)
        match node.kind:
            case "join":
                return joining.joined([self._files(each, joining) for each in node.parts])
            case "group":
                return joining.grouped([self._files(each, joining) for each in node.parts])
            case "union":
                return _united([self._datums(each, joining) for each in node.parts])
            case _:
                first, *others = node.parts
                return _crossed(
                    [
                        self._datums(first, joining),
                        *(self._listed_again(each, joining) for each in others),
                    ]
                )

    def _listed_again(self, node: Combined | Source, joining: Joining) -> Stream:
        stream = self._datums(node, joining)
        return joining.kept(stream) if isinstance(node, Combined) and node.sorted else stream

    def _files(self, node: Combined | Source, joining: Joining) -> Stream:
        """Return what lists each file or directory that is part of a datum of an input."""
        if isinstance(node, Source) or node.kind == "join":
            return self._datums(node, joining)
        parts = _united([self._files(each, joining) for each in node.parts])
        if node.kind != "cross":
            return parts
        return _if_all([self._datums(each, joining) for each in node.parts], parts)

    async def _leaf(self, source: Source) -> AsyncGenerator[Sequence[Parts], None]:
        leaf = Leaf(source)
        manifest = await manifests.open_manifest(self._store, source.manifest)
        async for files in manifest.batches():
            yield [(part,) for part in leaf.feed(files)]
        yield [(part,) for part in leaf.finish()]

    async def _sources(self, job: records.Job) -> list[Source]:
        leaves = spec.inputs(job.spec.input)
        pairs = zip(leaves, job.inputs, strict=True)
        return [
            await self._source(number, leaf, chosen) for number, (leaf, chosen) in enumerate(pairs)
        ]

    async def _source(self, number: int, leaf: spec.PfsInput, chosen: records.JobInput) -> Source:
        manifest = manifests.EMPTY
        if chosen.commit:
            entry = await self._commits.get(commit_key(chosen.repo, chosen.commit))
            if entry is None or entry.value is None:
                raise errors.NotFoundError("commit", f"{chosen.repo}@{chosen.commit}")
            manifest = entry.value.manifest
        return Source(
            name=chosen.name,
            glob=leaf.glob,
            commit=chosen.commit,
            manifest=manifest,
            number=number,
            join_on=leaf.join_on,
            group_by=leaf.group_by,
            outer_join=leaf.outer_join,
            reference=leaf.reference,
            empty=leaf.empty_files,
        )


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


def _tree(node: spec.Input, sources: Iterator[Source]) -> Combined | Source:
    """Return an input with its sources in place of what names them."""
    for kind, inputs in spec.combined(node):
        return Combined(kind, tuple(_tree(each, sources) for each in inputs))
    return next(sources)


def _if_all(needed: Sequence[Stream], stream: Stream) -> Stream:
    """Return a stream that has nothing in it if one of the others has nothing."""

    async def checked() -> AsyncGenerator[Sequence[Parts], None]:
        for each in needed:
            if not await _any(each):
                return
        async with aclosing(stream()) as listed:
            async for some in listed:
                yield some

    return checked


async def _any(stream: Stream) -> bool:
    async with aclosing(stream()) as listed:
        async for some in listed:
            if some:
                return True
    return False


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
