"""A candidate's hands: its record in KV, its clock, and the start and the end of what leads.

`contracts.election` decides. Here the bucket is followed, what is to be written is written, and `in_turn`
runs what leads whenever the process is elected. What leads is made anew for each term, connections
included, and all of it is gone before the process stands by again: so nothing of a former term can act,
and who leads begins as after a start of the process, which is what is tested most. What stands by keeps
warm what takes longest, its program, and one connection.

While it stands by a process says so beside the record, for people; nobody decides by that.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from trunkline.bus.ports import Table
from trunkline.contracts import election, errors
from trunkline.contracts.election import Election
from trunkline.contracts.records import Candidate
from trunkline.runtime import metric_names
from trunkline.runtime.clock import Clock, SystemClock
from trunkline.runtime.metrics import Sample

log = logging.getLogger(__name__)

WRITE_S = 1.0
"""Seconds after which a write of the record, or a look at it, without an answer is given up, and decided anew."""
LOOK_S = 0.1
"""Seconds between two looks that are not answered."""
PRESENT_S, PRESENCE_S = 2.0, 6
"""Seconds between two signs of who stands by, and for which one counts."""
DECLARE_S = 1.0
"""For which the bucket is tried to be made, before the record is tried again."""
LEAVE_S = 1.0
"""For which a process that stops tries to give back what it holds."""
END_S = 5.0
"""For which what leads may take to end, before it is told once more."""

Fence = Callable[[], bool]
"""Whether this process leads at this instant; asked right before each effect."""


class LeaderTable(Table[Candidate], Protocol):
    """The bucket of leaders."""

    async def put_for(self, life_s: int, key: str, value: Candidate) -> int:
        """Store without a check, for some seconds."""
        ...


class AwakeClock(SystemClock):
    """The machine's clocks, of which the one that never goes back does not stop with the machine."""

    def monotonic_s(self) -> float:
        """Return seconds since the machine was started, those in which it slept included."""
        return time.clock_gettime(_AWAKE)


