"""A worker: its loops, and how it all ends.

There is one TaskGroup: an error that nobody expected ends the process, and with the connection the
claim; the reaper does the rest.

The ends of a worker:

| what happens | what it does | exit code |
|---|---|---|
| SIGTERM, or the shim got one | gives back the unbegun, finishes what runs within its limit or gives that back, too (cause `drained`), a last claim says `closing`, BYE | 0 |
| a Drain message | the same without the end: it says `draining` with nothing held, and waits | - |
| the shim is gone | gives everything back (cause `user-container-lost`); its claims say what was executing, so that the scaler can find out why; a last one says `closing`. In a pod the process stays, and is another incarnation once there is a shim again | 70 |
| the connection is closed for good | ends | 1 |
| kill -9 | nothing; the shim kills the command, the reaper gives back what the claim says | - |
"""

import asyncio
import logging

from trunkline.bus import closing
from trunkline.bus.ports import Message
from trunkline.contracts import errors, messages, subjects
from trunkline.contracts.messages import Cut, Drain
from trunkline.runtime.clock import Clock
from trunkline.storage import health
from trunkline.storage.store import Store
from trunkline.worker_agent import assembly
from trunkline.worker_agent.assembly import Lines, UserSide
from trunkline.worker_agent.assignments import Assignments
from trunkline.worker_agent.core.holding import Holding
from trunkline.worker_agent.datum import Bench
from trunkline.worker_agent.leases import Leases
from trunkline.worker_agent.presence import Presence
from trunkline.worker_agent.printing import Printer
from trunkline.worker_agent.records import Records
from trunkline.worker_agent.settings import Settings

log = logging.getLogger(__name__)

SLOTS = 1
EXIT_STOPPED = 0
EXIT_SHIM_LOST = 70

_LAST_FLUSH_S = 2.0


class Worker:
    """One worker incarnation."""

    def __init__(
        self,
        config: Settings,
        lines: Lines,
        side: UserSide,
        store: Store,
        *,
        clock: Clock,
        cut: Cut | None = None,
    ) -> None:
        """Put a worker together.

        Args:
            config: What it is told.
            lines: What it has of NATS.
            side: Where commands run.
            store: Of files.
            clock: The time.
            cut: What the container before this one has cut short when it ended.
        """
        self._config, self._ward, self._connection = config, lines.ward, lines.connection
        self._side, self._store = side, store
        self._stop = asyncio.Event()
        self._tasks = asyncio.TaskGroup()
        self._holding = holding = Holding(
            slots=SLOTS,
            prefetch=config.prefetch,
            ahead_s=config.ahead_s,
            give_back_s=config.give_back_s,
            stages=config.idle_s is None,
        )
        self._presence = presence = Presence(
            lines.connection, lines.publisher, lines.ward, config, holding, clock=clock, cut=cut
        )
        self._printer = Printer(
            lines.ingest,
            lines.ward,
            worker=config.worker,
            incarnation=presence.incarnation,
            clock=clock,
            limit_bytes=config.log_limit_bytes,
            flush_s=config.log_flush_s,
        )
        self._executor = assembly.executor(
            config, side, store, self._printer, clock, presence.tell_if_due
        )
        self._leases = Leases(
            config,
            holding,
            presence,
            self._bench(lines, clock),
            clock=clock,
            pull=lines.pull,
            ask=lambda gone: self._assignments.ask(gone=gone),
            tasks=self._tasks,
        )
        self._assignments = Assignments(
            lines.connection,
            lines.ward,
            config.code_hash,
            clock=clock,
            changed=self._leases.assigned,
        )

    def _bench(self, lines: Lines, clock: Clock) -> Bench:
        worker, holding = self._config.worker, self._holding
        return Bench(
            executor=self._executor,
            records=Records(
                lines.connection,
                lines.publisher,
                lines.firsts,
                lines.ward,
                worker=worker,
                clock=clock,
            ),
            printer=self._printer,
            clock=clock,
            worker=worker,
            incarnation=self._presence.incarnation,
            resting=lambda: holding.resting,
        )

    @property
    def dropped_lines(self) -> int:
        """How many lines of commands, and of ours on them, are in no log."""
        return self._printer.dropped_lines

    @property
    def cut(self) -> Cut | None:
        """What the last end of a user's container has cut short."""
        return self._presence.cut

    def stop(self) -> None:
        """Begin to end: called at SIGTERM, and when the shim got one."""
        self._stop.set()

    async def run(self) -> int:
        """Work until stopped, or until the shim or the connection is gone; return the exit code."""
        unregister = self._connection.on_reconnect(self._leases.reconnected)
        try:
            async with self._tasks as tasks:
                ending = tasks.create_task(self._end(), name="end")
                loops = [
                    tasks.create_task(
                        closing.end_with(self._connection, self._config.worker), name="connection"
                    ),
                    tasks.create_task(self._hear_drain(), name="control"),
                    tasks.create_task(
                        self._assignments.follow(self._config.heartbeat_s), name="assignments"
                    ),
                    tasks.create_task(self._presence.tell_forever(), name="claims"),
                    tasks.create_task(self._leases.renew_forever(), name="renewals"),
                    tasks.create_task(self._leases.tick_forever(), name="ticks"),
                    tasks.create_task(self._printer.send_forever(), name="logs"),
                    tasks.create_task(health.watch(self._store, owner=False), name="store"),
                ]
                code = await ending
                for each in loops:
                    each.cancel()
        finally:
            unregister()
        return code

    # --- the end ----------------------------------------------------------------------------------

    async def _end(self) -> int:
        """Wait for the reason to end, and do all that comes before."""
        lost = self._tasks.create_task(self._side.link.lost.wait(), name="shim-lost")
        told = self._tasks.create_task(self._stop.wait(), name="stop")
        await asyncio.wait([lost, told], return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping", extra={"worker": self._config.worker, "shim": not lost.done()})
        self._leases.stop()
        await self._until_idle()
        await self._say_goodbye()
        await self._executor.end()
        self._side.link.bye()
        await self._side.space.settle()
        log.info(
            "stopped", extra={"worker": self._config.worker, "executed": self._leases.executed}
        )
        code = EXIT_SHIM_LOST if lost.done() and not told.done() else EXIT_STOPPED
        lost.cancel()
        told.cancel()
        return code

    async def _until_idle(self) -> None:
        """Wait until nothing is held; after the limit, give back what still is."""
        try:
            async with asyncio.timeout(self._config.drain_limit_s):
                await self._leases.empty.wait()
        except TimeoutError:
            self._leases.give_up()
            await self._leases.empty.wait()

    async def _say_goodbye(self) -> None:
        self._presence.closing = True
        await self._leases.stop_pulls()
        try:
            async with asyncio.timeout(_LAST_FLUSH_S):
                await self._printer.flush()
                await self._presence.tell()
                await self._connection.flush()
        except (TimeoutError, errors.UnavailableError):
            log.warning("the last claim is not sent", extra={"worker": self._config.worker})

    # --- what comes in ----------------------------------------------------------------------------

    async def _hear_drain(self) -> None:
        async def heard(message: Message) -> None:
            drain = messages.decode(message.subject, message.data, Drain)
            if drain.incarnation not in ("", self._presence.incarnation):
                return
            if not self._holding.stopped:
                log.info("draining", extra={"worker": self._config.worker, "reason": drain.reason})
            self._leases.stop()
            self._presence.due()

        subject = subjects.control(self._ward, self._config.worker)
        await self._connection.serve(subject, heard)
