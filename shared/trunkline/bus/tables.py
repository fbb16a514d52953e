"""Key-value buckets: records in a stream `KV_<bucket>`, laid out as NATS' own KV is.

A key is a subject `$KV.<bucket>.<key>`, its revision the sequence of its last message, a deletion a
message with `KV-Operation: DEL`; so `nats kv` shows the same. Every write is a compare-and-set by
the subject's expected last sequence, checked by the server, and carries a Msg-Id of its own: one
whose answer was lost is repeated, and a refusal of the repeat is checked against what is stored
(see `publishing`), so that a writer never meets itself as the one who was faster.

A record that cannot be read (somebody has written it by other tools) is as if it was not there: its
reader goes on, and whoever creates it puts it right. But something may hang on what it was, so it is
told (`problems`) until it is gone or replaced.

Who owns the bucket reads through that (`owner`): a bucket keeps the message before the last one of each key, so the
record is what that one says, at the revision of the one that nobody can read; and `mend` writes it again. A crash
in between: the next owner reads through it just so. A deletion takes all messages of its key along, or a record
would be there again when the mark of its end has gone.
"""

import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Generic, Protocol

import msgspec

from trunkline.bus import headers as header_block
from trunkline.bus import tails
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Entry, R, Stored
from trunkline.bus.publishing import Window
from trunkline.contracts import errors, messages, subjects

log = logging.getLogger(__name__)

_KEY = re.compile(r"[A-Za-z0-9_=/-]+(\.[A-Za-z0-9_=/-]+)*")
_DELETION = {
    header_block.KV_OPERATION: "PURGE",
    header_block.ROLLUP: "sub",
    header_block.TTL: "168h",
}
"""What marks a deletion, for as long as a watcher may be away: else a bucket whose keys come and go
would be full of marks one day."""
_SHOWN = 10
"""Unreadable records that are told at a time."""
WRITE_S = 10.0
"""Seconds after which a write without an answer is given up."""


class Reads(Protocol):
    """How records are read: a connection's own way, or that of `newest.Newest`."""

    async def last(self, stream: str, subject: str) -> Stored | None:
        """Return the last message of a subject."""
        ...

    async def scan(self, stream: str, subject_filter: str) -> list[Stored]:
        """Return that of each subject that matches."""
        ...


