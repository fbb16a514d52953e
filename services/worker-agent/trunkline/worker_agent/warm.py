"""Runs a command that stays up: datums are handed to it one after the other, as it asks for them.

To the life of a datum this is a run like any other (`process.Run`): it begins when the datum is in /pfs
and ends when the command asks for the next one, says that this one failed, or is gone. The process
itself lives through as many datums and jobs of one transform as there are; `core.asking` has the lines
that are spoken, `door` the socket.

    what happens                                  the datum in hand     the process
    -------------------------------------------   -------------------   ---------------------------------
    `next`                                        done                  waits
    `next <text>`                                 a failed try          waits
    it ends, or is killed, with a datum in hand   a failed try          started anew by the next datum
    it ends before its first `next`               a failed try          the same, after a pause that grows
    it ends while it waits                        -                     the same; nobody is charged
    `datum_timeout`; no first `next` in time      a failed try          its group is killed; the same
    the datum is cut short by us                  as any other          its group is killed; the same
    the worker stops, or the transform changes    -                     `end`; killed after some seconds

A process that was started for a datum and ends before it has it costs that datum a try, however it
ends. So each start costs somebody a try, or serves a datum: there is no going round for ever.

The claim says that a datum executes some 20 to 70 ms after it began, not before, as it does for a
command that is started: that would cost more than the datum. So who takes the whole worker along within
that time is not charged for a first delivery; from the second one on the ledger says it in advance.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from trunkline.contracts import errors
from trunkline.runtime.clock import Clock
from trunkline.worker_agent import files, process, protocol
from trunkline.worker_agent.core import outcome
from trunkline.worker_agent.door import Door
from trunkline.worker_agent.files import Workspace
from trunkline.worker_agent.link import Child, ShimLostError, SpawnError
from trunkline.worker_agent.usage import Gauge, Usage

SOCKET = "TRUNKLINE_SOCKET"
"""The variable that says where the command asks."""

_END_S = 5.0
"""Seconds for a command to end by itself once it was told that there is no more."""
_PAUSE_MAX_S = 1.0
"""Between starts that come to nothing: each costs a datum a try, and there may be thousands."""


class Wanted(NamedTuple):
    """What is to be done about one datum."""

    command: process.Command
    transform: object
    """What the command is made of: another one is another process."""
    own: Mapping[str, str]
    """The datum's variables, for a process that is started for it."""
    lines: bytes
    """What the command is handed."""
    timeout_s: float | None


class _Process:
    """A command that is up."""

    def __init__(self, child: Child, door: Door, transform: object) -> None:
        self.child, self.door, self.transform = child, door, transform
        self.before = Usage()
        """What it had used when its last datum was finished."""
        self._gauge: Gauge | None = None

    def used(self) -> Usage:
        """Return what it has used since this was asked last."""
        if self._gauge is None:
            self._gauge = Gauge(self.door.leader)
        before, self.before = self.before, self._gauge.read()
        self._gauge.forget_peak()
        cpu_s = max(0.0, self.before.cpu_s - before.cpu_s)
        return self.before._replace(cpu_s=cpu_s)

    def close(self) -> None:
        """Hear it no more, and look at it no more."""
        self.door.close()
        if self._gauge is not None:
            self._gauge.close()


