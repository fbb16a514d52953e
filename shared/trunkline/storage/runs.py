"""Runs: sorted (key, value) items in the store, of any number, immutable.

A run is a *root* object, which names its *blocks* in order with each one's first key, number of items
and weight, and the blocks, some 64 KiB of items each. Manifests, outcome archives and done indexes are
runs. Root and blocks are content-addressed; the root's key is the run.

Where a block ends is decided by the items in it alone: after an item whose key's checksum is small
(the larger the item, the likelier), but not before `_LEAST_BYTES` and at the latest after
`_MOST_BYTES`. So two runs that differ in one item differ in a block or two, whatever comes before:
the same cuts are found again after the difference, and equal blocks are one object.

A writer that dies leaves blocks without a root, which nobody sees; the next one writes the same blocks
again, and finds them there.
"""

import bisect
import itertools
import zlib
from collections.abc import AsyncIterator, Sequence
from functools import partial

import msgspec

from trunkline.contracts import errors
from trunkline.storage import keys, together
from trunkline.storage.store import Store

_LEAST_BYTES = 16 * 1024
_USUAL_BYTES = 48 * 1024
"""What a block grows by beyond the least before it is cut, on average."""
_MOST_BYTES = 256 * 1024
_ITEM_BYTES = 8
"""What an item costs beside its key and value."""


class Block(msgspec.Struct, frozen=True, array_like=True):
    """A block as its root names it."""

    first: bytes
    """Its first key."""
    count: int
    weight: int
    """The sum of its items' weights."""
    sha256: bytes

    @property
    def key(self) -> str:
        """Its key in the store."""
        return keys.of(self.sha256.hex())


class _Root(msgspec.Struct, frozen=True, array_like=True, tag="run.v1"):
    blocks: list[Block]


_encode = msgspec.msgpack.Encoder().encode
_decode_root = msgspec.msgpack.Decoder(_Root).decode
_decode_block = msgspec.msgpack.Decoder(list[bytes]).decode


class RunWriter:
    """Writes one run; memory is that of some blocks.

    Args:
        store: Gets it.
        scale: How many times as large as usual its blocks are: for what is read in a row.
    """

    def __init__(self, store: Store, *, scale: int = 1) -> None:
        self._store = store
        self._least, self._usual = _LEAST_BYTES * scale, _USUAL_BYTES * scale
        self._most = _MOST_BYTES * scale
        self._items: list[bytes] = []
        self._bytes = self._weight = 0
        self._last = b""
        self._begun = False
        self._blocks: list[Block | None] = []
        self._waiting: list[tuple[int, bytes, int, int, bytes]] = []
        self.count = self.weight = 0
        """Items so far, and the sum of their weights."""

    @property
    def at_boundary(self) -> bool:
        """Whether the last block is cut off, so that the next item begins a new one."""
        return not self._items

    async def add(self, key: bytes, value: bytes, weight: int = 0) -> None:
        """Add an item; its key must be higher than all before.

        Args:
            key: What the run is sorted by.
            value: Anything.
            weight: A number that is summed up over blocks and the run: a file's size, say.

        Raises:
            ValueError: The key is not higher than the one before.
            UnavailableError: The store is away or full.
        """
        if self.push(key, value, weight):
            await self.flush()

    def push(self, key: bytes, value: bytes, weight: int = 0) -> bool:
        """Add an item without waiting; return whether `flush` must be called before the next."""
        if key <= self._last and self._begun:
            problem = f"key {key!r} does not come after {self._last!r}"
            raise ValueError(problem)
        self._begun = True
        self._last = key
        self._items += (key, value)
        size = len(key) + len(value) + _ITEM_BYTES
        self._bytes += size
        self._weight += weight
        if self._bytes < self._least:
            return False
        if self._bytes < self._most and zlib.crc32(key) * self._usual >= size << 32:
            return False
        return self._cut()

    def adopt(self, block: Block) -> None:
        """Take over a block of another run as it is; only `at_boundary`.

        Its keys must be higher than all before and lower than all that follow. If something
        follows, it must not be the last one of its run, which was not cut but came to an end.
        """
        assert self.at_boundary
        assert not self._begun or block.first > self._last
        self._begun, self._last = True, block.first
        self._blocks.append(block)
        self.count += block.count
        self.weight += block.weight

    async def finish(self) -> str:
        """Store what is left, then the root; return the run's key."""
        if self._items:
            self._cut()
        await self.flush()
        root = _Root([block for block in self._blocks if block is not None])
        return await self._store.put(_encode(root))

    async def flush(self) -> None:
        """Store the blocks that are complete."""
        waiting, self._waiting = self._waiting, []
        puts = [partial(self._store.put, data) for _, data, _, _, _ in waiting]
        stored = await together.run(puts)
        for (position, _, count, weight, first), key in zip(waiting, stored, strict=True):
            sha256 = bytes.fromhex(keys.sha256(key))
            self._blocks[position] = Block(first, count, weight, sha256)

    def _cut(self) -> bool:
        count = len(self._items) // 2
        entry = (len(self._blocks), _encode(self._items), count, self._weight, self._items[0])
        self._waiting.append(entry)
        self._blocks.append(None)
        self.count += count
        self.weight += self._weight
        self._items, self._bytes, self._weight = [], 0, 0
        return len(self._waiting) >= together.AT_ONCE


