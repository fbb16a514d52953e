"""The bus, its tables and the clock in one process, for simulated time only.

Nothing polls: whoever waits wakes on an event or at an instant, so hours pass in milliseconds.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Generic, TypeVar

import msgspec
import pytest

from trunkline.bus.ports import Acked, Entry, Message, Stored
from trunkline.contracts import errors, messages, subjects
from trunkline.coordinator.tables import Tables

R = TypeVar("R", bound=msgspec.Struct)


TIME = pytest.mark.looptime(noop_cycles=1)
"""For tests in it. What is simulated wakes at once, so the loop need not idle dozens of times to be
sure of that before it moves the clock."""


class LoopClock:
    """The event loop's time, as both clocks."""

    def wall_ns(self) -> int:
        return int(self.monotonic_s() * 1e9)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


class MemoryBus:
    """A connection, and the publisher on it: messages reach whoever serves their subject."""

    max_payload, violations, at_server = 1 << 20, 0, ""
    problems: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.connected = True
        self.handlers: dict[str, Callable[[Message], Awaitable[None]]] = {}
        self.stored: dict[str, Stored] = {}
        self.naks: list[str] = []
        self.on_nak: Callable[[str], None] = lambda _: None
        self.on_control: Callable[[str, messages.Drain], None] = lambda *_: None
        self._sequences = itertools.count(1)
        self._reconnected: list[Callable[[], None]] = []

    async def publish(
        self, subject: str, data: bytes, *, headers: Mapping[str, str] | None = None
    ) -> None:
        del headers
        if not self.connected:
            return  # of workers, too: they go on, and nobody hears them
        if subject.startswith("$JS.ACK."):
            self.naks.append(subject)
            self.on_nak(subject)
            return
        if subject.startswith("trunkline.control."):
            self.on_control(subject, messages.decode(subject, data, messages.Drain))
            return
        self.store(subject, data)
        handler = self.handlers.get(subjects.CLAIMS)
        if subject.startswith("trunkline.claims.") and handler is not None:
            await handler(Message(subject=subject, data=data))

    def reconnect(self) -> None:
        self.connected = True
        for callback in self._reconnected:
            callback()

    async def tell(self, subject: str, user: str, name: str, connection: int) -> None:
        """Say what a server says when a client comes or goes."""
        client = {"id": connection, "user": user, "name": name}
        event = {"client": client, "server": {"id": "s"}, "reason": "Client Closed"}
        if subject in self.handlers:
            await self.handlers[subject](Message(subject=subject, data=msgspec.json.encode(event)))

    def store(self, subject: str, data: bytes) -> Stored:
        self.stored[subject] = Stored(subject=subject, data=data, sequence=next(self._sequences))
        return self.stored[subject]

    async def put(
        self,
        subject: str,
        data: bytes,
        *,
        msg_id: str = "",
        expected_last: int | None = None,
        timeout_s: float = 30.0,
        headers: Mapping[str, str] | None = None,
    ) -> Acked:
        del msg_id, timeout_s, headers
        last = self.stored.get(subject)
        if expected_last is not None and expected_last != (last.sequence if last else 0):
            raise errors.RefusedError(subject, errors.RefusedError.WRONG_LAST_SEQUENCE, "moved")
        return Acked(stream="s", sequence=self.store(subject, data).sequence)

    async def request(self, subject: str, data: bytes, **_: Any) -> Message:
        raise errors.UnavailableError(subject, f"nobody listens ({len(data)} bytes)")

    async def serve(self, subject: str, handler: Callable[[Message], Awaitable[None]]) -> None:
        self.handlers[subject] = handler

    def on_reconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        self._reconnected.append(callback)
        return lambda: self._reconnected.remove(callback)

    async def last(self, stream: str, subject: str) -> Stored | None:
        del stream
        return self.stored.get(subject)

    async def scan(self, stream: str, subject_filter: str) -> list[Stored]:
        del stream
        prefix = subject_filter.partition("*")[0]
        return [each for key, each in self.stored.items() if key.startswith(prefix)]

    async def flush(self) -> None:
        return

    async def closed(self) -> None:
        await asyncio.Event().wait()


class MemoryTable(Generic[R]):
    """A bucket whose watchers wake on each change."""

    problems: list[str] = []  # noqa: RUF012 - it holds no bytes, so all can be read
    spoiled = False

    def __init__(self) -> None:
        self.entries: dict[str, Entry[R]] = {}
        self._revisions = itertools.count(1)
        self._watchers: list[asyncio.Queue[Sequence[Entry[R]]]] = []

    async def get(self, key: str) -> Entry[R] | None:
        entry = self.entries.get(key)
        return entry if entry is not None and entry.value is not None else None

    async def create(self, key: str, value: R) -> int:
        if await self.get(key) is not None:
            raise errors.AlreadyExistsError("record", key)
        return await self.put(key, value)

    async def update(self, key: str, value: R, revision: int) -> int:
        if self.entries[key].revision != revision:
            raise errors.ConflictError("record", key)
        return await self.put(key, value)

    async def put(self, key: str, value: R) -> int:
        return self._set(key, value)

    async def delete(self, key: str, revision: int | None = None) -> None:
        del revision
        self._set(key, None)

    async def all(self, prefix: str = "") -> list[Entry[R]]:
        live = [e for e in self.entries.values() if e.value is not None]
        return sorted((e for e in live if e.key.startswith(prefix)), key=lambda e: e.key)

    async def mend(self, known: Callable[[str], R | None]) -> list[str]:
        del known
        return []

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[Sequence[Entry[R]]]]:
        queue: asyncio.Queue[Sequence[Entry[R]]] = asyncio.Queue()
        queue.put_nowait(await self.all())
        self._watchers.append(queue)

        async def batches() -> AsyncIterator[Sequence[Entry[R]]]:
            while True:
                yield await queue.get()

        yield batches()
        self._watchers.remove(queue)

    def _set(self, key: str, value: R | None) -> int:
        entry = Entry[R](key=key, value=value, revision=next(self._revisions))
        self.entries[key] = entry
        for queue in self._watchers:
            queue.put_nowait([entry])
        return entry.revision


def tables() -> Tables:
    """Return all buckets of the account CTL, empty."""
    return Tables(
        pipelines=MemoryTable(),
        repos=MemoryTable(),
        branches=MemoryTable(),
        commits=MemoryTable(),
        jobs=MemoryTable(),
        done=MemoryTable(),
        nodes=MemoryTable(),
        scaling=MemoryTable(),
    )
