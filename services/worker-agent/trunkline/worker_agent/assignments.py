"""Which jobs this worker may pull from: the last assignment of its pipeline.

It comes in two ways that may overtake each other: as it is published (at once, but perhaps a
message that is not stored yet), and by a direct get (at start, after a reconnect, with each
heartbeat, and before anything is cancelled; perhaps from a replica that is a little behind). So a
job is added by either, and removed only by a get that comes long enough after it was added.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from trunkline.bus.ports import Connection, Message
from trunkline.contracts import errors, messages, subjects
from trunkline.contracts.messages import Assignment, JobTicket
from trunkline.contracts.wards import Ward
from trunkline.runtime.clock import Clock

log = logging.getLogger(__name__)

_SETTLED_S = 1.0
"""Seconds after which a direct get is believed to know of a job that a message added."""


class Assignments:
    """Follows the jobs of one pipeline and one code hash, oldest first."""

    def __init__(
        self,
        connection: Connection,
        ward: Ward,
        code_hash: str,
        *,
        clock: Clock,
        changed: Callable[[Sequence[JobTicket]], None],
    ) -> None:
        """Follow nothing yet.

        Args:
            connection: In the account DATA.
            ward: The worker's.
            code_hash: Jobs of other code are somebody else's.
            clock: To measure by.
            changed: Told the tickets that are in force, whenever they may have changed.
        """
        self._connection = connection
        self._pipeline = ward.pipeline
        self._subject = subjects.assignments(ward)
        self._code_hash = code_hash
        self._clock = clock
        self._changed = changed
        self._tickets: dict[str, JobTicket] = {}
        self._added_s: dict[str, float] = {}
        self._gone: set[str] = set()
        self._asked = asyncio.Event()
        self._asked.set()

    def ask(self, gone: str = "") -> None:
        """Have the assignment read again, now.

        Args:
            gone: A job whose consumer seems to be gone. Where there is no assignment any more either
                (the pipeline is deleted), that ends the job; else the assignment alone does.
        """
        if gone:
            self._gone.add(gone)
        self._asked.set()

    async def follow(self, every_s: float) -> None:
        """Follow the assignment for ever, reading it again at least so often."""
        await self._connection.serve(self._subject, self._published)
        while True:
            self._asked.clear()
            wait_s = every_s
            try:
                await self._read()
            except errors.UnavailableError:
                wait_s = min(every_s, _SETTLED_S)
            try:
                async with asyncio.timeout(wait_s):
                    await self._asked.wait()
            except TimeoutError:
                continue

    async def _published(self, message: Message) -> None:
        listed = self._ours(message.data)
        if listed is None:
            return
        gone = self._tickets.keys() - listed.keys()
        self._apply({**listed, **{job: self._tickets[job] for job in gone}})
        if gone:
            self.ask()

    async def _read(self) -> None:
        stored = await self._connection.last(subjects.ASSIGNMENTS_STREAM, self._subject)
        gone, self._gone = self._gone, set()
        if stored is None:
            self._apply({job: each for job, each in self._tickets.items() if job not in gone})
            return
        listed = self._ours(stored.data)
        if listed is None:
            return
        settled_s = self._clock.monotonic_s() - _SETTLED_S
        young = {
            job: ticket
            for job, ticket in self._tickets.items()
            if job not in listed and self._added_s[job] > settled_s
        }
        if young:
            asyncio.get_running_loop().call_later(_SETTLED_S, self.ask)
        self._apply({**listed, **young})

    def _ours(self, data: bytes) -> dict[str, JobTicket] | None:
        try:
            assignment = messages.decode(self._subject, data, Assignment)
        except errors.MalformedMessageError as error:
            log.error("assignment is not readable", extra={"reason": str(error)})  # noqa: TRY400
            return None
        return {each.job: each for each in assignment.jobs if each.code_hash == self._code_hash}

    def _apply(self, tickets: dict[str, JobTicket]) -> None:
        now_s = self._clock.monotonic_s()
        self._added_s = {job: self._added_s.get(job, now_s) for job in tickets}
        if tickets != self._tickets or list(tickets) != list(self._tickets):
            names = list(tickets)
            log.info("assignment", extra={"pipeline": self._pipeline, "jobs": ",".join(names)})
        self._tickets = tickets
        self._changed(tuple(tickets.values()))
