"""Joins and groups: parts of inputs that have a key in common, found by sorting them outside of memory.

A join or a group goes by files, as in Pachyderm, whatever its inputs are made of: of an input that is a
cross or a join itself, each file that is part of any of its datums counts by itself, and once. All parts
are sorted (`core.keys` says by what) and then taken key by key. So datums come in the order of their
keys, and a join's datums of one key are the nested product of its arms, the last arm varying fastest:
a function of what is committed, as for all inputs. Nothing can be listed before all is sorted; from then
on datums come as they are asked for.

An inner join needs a part in each arm. In an outer one, a key that some arm lacks makes datums of the
parts that are marked `outer_join`, and of no others.

Memory is that of the sort. Of a key's parts only the first arm's come by themselves: the other arms' are
kept on shelves, which is why they are sorted before it. A group whose files are scattered over too many
ranges of the input's manifest gets a manifest of its own. That is written before the datum's message is
sent, and again if the listing is; it is the same object each time.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing
from itertools import groupby
from pathlib import Path

import msgspec

from trunkline.contracts.messages import File
from trunkline.coordinator.core import keys
from trunkline.coordinator.core.datums import Part, Several, Source
from trunkline.coordinator.core.grouping import Gathering
from trunkline.coordinator.shelf import Shelf
from trunkline.coordinator.spooling import Item, Spool
from trunkline.storage import manifests
from trunkline.storage.store import Store

Parts = tuple[Part, ...]
Stream = Callable[[], AsyncGenerator[Sequence[Parts], None]]
"""Lists an input from its beginning, some datums at a time."""

_SHELVES = 16
"""How much less than a sort a shelf keeps in memory: there is one for each arm."""
_AT_ONCE = 64
"""Datums."""
_KEYS_AT_ONCE = 256
"""After so many keys others have their turn: most keys may make no datum."""


class Stored(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A part as it is kept outside of memory."""

    source: int
    path: str
    first: int
    count: int
    files: tuple[File, ...] | None
    contents: str
    size: int
    several: Several | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Stored).decode
_decode_all = msgspec.msgpack.Decoder(tuple[Stored, ...]).decode