class Run:
    """A run to be read; made by `open_run`. It keeps its root and the last block in memory."""

    def __init__(self, store: Store, key: str, blocks: Sequence[Block]) -> None:
        self._store = store
        self.key = key
        self.blocks = blocks
        self._ends = list(itertools.accumulate(block.count for block in blocks))
        self.count = self._ends[-1] if blocks else 0
        self.weight = sum(block.weight for block in blocks)
        self._kept: tuple[int, list[bytes]] = (-1, [])

    async def items(
        self, first: int = 0, count: int | None = None
    ) -> AsyncIterator[tuple[bytes, bytes]]:
        """Yield (key, value) pairs from a position on; past the end there are none."""
        async for some_keys, values in self.batches(first, count):
            for pair in zip(some_keys, values, strict=True):
                yield pair

    async def batches(
        self, first: int = 0, count: int | None = None
    ) -> AsyncIterator[tuple[list[bytes], list[bytes]]]:
        """Yield the same as `items`, as (keys, values) of a block at a time.

        More and more blocks are fetched at once, so that a short span costs no more than it must.
        """
        end = self.count if count is None else min(self.count, first + count)
        position = bisect.bisect_right(self._ends, first)
        at_once = 1
        while first < end:
            until = min(position + at_once, bisect.bisect_left(self._ends, end) + 1)
            wanted = range(position, until)
            for number, items in zip(wanted, await self._fetch(wanted), strict=True):
                begin = self._ends[number] - self.blocks[number].count
                low, high = 2 * (first - begin), 2 * (min(end, self._ends[number]) - begin)
                yield items[low:high:2], items[low + 1 : high : 2]
                first = self._ends[number]
            position, at_once = until, min(2 * at_once, together.AT_ONCE)

    async def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""
        number, items = await self._block_of(key)
        at = bisect.bisect_left(items[::2], key)
        return items[2 * at + 1] if number >= 0 and items[2 * at : 2 * at + 1] == [key] else None

    async def position(self, key: bytes) -> int:
        """Return how many keys of the run are lower than this one."""
        number, items = await self._block_of(key)
        if number < 0:
            return 0
        begin = self._ends[number] - self.blocks[number].count
        return begin + bisect.bisect_left(items[::2], key)

    async def scan(self, from_key: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
        """Yield all items whose keys are not lower than this one."""
        async for pair in self.items(await self.position(from_key)):
            yield pair

    async def block(self, number: int) -> list[bytes]:
        """Return the items of one block: a key, its value, the next key, and so on."""
        if self._kept[0] != number:
            self._kept = (number, await self._load(self.blocks[number]))
        return self._kept[1]

    async def _block_of(self, key: bytes) -> tuple[int, list[bytes]]:
        number = bisect.bisect_right(self.blocks, key, key=lambda block: block.first) - 1
        return (number, await self.block(number)) if number >= 0 else (-1, [])

    async def _fetch(self, wanted: range) -> list[list[bytes]]:
        if len(wanted) == 1:
            return [await self.block(wanted[0])]
        found = await together.run([partial(self._load, self.blocks[number]) for number in wanted])
        self._kept = (wanted[-1], found[-1])
        return found

    async def _load(self, block: Block) -> list[bytes]:
        items = await read_block(self._store, block.key)
        if len(items) != 2 * block.count or not items or items[0] != block.first:
            raise errors.MalformedMessageError(
                block.key, f"it is not the block that {self.key} names"
            )
        return items


async def read_block(store: Store, key: str) -> list[bytes]:
    """Return the items of any block: a key, its value, the next key, and so on.

    Raises:
        NotFoundError: There is no such object.
        MalformedMessageError: The object is no block.
    """
    try:
        return _decode_block(await store.get(key))
    except msgspec.DecodeError as error:
        raise errors.MalformedMessageError(key, f"it is no block: {error}") from error


async def open_run(store: Store, key: str) -> Run:
    """Return a run by its key; one small read.

    Raises:
        NotFoundError: There is no such object.
        MalformedMessageError: The object is no run.
    """
    try:
        root = _decode_root(await store.get(key))
    except msgspec.DecodeError as error:
        raise errors.MalformedMessageError(key, f"it is no run: {error}") from error
    if any(block.count < 1 or len(block.sha256) != 32 for block in root.blocks):
        raise errors.MalformedMessageError(key, "it is no run: it has an impossible block")
    return Run(store, key, root.blocks)