class KvTable(Generic[R]):
    """See `ports.Table`."""

    def __init__(
        self,
        connection: NatsConnection,
        bucket: str,
        record: type[R],
        *,
        write_s: float = WRITE_S,
        reads: Reads | None = None,
        owner: bool = False,
    ) -> None:
        self._connection, self._record, self._write_s = connection, record, write_s
        self._reads = reads or connection
        self._window = Window(connection)
        self._stream = subjects.bucket_stream(bucket)
        self._root = f"$KV.{bucket}."
        self._kind = record.__name__.lower()
        self._owner = owner
        self._unreadable: dict[str, int] = {}
        """Key -> revision of what cannot be read."""
        self._former: dict[str, R] = {}
        """Of these, what they were before, where that is known."""
        self._spoiled = False

    @property
    def spoiled(self) -> bool:
        """Whether a record was found since the last mending that cannot be read."""
        return self._spoiled

    @property
    def problems(self) -> list[str]:
        """Return which records cannot be read, of those that were looked at, in a sentence each."""
        return [
            f"the record {errors.shown(self._root + key)} cannot be read: put it right, or delete it"
            for key in sorted(self._unreadable)[:_SHOWN]
        ]

    async def get(self, key: str) -> Entry[R] | None:
        """Return the record, or None."""
        stored = await self._reads.last(self._stream, self._subject(key))
        entry = await self._read(stored) if stored is not None else None
        return entry if entry is not None and entry.value is not None else None

    async def create(self, key: str, value: R) -> int:
        """Store a record that is not there (or was deleted); return its revision."""
        subject, data = self._subject(key), messages.encode(value)
        expected = 0
        while True:
            try:
                return await self._write(subject, data, expected=expected)
            except errors.RefusedError as error:
                if error.code != errors.RefusedError.WRONG_LAST_SEQUENCE:
                    raise
            stored = await self._reads.last(self._stream, subject)
            if stored is not None and (await self._read(stored)).value is not None:
                raise errors.AlreadyExistsError(self._kind, key)
            expected = stored.sequence if stored is not None else 0

    async def update(self, key: str, value: R, revision: int) -> int:
        """Replace the record at this revision; return the new one."""
        return await self._set(key, messages.encode(value), revision)

    async def put(self, key: str, value: R) -> int:
        """Store without a check."""
        return await self._write(self._subject(key), messages.encode(value), expected=None)

    async def put_for(self, life_s: int, key: str, value: R) -> int:
        """Store without a check, for some seconds: then it is gone, without a mark of it."""
        headers, data = {header_block.TTL: f"{life_s}s"}, messages.encode(value)
        return await self._write(self._subject(key), data, expected=None, headers=headers)

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Delete the record (at this revision); nothing happens if it is not there."""
        if await self.get(key) is None:
            return
        await self._set(key, b"", revision, _DELETION)

    async def all(self, prefix: str = "") -> list[Entry[R]]:
        """Return all live records whose key starts with the prefix, sorted by key."""
        tokens = prefix.rpartition(".")[0]
        found = await self._reads.scan(
            self._stream, f"{self._root}{tokens}.>" if tokens else f"{self._root}>"
        )
        entries = [await self._read(stored) for stored in found]
        live = [e for e in entries if e.value is not None and e.key.startswith(prefix)]
        return sorted(live, key=lambda entry: entry.key)

    @contextlib.asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[Sequence[Entry[R]]]]:
        """Follow the bucket: first a batch of all that is there, then batches of changes."""
        async with tails.tail(
            self._connection, self._stream, [f"{self._root}>"], last_per_subject=True
        ) as batches:
            yield self._entries(batches)

    async def mend(self, known: Callable[[str], R | None]) -> list[str]:
        """Write again what somebody has overwritten with what cannot be read; return the keys.

        Args:
            known: What a reader holds of a record, where the bucket itself does not say.
        """
        self._spoiled = False
        mended: list[str] = []
        for key, revision in list(self._unreadable.items()):
            value = self._former.get(key) or known(key)
            if value is None:
                continue
            try:
                await self.update(key, value, revision)
            except errors.ConflictError:
                await self.get(key)  # it has moved: by now it is right, or spoiled once more
            else:
                mended.append(key)
        return mended

    async def _read(self, stored: Stored) -> Entry[R]:
        """Return the record, or what it was before somebody wrote what cannot be read."""
        entry = self._entry(stored)
        if not self._owner or entry.key not in self._unreadable:
            return entry
        former: R | None = None
        async for page in self._connection.reads.pages(self._stream, stored.subject):
            for each in page:
                with contextlib.suppress(errors.MalformedMessageError):
                    former = self._decoded(each)
        if former is None:
            return entry
        self._former[entry.key] = former
        return msgspec.structs.replace(entry, value=former)

    async def _entries(
        self, batches: AsyncIterator[Sequence[Stored]]
    ) -> AsyncIterator[Sequence[Entry[R]]]:
        first = True
        async for batch in batches:
            entries = [await self._read(stored) for stored in batch]
            # what was known of a record before it became unreadable stands
            entries = [each for each in entries if each.value or each.key not in self._unreadable]
            yield [entry for entry in entries if entry.value is not None] if first else entries
            first = False

    async def _set(
        self, key: str, data: bytes, revision: int | None, headers: dict[str, str] | None = None
    ) -> int:
        try:
            return await self._write(self._subject(key), data, expected=revision, headers=headers)
        except errors.RefusedError as error:
            if error.code == errors.RefusedError.WRONG_LAST_SEQUENCE:
                raise errors.ConflictError(self._kind, key) from error
            raise

    async def _write(
        self,
        subject: str,
        data: bytes,
        *,
        expected: int | None,
        headers: dict[str, str] | None = None,
    ) -> int:
        acked = await self._window.put(
            subject, data, expected_last=expected, headers=headers, timeout_s=self._write_s
        )
        self._readable(subject.removeprefix(self._root))
        return acked.sequence

    def _subject(self, key: str) -> str:
        if not _KEY.fullmatch(key):
            raise errors.InvalidNameError("key", key, "tokens of A-Z a-z 0-9 _ - joined by dots")
        return self._root + key

    def _entry(self, stored: Stored) -> Entry[R]:
        key = stored.subject.removeprefix(self._root)
        value: R | None = None
        try:
            value = self._decoded(stored)
        except errors.MalformedMessageError as error:
            if key not in self._unreadable:
                log.error("record is not readable", extra={"reason": str(error)})  # noqa: TRY400
            self._spoiled = self._spoiled or self._unreadable.get(key) != stored.sequence
            self._unreadable[key] = stored.sequence
        else:
            self._readable(key)
        return Entry(key=key, value=value, revision=stored.sequence, at_ns=stored.at_ns)

    def _decoded(self, stored: Stored) -> R | None:
        """Return what a message says; None: the record is gone. Raises MalformedMessageError."""
        if _is_deletion(stored):
            return None
        return messages.decode(stored.subject, stored.data, self._record)

    def _readable(self, key: str) -> None:
        self._unreadable.pop(key, None)
        self._former.pop(key, None)


def _is_deletion(stored: Stored) -> bool:
    return stored.headers.get(header_block.KV_OPERATION) in ("DEL", "PURGE") or (
        "Nats-Marker-Reason" in stored.headers
    )