class Joining:
    """Makes the joins and groups of one listing.

    Args:
        sources: The job's inputs, by their numbers.
        store: Holds their manifests.
        directory: Where scratch files go; None for the system's own place.
        files: Closes those that last as long as the listing.
        kept_bytes: How much of a sort is kept in memory.
        stores: Whether groups get the manifests that their messages name.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        store: Store,
        directory: Path | None,
        files: ExitStack,
        kept_bytes: int,
        *,
        stores: bool = True,
    ) -> None:
        self._sources, self._store = sources, store
        self._directory, self._files, self._kept = directory, files, kept_bytes
        self._stores = stores

    def joined(self, arms: Sequence[Stream]) -> Stream:
        """Return the datums of a join."""

        async def join() -> AsyncGenerator[Sequence[Parts], None]:
            with Spool(self._directory, self._kept) as spool, ExitStack() as files:
                await self._sort(arms, lambda source: source.join_on, spool)
                shelves = [self._shelf(files) for _ in arms]
                found: list[Parts] = []
                of_keys = groupby(_distinct(spool.sorted()), lambda item: item[0].key)
                for count, (_, items) in enumerate(of_keys, 1):
                    for parts in self._of_key(items, shelves):
                        found.append(parts)
                        if len(found) == _AT_ONCE:
                            yield found
                            found = []
                    if count % _KEYS_AT_ONCE == 0:
                        await asyncio.sleep(0)
                yield found

        return join

    def grouped(self, arms: Sequence[Stream]) -> Stream:
        """Return the datums of a group."""

        async def group() -> AsyncGenerator[Sequence[Parts], None]:
            with Spool(self._directory, self._kept) as spool:
                await self._sort(arms, lambda source: source.group_by, spool)
                of_keys = groupby(_distinct(spool.sorted()), lambda item: item[0].key)
                for count, (_, items) in enumerate(of_keys, 1):
                    parts = [
                        await self._gathered(map(self._part, some))
                        for _, some in groupby(items, lambda item: item[0].source)
                    ]
                    parts.sort(key=lambda part: part.source.number)
                    yield [tuple(parts)]
                    if count % _KEYS_AT_ONCE == 0:
                        await asyncio.sleep(0)

        return group

    def kept(self, stream: Stream) -> Stream:
        """Return a stream that is made once, and read from a scratch file when it is asked for again."""
        shelf = self._shelf(self._files)
        complete = False

        async def again() -> AsyncGenerator[Sequence[Parts], None]:
            nonlocal complete
            if complete:
                for item in shelf:
                    yield [tuple(map(self._restored, _decode_all(item)))]
                return
            shelf.clear()
            async with aclosing(stream()) as listed:
                async for some in listed:
                    for parts in some:
                        shelf.put(_encode(tuple(map(_stored, parts))))
                    yield some
            complete = True

        return again

    def _shelf(self, files: ExitStack) -> Shelf:
        return Shelf(self._directory, files, self._kept // _SHELVES)

    async def _sort(
        self, arms: Sequence[Stream], text_of: Callable[[Source], str], spool: Spool
    ) -> None:
        for arm, stream in enumerate(arms):
            async with aclosing(stream()) as listed:
                async for some in listed:
                    for parts in some:
                        for part in parts:
                            source = part.source
                            key = keys.key(source.glob, text_of(source), part.path)
                            place = keys.sorted_by(key, arm, source.number, part.path)
                            if spool.push(place, _encode(_stored(part))):
                                await spool.spill()
                    await asyncio.sleep(0)

    def _of_key(
        self, items: Iterator[tuple[keys.Place, bytes]], shelves: Sequence[Shelf]
    ) -> Iterator[Parts]:
        """Yield the datums of one key, of whose parts those of the first arm come last."""
        for shelf in shelves:
            shelf.clear()
        for arm, some in groupby(items, lambda item: item[0].arm):
            if not arm:
                yield from self._combined(map(self._part, some), shelves[1:])
                return
            for _, value in some:
                shelves[arm].put(value)
        yield from self._outer(iter(()), shelves[1:])

    def _combined(self, first: Iterator[Part], others: Sequence[Shelf]) -> Iterator[Parts]:
        if not all(shelf.count for shelf in others):
            yield from self._outer(first, others)
            return
        for part in first:
            for more in self._product(others):
                yield (part, *more)

    def _outer(self, first: Iterator[Part], others: Sequence[Shelf]) -> Iterator[Parts]:
        """Yield what there is of a key that an arm lacks."""
        marked = [
            shelf for shelf in others if any(part.source.outer_join for part in self._read(shelf))
        ]
        alone = True
        for part in first:
            if part.source.outer_join:
                alone = False
                for more in self._product(marked, outer=True):
                    yield (part, *more)
        if alone and marked:
            yield from self._product(marked, outer=True)

    def _product(self, shelves: Sequence[Shelf], *, outer: bool = False) -> Iterator[Parts]:
        if not shelves:
            yield ()
            return
        for part in self._read(shelves[0]):
            if part.source.outer_join or not outer:
                for more in self._product(shelves[1:], outer=outer):
                    yield (part, *more)

    async def _gathered(self, parts: Iterator[Part]) -> Part:
        gathering = Gathering()
        source: Source | None = None
        for part in parts:
            source = part.source
            gathering.add(part)
        if source is None or not gathering.scattered or not self._stores:
            return gathering.part()
        files = self._files_of(source.manifest, gathering)
        return gathering.part((await manifests.write(self._store, files)).manifest)

    async def _files_of(self, manifest: str, gathering: Gathering) -> AsyncIterator[File]:
        opened = await manifests.open_manifest(self._store, manifest)
        for span in gathering.spans():
            async for file in opened.files(span.first, span.count):
                yield file

    def _read(self, shelf: Shelf) -> Iterator[Part]:
        return (self._restored(_decode(item)) for item in shelf)

    def _part(self, item: tuple[keys.Place, bytes]) -> Part:
        return self._restored(_decode(item[1]))

    def _restored(self, stored: Stored) -> Part:
        source = self._sources[stored.source]
        return Part(
            source,
            stored.path,
            stored.first,
            stored.count,
            stored.files,
            stored.contents,
            stored.size,
            stored.several,
        )


def _stored(part: Part) -> Stored:
    return Stored(
        part.source.number,
        part.path,
        part.first,
        part.count,
        part.files,
        part.contents,
        part.size,
        part.several,
    )


def _distinct(items: Iterator[Item]) -> Iterator[tuple[keys.Place, bytes]]:
    """Yield sorted items, each once."""
    last = b""
    for key, value in items:
        if key != last:
            yield keys.place(key), value
        last = key
