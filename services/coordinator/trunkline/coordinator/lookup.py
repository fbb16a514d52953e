"""What a job's datums are looked up in: the runs of the done index that its record pins, in little memory.

Fingerprints are hashes, so a window of them touches every block of a run, and reading all blocks for
each window would make a listing quadratic. They are read once instead, and of each entry eight bytes
are kept: the head of its fingerprint, sorted as they come, and where its outcome lies. A datum whose
fingerprint has a head that is there is a candidate; the kept outcome says whether it is the one, and
has to be read anyway, since it is what a skipped datum brings into the job.

A million entries are 8 MB, as long as a job with such an index is listed.
"""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from contextlib import aclosing

from trunkline.coordinator import done, picking
from trunkline.coordinator.core import outcomes as reading
from trunkline.storage.runs import Run
from trunkline.storage.store import Store

_HEAD_BYTES = 4
_UINT = "I"
"""The array's type of as many bytes."""

assert array(_UINT).itemsize == _HEAD_BYTES


class Lookup:
    """The runs that one job has pinned; read when they are first needed."""

    def __init__(self, store: Store, keys: Sequence[str]) -> None:
        self._store, self._keys = store, keys
        self._parts: list[_Part] | None = None

    async def find(self, fingerprints: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the kept outcomes of those fingerprints that are done; the newest ones count."""
        if self._parts is None:
            self._parts = await self._read()
        wanted = set(fingerprints) if self._parts else set[bytes]()
        found: dict[bytes, bytes] = {}
        for part in self._parts:
            if not wanted:
                break
            try:
                hits = await part.find(wanted)
            except done.LOST as error:
                done.warn(part.outcomes.key, error)
                continue
            found |= hits
            wanted -= hits.keys()
        return found

    async def _read(self) -> "list[_Part]":
        """Return the runs, newest first, but for what cannot be read."""
        parts: list[_Part] = []
        for segment in reversed(await done.open_segments(self._store, self._keys)):
            part = _Part(segment.outcomes)
            try:
                async with aclosing(segment.places()) as batches:
                    async for fingerprints, places in batches:
                        part.add(fingerprints, places)
            except done.LOST as error:
                done.warn(segment.index.key, error)
            parts.append(part)
        return parts


class _Part:
    """One run: its fingerprints' heads in order, and for each the index of its outcome."""

    def __init__(self, outcomes: Run) -> None:
        self.outcomes = outcomes
        self._heads, self._places = array(_UINT), array(_UINT)

    def add(self, fingerprints: Sequence[bytes], places: Sequence[bytes]) -> None:
        """Take the next entries, which are in order."""
        self._heads.extend(_uints(each[:_HEAD_BYTES] for each in fingerprints))
        self._places.extend(_uints(each[-_HEAD_BYTES:] for each in places))

    async def find(self, fingerprints: Collection[bytes]) -> dict[bytes, bytes]:
        """Return the kept outcomes of those fingerprints that are here."""
        places = sorted({place for each in fingerprints for place in self._candidates(each)})
        async with aclosing(picking.pick(self.outcomes, list(map(reading.key, places)))) as items:
            return {
                fingerprint: kept
                async for _, kept in items
                if (fingerprint := reading.fingerprint(kept)) in fingerprints
            }

    def _candidates(self, fingerprint: bytes) -> Iterable[int]:
        head = int.from_bytes(fingerprint[:_HEAD_BYTES], "big")
        heads = self._heads
        at = bisect_left(heads, head)
        while at < len(heads) and heads[at] == head:
            yield self._places[at]
            at += 1


def _uints(numbers: Iterable[bytes]) -> "array[int]":
    """Return big-endian numbers as an array."""
    found = array(_UINT, b"".join(numbers))
    if sys.byteorder == "little":
        found.byteswap()
    return found
