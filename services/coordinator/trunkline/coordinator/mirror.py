"""A bucket in memory: what the coordinator decides by, and never more than a cache.

A mirror follows its bucket by `Table.watch` and sees this process's own writes at once, so a round
that begins after a write sees it. It may lag behind another's writes: then a compare-and-set fails,
the mirror is told what there is, and the caller looks again.

Revisions of one bucket only grow, so whatever is older than what is known of a key is dropped. Of a
delete the revision is not told: the last revision known to be gone is kept until the watch tells of
the delete itself.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Generic, TypeVar

import msgspec

from trunkline.bus.ports import Entry, Table
from trunkline.contracts import errors

AHEAD = 1000
"""More revisions than others may have seen, and we not, when a bucket goes."""

R = TypeVar("R", bound=msgspec.Struct)


class Mirror(Generic[R]):
    """All live records of a bucket.

    Args:
        table: The bucket.
        changed: Called with (key, old, new) after each change; None where there is no record.
        spoiled: Called when a record comes that nobody can read.
    """

    def __init__(
        self,
        table: Table[R],
        changed: Callable[[str, R | None, R | None], None],
        spoiled: Callable[[], None] = lambda: None,
    ) -> None:
        self.table = table
        self.filled = asyncio.Event()
        """Set once all that was in the bucket at the start is here."""
        self._changed, self._spoiled = changed, spoiled
        self._entries: dict[str, Entry[R]] = {}
        self._gone: dict[str, int] = {}
        self._vanished: dict[str, Entry[R]] = {}
        """Of which the bucket has no word, not even that they were deleted: it may have been emptied."""

    async def follow(self) -> None:
        """Follow the bucket for ever."""
        async with self.table.watch() as batches:
            async for batch in batches:
                for entry in batch:
                    self.take(entry)
                if self.table.spoiled:
                    self._spoiled()
                self.filled.set()

    def take(self, entry: Entry[R]) -> None:
        """Take over what the bucket holds, unless something newer is known."""
        old = self._entries.get(entry.key)
        known = old.revision if old else self._gone.get(entry.key, 0)
        if entry.revision <= known:
            return
        self._gone.pop(entry.key, None)
        if entry.value is None:
            self._entries.pop(entry.key, None)
        else:
            self._entries[entry.key] = entry
        if old is not None or entry.value is not None:
            self._changed(entry.key, old.value if old else None, entry.value)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> R | None:
        """Return the record, or None."""
        entry = self._entries.get(key)
        return entry.value if entry else None

    def stored_ns(self, key: str) -> int:
        """Return when the record was stored, by the server's clock; 0 where this process has done it, or there is none."""
        entry = self._entries.get(key)
        return entry.at_ns if entry else 0

    def values(self) -> list[R]:
        """Return all records, by key."""
        return [value for key in self if (value := self._entries[key].value) is not None]

    async def create(self, key: str, value: R) -> R:
        """Create a record; AlreadyExistsError, with the mirror brought up to date, if there is one."""
        try:
            revision = await self.table.create(key, value)
        except errors.AlreadyExistsError:
            await self.refresh(key)
            raise
        self.take(Entry(key=key, value=value, revision=revision))
        return value

    async def ensure(self, key: str, value: R) -> R:
        """Return the record that is there, or create it."""
        if (found := self.get(key)) is not None:
            return found
        try:
            return await self.create(key, value)
        except errors.AlreadyExistsError:
            return self.get(key) or value

    async def replace(self, key: str, value: R) -> R:
        """Replace (or create) the record at the revision that is known here.

        Raises:
            ConflictError: it was changed meanwhile; the mirror holds what there is now.
        """
        entry = self._entries.get(key)
        if entry is not None and entry.value == value:
            return value
        try:
            if entry is None:
                revision = await self.table.create(key, value)
            else:
                revision = await self.table.update(key, value, entry.revision)
        except (errors.AlreadyExistsError, errors.ConflictError) as error:
            await self.refresh(key)
            raise errors.ConflictError("record", key) from error
        self.take(Entry(key=key, value=value, revision=revision))
        return value

    async def delete(self, key: str) -> None:
        """Delete the record at the revision that is known here; ConflictError if it has moved."""
        entry = self._entries.get(key)
        if entry is None:
            return
        try:
            await self.table.delete(key, entry.revision)
        except errors.ConflictError:
            await self.refresh(key)
            raise
        if self._entries.get(key) is entry:
            del self._entries[key]
            self._gone[key] = entry.revision
            self._changed(key, entry.value, None)

    def forget(self, key: str) -> None:
        """Keep a record in the bucket only; `refresh`, or a change of it, brings it back."""
        self._entries.pop(key, None)

    async def restore(self, make: Callable[[int], Awaitable[None]]) -> int:
        """Have a bucket that is gone made again, and put back what is here.

        Args:
            make: Makes it; is given its first revision, which is above all that anybody knows.

        Returns:
            How many records were put back. What somebody has written meanwhile stands.
        """
        kept = dict(self._entries)
        await make(self.newest + AHEAD)
        for key, entry in kept.items():
            assert entry.value is not None
            with contextlib.suppress(errors.AlreadyExistsError):
                revision = await self.table.create(key, entry.value)
                self.take(Entry(key=key, value=entry.value, revision=revision))
        return len(kept)

    @property
    def newest(self) -> int:
        """The highest revision that is known: its bucket has counted as far, unless it was emptied."""
        return max([*(e.revision for e in self._entries.values()), *self._gone.values(), 0])

    async def put_back(self) -> int:
        """Write what is known here into a bucket that has lost everything, and counts from 1 again.

        Who holds a revision of before is refused, unless that one has come round for the same key.

        Returns:
            How many records were put back. What somebody has written meanwhile stands.
        """
        kept = self._vanished | self._entries
        for key, entry in kept.items():
            assert entry.value is not None
            try:
                revision = await self.table.create(key, entry.value)
            except errors.AlreadyExistsError:
                found = await self.table.get(key)
                if found is not None:
                    self._rebase(key, found)
            else:
                self._rebase(key, Entry(key=key, value=entry.value, revision=revision))
        self._vanished.clear()  # not before: where a write fails, all of it is tried again
        self._gone.clear()
        return len(kept)

    def _rebase(self, key: str, entry: Entry[R]) -> None:
        """Take it over although its revision is lower than those of before."""
        old = self._entries.pop(key, None)
        if entry.value is not None:
            self._entries[key] = entry
        before = old.value if old else None
        if before != entry.value:
            self._changed(key, before, entry.value)

    async def refresh(self, key: str) -> None:
        """Bring one record up to date."""
        entry = await self.table.get(key)
        if entry is not None:
            self.take(entry)
        elif (old := self._entries.pop(key, None)) is not None:
            self._gone[key] = old.revision
            self._vanished[key] = old
            self._changed(key, old.value, None)
