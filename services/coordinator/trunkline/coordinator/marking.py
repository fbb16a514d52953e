"""Which objects of the store are needed: everything that can be reached from given roots.

What is reached has a *kind*, which says what it names in turn. No kind names an earlier one, so they
are gone through one after the other, and each object is read once, however often it is named:

    INDEX          a run of a done index; it names an outcomes run
    OUTCOMES       a run of outcomes; its blocks are OUTCOMES_BLOCK
    OUTCOMES_BLOCK kept outcomes; they name files, or a manifest of files
    MANIFEST       a run of files; its blocks are FILES_BLOCK
    FILES_BLOCK    files; they name what holds their bytes
    RECORDS        a run of which only the run itself is needed, not what is named in it

Memory is that of the sorts (`spooling`), for any number of objects.

What the coordinator has written, or has read to its end when it took a commit, must be readable: where
it is not, what hangs on it is unknown, and the caller is told (`damaged`). What only workers have said
(a manifest that an outcome names) may be anything, and what cannot be read of it leads nowhere.
"""

import enum
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from trunkline.contracts import errors
from trunkline.contracts.messages import Outcome
from trunkline.coordinator import done
from trunkline.coordinator.core import outcomes as reading
from trunkline.coordinator.spooling import Spool
from trunkline.storage import keys, manifests, runs, together
from trunkline.storage.store import Store

log = logging.getLogger(__name__)

_AT_ONCE = 64
_HASH_BYTES = 32
_OURS, _TOLD = b"\0", b"\1"
"""Who says that an object is there: we ourselves, or only a worker."""


class Kind(enum.Enum):
    """What an object is, in the order in which they are gone through."""

    INDEX = enum.auto()
    OUTCOMES = enum.auto()
    OUTCOMES_BLOCK = enum.auto()
    MANIFEST = enum.auto()
    FILES_BLOCK = enum.auto()
    RECORDS = enum.auto()


class _Reached(NamedTuple):
    kind: Kind | None
    """None for what names nothing."""
    sha256: bytes
    ours: bool = True


class Marking:
    """Marks what is needed. A context manager: it closes its scratch files.

    Args:
        store: Where everything lies.
        spool: A directory for scratch files; None for the system's own place.
    """

    def __init__(self, store: Store, spool: Path | None) -> None:
        self._store = store
        self._files = ExitStack()
        self._due = {kind: self._files.enter_context(Spool(spool)) for kind in Kind}
        self._marked = self._files.enter_context(Spool(spool))
        self.damaged: list[str] = []
        """Why what must be readable is not, a sentence each."""

    def __enter__(self) -> "Marking":
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    async def add(self, kind: Kind, key: str) -> None:
        """Begin at an object of ours; an empty key is none."""
        if key:
            await self._take(_Reached(kind, bytes.fromhex(keys.sha256(key))))

    async def add_outcome(self, outcome: Outcome) -> None:
        """Begin at what an outcome names."""
        for each in _of_outcome(outcome):
            await self._take(each)

    async def walk(self) -> None:
        """Go to the end of everything.

        Raises:
            UnavailableError: the store is away.
        """
        for kind in Kind:
            reached = _distinct(self._due[kind].sorted())
            while some := list(islice(reached, _AT_ONCE)):
                visits = [partial(self._visit, kind, sha256, ours) for sha256, ours in some]
                for found in await together.run(visits):
                    for each in found:
                        await self._take(each)

    def marked(self) -> Iterator[bytes]:
        """Yield the hashes of all that is needed, in order, each once; when all is walked, once."""
        return (sha256 for sha256, _ in _distinct(self._marked.sorted()))

    async def _take(self, each: _Reached) -> None:
        await self._marked.add(each.sha256, _OURS)
        if each.kind is not None:
            await self._due[each.kind].add(each.sha256, _OURS if each.ours else _TOLD)

    async def _visit(self, kind: Kind, sha256: bytes, ours: bool) -> Sequence[_Reached]:
        key = keys.of(sha256.hex())
        try:
            return await _VISITS[kind](self._store, key, ours)
        except done.LOST as error:
            if ours:
                log.warning("needed object cannot be read", extra={"reason": str(error)})
                self.damaged.append(str(error))
            return ()


def _distinct(items: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bool]]:
    """Yield sorted items, each key once, and whether any of its items is ours."""
    last, ours = b"", False
    for key, who in items:
        if key != last and last:
            yield last, ours
            ours = False
        last, ours = key, ours or who == _OURS
    if last:
        yield last, ours


async def _index(store: Store, key: str, ours: bool) -> Sequence[_Reached]:
    run = await runs.open_run(store, key)
    source = await done.source(run)
    outcomes = _Reached(Kind.OUTCOMES, bytes.fromhex(keys.sha256(source)), ours)
    return [outcomes, *_blocks(run, None, ours)]


async def _run(blocks: Kind | None, store: Store, key: str, ours: bool) -> Sequence[_Reached]:
    return _blocks(await runs.open_run(store, key), blocks, ours)


async def _outcomes_block(store: Store, key: str, ours: bool) -> Sequence[_Reached]:  # noqa: ARG001
    items = await runs.read_block(store, key)
    found: set[_Reached] = set()
    try:
        for kept in items[1::2]:
            if reading.has_output(kept):
                found.update(_of_outcome(reading.whole(kept)))
    except (msgspec.DecodeError, UnicodeDecodeError, IndexError) as error:
        raise errors.MalformedMessageError(key, f"it holds no outcomes: {error}") from error
    return list(found)


async def _files_block(store: Store, key: str, ours: bool) -> Sequence[_Reached]:
    items = await runs.read_block(store, key)
    try:
        found = {manifests.entry(value).object for value in items[1::2]}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.MalformedMessageError(key, f"it is no manifest: {error}") from error
    return [_Reached(None, each, ours) for each in found if len(each) == _HASH_BYTES]


def _blocks(run: runs.Run, kind: Kind | None, ours: bool) -> list[_Reached]:
    return [_Reached(kind, block.sha256, ours) for block in run.blocks]


def _of_outcome(outcome: Outcome) -> Iterator[_Reached]:
    """Yield what an outcome names, but for what cannot be the name of an object."""
    for file in outcome.files or ():
        yield from _told(None, file.object)
    yield from _told(Kind.MANIFEST, outcome.manifest)


def _told(kind: Kind | None, key: str) -> Iterator[_Reached]:
    try:
        yield _Reached(kind, bytes.fromhex(keys.sha256(key)), ours=False)
    except errors.NotFoundError:
        return


_VISITS: dict[Kind, Callable[[Store, str, bool], Awaitable[Sequence[_Reached]]]] = {
    Kind.INDEX: _index,
    Kind.OUTCOMES: partial(_run, Kind.OUTCOMES_BLOCK),
    Kind.OUTCOMES_BLOCK: _outcomes_block,
    Kind.MANIFEST: partial(_run, Kind.FILES_BLOCK),
    Kind.FILES_BLOCK: _files_block,
    Kind.RECORDS: partial(_run, None),
}
