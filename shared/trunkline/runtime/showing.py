"""What one process shows on `/metrics`: what it knows of itself, and whatever sources it is given.

What a leader counts is a source until it learns that another one leads: so of who stands by nothing is shown that is about the
whole installation, and while NATS is away, and nobody leads, what the last one knows is. The next term begins at zero.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from importlib import metadata
from typing import Protocol

from trunkline.runtime import logs
from trunkline.runtime import metric_names as names
from trunkline.runtime.metrics import Meter, Sample, Source, together

LAG_S = 1.0
"""Seconds between two looks at how late the event loop is."""


class Connected(Protocol):
    """What is needed of a connection to NATS."""

    @property
    def connected(self) -> bool:
        """Whether there is a server on the other side."""
        ...

    def on_reconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back after each reconnect; return what ends that."""
        ...


class Shown:
    """See the module.

    Args:
        component: Which service it is a process of; see `metric_names`.
        reasons: Says what keeps the process from its work.
    """

    def __init__(self, component: str, reasons: Callable[[], Sequence[str]]) -> None:
        self.component = component
        self.meter = Meter()
        """What this process counts of itself, for all its life."""
        self._reasons = reasons
        self._sources: list[Source] = [self.meter, self._own]
        self._connections: list[Connected] = []
        self.meter.add(names.NATS_RECONNECTS, component, by=0.0)

    @asynccontextmanager
    async def about(self, source: Source, *connections: Connected) -> AsyncIterator[None]:
        """Show a further source inside, whether these connections are there, and how often they were made anew."""
        ends = [each.on_reconnect(self._reconnected) for each in connections]
        self._connections += connections
        self._sources.append(source)
        try:
            yield
        finally:
            self._sources.remove(source)
            for each, end in zip(connections, ends, strict=True):
                self._connections.remove(each)
                end()

    def samples(self) -> list[Sample]:
        """Return all that is known now; nothing is waited for."""
        return together(self._sources)

    async def watch_loop(self) -> None:
        """Note how late the event loop is, for ever."""
        lag, loop = self.meter.buckets(names.LOOP_LAG, self.component), asyncio.get_running_loop()
        while True:
            due_s = loop.time() + LAG_S
            await asyncio.sleep(LAG_S)
            lag.observe(max(0.0, loop.time() - due_s))

    def _reconnected(self) -> None:
        self.meter.add(names.NATS_RECONNECTS, self.component)

    def _own(self) -> Iterator[Sample]:
        component = self.component
        there = bool(self._connections) and all(each.connected for each in self._connections)
        yield names.BUILD, (component, metadata.version("trunkline")), 1.0
        yield names.PROCESS_READY, (component,), float(not self._reasons())
        yield names.NATS_CONNECTED, (component,), float(there)
        yield names.LOG_RECORDS_DROPPED, (component,), float(logs.left_out())