class Warm:
    """One command that stays up, or none; one datum at a time.

    Args:
        runner: Starts it; nobody else uses it.
        space: Where its files are presented.
        clock: To measure by.
        pfs: Where the command finds its files.
        start_s: Seconds until a process must have asked for its first datum; a longer `datum_timeout`
            counts instead.
    """

    def __init__(
        self,
        runner: process.Runner,
        space: Workspace,
        *,
        clock: Clock,
        pfs: str,
        start_s: float,
    ) -> None:
        self._runner, self._space, self._clock = runner, space, clock
        self._pfs, self._start_s = pfs, start_s
        self._up: _Process | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._in_vain = 0
        """Starts in a row that nobody has asked for a datum after."""

    @property
    def up(self) -> bool:
        """Whether a process is there."""
        return self._up is not None and self._up.child.running

    async def run(self, wanted: Wanted, sink: process.Sink) -> process.Run:
        """Have a datum worked on; what the command prints meanwhile goes to the sink.

        Raises:
            ShimLostError: nobody is there to run it, or it cannot be killed.
        """
        began_s = self._clock.monotonic_s()
        try:
            run = await self._handed(wanted, sink)
        except SpawnError as error:
            run = process.Run(process.not_started(wanted.command, error))
        except asyncio.CancelledError:
            with contextlib.suppress(ShimLostError, SpawnError):
                await self._killed()
            raise
        return run._replace(wall_s=self._clock.monotonic_s() - began_s)

    async def end(self) -> None:
        """Tell the command that there is no more, and return once it is gone."""
        if self._up is None:
            return
        self._up.door.end()
        with contextlib.suppress(ShimLostError, SpawnError):
            await self._until(self._up, lambda: False, _END_S)
            await self._killed()

    # --- one datum --------------------------------------------------------------------------------

    async def _handed(self, wanted: Wanted, sink: process.Sink) -> process.Run:
        if self._up is not None and not (self.up and self._up.transform == wanted.transform):
            await self.end()
        known = self._up
        if known is not None:
            self._runner.hear(sink)
        one = known or await self._started(wanted, sink)
        limit_s = max(self._start_s, wanted.timeout_s or 0.0)
        door = one.door
        if not await self._until(one, lambda: door.waiting and door.give(wanted.lines), limit_s):
            if one.child.running:
                return await self._ended(one, outcome.NotReady(limit_s))
            if known is None:
                return await self._ended(one, None)
            await self._killed()  # it went while it waited
            return await self._handed(wanted, sink)
        self._in_vain = 0
        if not await self._until(one, lambda: not door.busy, wanted.timeout_s):
            timed_out = one.child.running and wanted.timeout_s is not None
            late = outcome.TimedOut(wanted.timeout_s or 0.0) if timed_out else None
            return await self._ended(one, late)
        self._runner.unhear()
        ended = outcome.Exited(0) if door.error is None else outcome.Told(door.error)
        used = one.used()
        return process.Run(ended, cpu_s=used.cpu_s, peak_rss_bytes=used.peak_rss_bytes)

    async def _started(self, wanted: Wanted, sink: process.Sink) -> _Process:
        if self._in_vain:
            await asyncio.sleep(min(_PAUSE_MAX_S, outcome.delay_s(self._in_vain)))
        self._in_vain += 1
        door = await self._door()
        self._space.occupied = True
        try:
            own = {**wanted.own, SOCKET: Door.path(f"{self._pfs}/{files.DOOR}")}
            child = self._runner.start(wanted.command, own, sink)
        except BaseException:
            door.close()
            self._space.vacate()
            raise
        child.at_end(self._wake)
        self._up = _Process(child, door, wanted.transform)
        return self._up

    async def _door(self) -> Door:
        while True:
            try:
                return Door(self._space.pfs / files.DOOR, self._wake)
            except errors.UnavailableError:
                await asyncio.sleep(_PAUSE_MAX_S)

    async def _ended(self, one: _Process, ended: outcome.Ended | None) -> process.Run:
        """Return how a run went whose process is gone, or is to be."""
        exited = await self._killed()
        if ended is None:
            ended = outcome.Left(process.told(exited), ready=one.door.asked)
        cpu_s = (exited.user_us + exited.system_us) / 1e6
        return process.Run(
            ended,
            cpu_s=max(0.0, cpu_s - one.before.cpu_s),
            peak_rss_bytes=exited.peak_rss_kib * 1024,
            left=exited.left,
        )

    # --- the process ------------------------------------------------------------------------------

    async def _until(
        self, one: _Process, condition: Callable[[], bool], limit_s: float | None
    ) -> bool:
        """Wait for something that the command does; return whether it has, or False if it is gone."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while one.child.running:
                    if condition():
                        return True
                    self._waiter = asyncio.get_running_loop().create_future()
                    await self._waiter
                one.door.look()  # its last words may be there still
        return condition()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _killed(self) -> protocol.Exited:
        """Return how the process ended, now at the latest; it must be there."""
        assert self._up is not None
        try:
            return await self._runner.kill(self._up.child)
        finally:
            self._up.close()
            self._runner.close(self._up.child)
            self._up = None
            self._space.vacate()
