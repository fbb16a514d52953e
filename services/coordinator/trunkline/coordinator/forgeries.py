"""What stands in DATA under a ward that is not its pipeline's: told, and removed.

Only a worker that had the server answer to a subject of its own choice can have put it there, and
it has missed: nobody reads it as anything (see `contracts.wards`). But it is stored, and it says
that somebody's code attacks. So it is looked for, told as an event, and purged:

- in the outcome stream by the folder, which sees each message anyway, and notes it here;
- in the streams that keep a message per subject for ever, by going through what is new in them;
- not in logs and worker events, which whoever reads them leaves out, and age removes.

Nothing is remembered that must not be lost: after a restart everything is gone through again.
"""

import asyncio
import logging
from contextlib import aclosing

import msgspec

from trunkline.bus import present, topology
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Stored
from trunkline.contracts import errors, names, subjects
from trunkline.contracts.wards import Wards
from trunkline.coordinator.events import Events

log = logging.getLogger(__name__)

LOOK_S = 30.0
"""Seconds between looks."""
NOTED = 1000
"""Messages that are remembered at a time; what came after them in a stream is looked up again."""
ROUNDS = 100
"""So many times as many are removed in one look: who floods us does not keep us at it for ever."""

_KEPT_FOR_EVER = (
    subjects.ATTEMPTS_STREAM,
    subjects.CLAIMS_STREAM,
    subjects.ASSIGNMENTS_STREAM,
)


class Forgeries:
    """Finds and removes them. `connection` is in DATA."""

    def __init__(self, connection: NatsConnection, wards: Wards, events: Events) -> None:
        self._connection, self._wards, self._events = connection, wards, events
        self._noted: list[tuple[str, Stored]] = []
        """(stream, message)."""
        self._looked_to = dict.fromkeys(_KEPT_FOR_EVER, 0)
        """The sequence up to which each stream was gone through."""
        self._missed: dict[str, int] = {}
        """The sequence from which a stream is to be gone through again."""

    def note(self, stream: str, stored: Stored) -> bool:
        """Take note of a message under a wrong ward, for `look` to remove; False: not by itself."""
        if len(self._noted) >= NOTED:
            missed = self._missed.get(stream, stored.sequence)
            self._missed[stream] = min(missed, stored.sequence)
            return False
        self._noted.append((stream, msgspec.structs.replace(stored, data=b"", headers={})))
        return True

    async def look_forever(self) -> None:
        """Look at the start, and again and again."""
        while True:
            try:
                await self.look()
            except errors.TrunklineError as error:  # whatever it is, the process has more to do
                log.warning("forgeries stay for now", extra={"reason": str(error)})
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Remove what was noted, and what came into the other streams since the last look."""
        for stream in _KEPT_FOR_EVER:
            self._looked_to[stream] = await self._go_through(stream, self._looked_to[stream])
        await self._remove()
        for _ in range(ROUNDS):
            if not self._missed:
                return
            stream, first = self._missed.popitem()
            await self._go_through(stream, first - 1)
            await self._remove()

    async def _remove(self) -> None:
        aims: set[str] = set()
        while self._noted:
            stream, stored = self._noted[-1]
            # by its sequence: its subject is the attacker's text, and may be read as a wildcard
            await topology.delete_message(self._connection, stream, stored.sequence)
            aims.add(stored.subject.split(".")[2])
            self._noted.pop()
        for pipeline in sorted(aims):
            log.warning("forgeries removed", extra={"pipeline": pipeline})
            await self._tell(pipeline)

    async def _go_through(self, stream: str, after: int) -> int:
        """Note what is forged in a stream; return up to where it was looked at."""
        async with aclosing(present.behind(self._connection, stream, after=after)) as pages:
            async for page in pages:
                for stored in page:
                    if not (self._wards.owns(stored.subject) or self.note(stream, stored)):
                        return after  # the rest is in `_missed`
                    after = stored.sequence
        return after

    async def _tell(self, pipeline: str) -> None:
        try:
            names.pipeline(pipeline)
        except errors.InvalidNameError:
            return  # it aims at nobody
        text = (
            f"messages that pretended to be of {pipeline} were removed: a worker of another"
            " pipeline has tried to forge them"
        )
        await self._events.mention("forgery-removed", pipeline, text)