_AWAKE: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Candidacy:
    """One process's part in the election of its service's leader. Made by `standing`.

    Args:
        table: The bucket of leaders.
        service: The record's key, such as `coordinator`.
        name: Given by whoever started the process; empty: it has none that another start would have.
        declare: Makes the bucket be there; None: somebody else does.
        clock: One that goes on while the process, and the machine, is stopped.
        life_s: Of what it claims.
    """

    def __init__(
        self,
        table: LeaderTable,
        service: str,
        *,
        name: str = "",
        declare: Callable[[], Awaitable[None]] | None = None,
        clock: Clock | None = None,
        life_s: float = election.LIFE_S,
    ) -> None:
        self._table, self._service, self._declare = table, service, declare
        self._clock = clock or AwakeClock()
        incarnation = secrets.token_hex(8)
        me = Candidate(
            name=name or f"{service}-{incarnation}",
            incarnation=incarnation,
            since_ns=self._clock.wall_ns(),
            life_s=life_s,
        )
        self._election = Election(me, named=bool(name))
        self._elected, self._lost = asyncio.Event(), asyncio.Event()
        self._changed = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def me(self) -> Candidate:
        """This candidate."""
        return self._election.me

    @property
    def leading(self) -> bool:
        """Whether it leads, as far as it knows."""
        return self._election.leading

    def holds(self) -> bool:
        """Whether nobody else can lead at this instant."""
        return self._election.holds(self._clock.monotonic_s())

    @property
    def problems(self) -> list[str]:
        """What keeps the process from leading, or from standing by, for people."""
        if self.leading and not self.holds():
            return ["it leads, and could not renew that: NATS does not answer"]
        if not self.leading and not self._election.follows:
            return ["it does not know of anybody who leads"]
        return []

    def samples(self) -> list[Sample]:
        """Return whether it leads now, and as which one; a source of metrics."""
        leads, whose = self.leading and self.holds(), (self._service,)
        found: list[Sample] = [(metric_names.LEADER, whose, float(leads))]
        if leads:
            found.append((metric_names.LEADER_TERM, whose, float(self.me.term)))
        return found

    async def in_turn(
        self, lead: Callable[[], Awaitable[None]], *, stands_by: Callable[[], None]
    ) -> None:
        """Run what leads whenever this process is elected, until cancelled; its failure is ours.

        Args:
            lead: It is cancelled when another one leads.
            stands_by: Called whenever the process begins to stand by.
        """
        while True:
            stands_by()
            await self._elected.wait()
            me = self.me
            log.info("leads", extra={"candidate": me.name, "term": me.term})
            async with asyncio.TaskGroup() as tasks:
                leading = tasks.create_task(_run(lead), name="leads")
                lost = tasks.create_task(self._lost.wait(), name="until-lost")
                await asyncio.wait({leading, lost}, return_when=asyncio.FIRST_COMPLETED)
                lost.cancel()
                await end(leading)
            log.warning("leads no more, stands by", extra={"candidate": me.name, "term": me.term})
            self._do(election.WoundUp(self._clock.monotonic_s()))

    async def run(self) -> None:
        """Follow the record and renew it, for ever."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await self._prepare()
            await self._look()
            tasks.create_task(self._follow(), name="follow-leader")
            tasks.create_task(self._show_presence(), name="stand-by")
            await self._keep_time()

    async def leave(self) -> None:
        """Give back what is held, so that another may lead at once. Nothing may act any more."""
        self._do(election.Leave(self._clock.monotonic_s()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                while not self._election.left:
                    self._changed.clear()
                    await self._changed.wait()

    async def _keep_time(self) -> None:
        while True:
            now_s = self._clock.monotonic_s()
            self._do(election.Tick(now_s, self._clock.wall_ns()))
            self._changed.clear()
            due_s = self._election.next_s()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due_s is None else max(0.0, due_s - now_s)):
                    await self._changed.wait()

    def _do(self, event: election.Event) -> None:
        for effect in self._election.handle(event):
            match effect:
                case election.Write():
                    self._begin(self._write(effect))
                case election.Look():
                    self._begin(self._look())
                case election.Lead():
                    self._lost.clear()
                    self._elected.set()
                case election.StandDown():
                    self._elected.clear()
                    self._lost.set()
        self._changed.set()

    def _begin(self, work: Awaitable[None]) -> None:
        assert self._tasks is not None
        self._tasks.create_task(_run(lambda: work), name="election")

    async def _write(self, write: election.Write) -> None:
        try:
            if write.expected:
                revision = await self._table.update(self._service, write.candidate, write.expected)
            else:
                revision = await self._table.create(self._service, write.candidate)
        except (errors.ConflictError, errors.AlreadyExistsError):
            self._do(election.Refused(self._clock.monotonic_s()))
        except (errors.UnavailableError, errors.RefusedError) as error:
            log.warning("leadership not written", extra={"reason": str(error)})
            await self._prepare()
            self._do(election.Unanswered(self._clock.monotonic_s()))
        else:
            self._do(election.Stored(revision, self._clock.monotonic_s()))

    async def _prepare(self) -> None:
        """Make the bucket be there, if that is ours to do; what does not work now, does the next time."""
        if self._declare is not None:
            with contextlib.suppress(errors.UnavailableError, TimeoutError):
                async with asyncio.timeout(DECLARE_S):
                    await self._declare()

    async def _look(self) -> None:
        while True:
            asked_s = self._clock.monotonic_s()
            try:
                async with asyncio.timeout(WRITE_S):
                    entry = await self._table.get(self._service)
            except (errors.UnavailableError, TimeoutError):
                await self._prepare()
                await asyncio.sleep(LOOK_S)
                continue
            now_s = self._clock.monotonic_s()
            found, revision = (entry.value, entry.revision) if entry is not None else (None, 0)
            self._do(election.Observed(found, revision, now_s, asked_s))
            return

    async def _follow(self) -> None:
        async with self._table.watch() as batches:
            async for batch in batches:
                now_s = self._clock.monotonic_s()
                for entry in batch:
                    if entry.key == self._service:
                        self._do(election.Observed(entry.value, entry.revision, now_s))

    async def _show_presence(self) -> None:
        key = f"{self._service}.{self.me.incarnation}"
        while True:
            if not self.leading:
                with contextlib.suppress(errors.UnavailableError, errors.RefusedError):
                    await self._table.put_for(PRESENCE_S, key, self.me)
            await asyncio.sleep(PRESENT_S)


async def end(task: asyncio.Task[None]) -> None:
    """Cancel a task until it is over.

    One cancellation may be lost: before Python 3.12, `asyncio.wait_for`, in which NATS' client waits, keeps it to itself
    where what is waited for comes at the same instant, as it does when a process goes on that was stopped.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=END_S)


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()


@asynccontextmanager
async def standing(candidacy: Candidacy) -> AsyncIterator[Candidacy]:
    """Take part in the election inside; what leads must be over at the end."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(candidacy.run(), name="election")
        try:
            yield candidacy
        finally:
            if not running.done():
                await candidacy.leave()
            running.cancel()
