"""The worker's loops: jobs in, datums in, claims out; each datum is a task; and how it all ends.

`core.lease` decides; here its effects are carried out, and what comes of them is told to it. There
is one TaskGroup: an error that nobody expected ends the process, and with the connection the claim;
the reaper does the rest.

The ends of a worker:

| what happens | what it does | exit code |
|---|---|---|
| SIGTERM, or the shim got one | gives back the unbegun, finishes what runs within its limit or gives that back, too (cause `drained`), a last claim says `closing`, BYE | 0 |
| a Drain message | the same without the end: it says `draining` with nothing held, and waits | - |
| the shim is gone | gives everything back (cause `user-container-lost`) and ends, or stays drained | 70 |
| the connection is closed for good | ends | 1 |
| kill -9 | nothing; the shim kills the command, the reaper gives back what the claim says | - |
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import assert_never

from trunkline.bus.ports import Connection, Delivery, FirstPublisher, Message, Publisher
from trunkline.bus.pulls import StandingPull
from trunkline.contracts import attempts, errors, messages, subjects
from trunkline.contracts.messages import Drain, JobTicket
from trunkline.contracts.wards import Ward
from trunkline.runtime.clock import Clock
from trunkline.storage.store import Store
from trunkline.worker_agent import life
from trunkline.worker_agent.assignments import Assignments
from trunkline.worker_agent.commands import Commands
from trunkline.worker_agent.core import lease
from trunkline.worker_agent.core import outcome as verdicts
from trunkline.worker_agent.core.lease import Holding, Key
from trunkline.worker_agent.datum import Bench
from trunkline.worker_agent.execution import Executor
from trunkline.worker_agent.files import Workspace
from trunkline.worker_agent.idle import Idle
from trunkline.worker_agent.link import Link
from trunkline.worker_agent.presence import Presence
from trunkline.worker_agent.printing import Printer
from trunkline.worker_agent.protocol import Hello, HelloFlag
from trunkline.worker_agent.records import Records
from trunkline.worker_agent.settings import Settings
from trunkline.worker_agent.work import Ack, Datum, Nak, Why, Work

log = logging.getLogger(__name__)

SLOTS = 1
EXIT_STOPPED = 0
EXIT_SHIM_LOST = 70

_TICK_S = 0.25
_LAST_FLUSH_S = 2.0


class ClosedError(errors.TrunklineError):
    """The connection to NATS is closed for good."""

    def __init__(self) -> None:
        super().__init__("the connection to NATS is closed for good; the process ends")


Pull = Callable[
    [str, Callable[[Delivery], None], Callable[[errors.PermissionViolationError], None]],
    StandingPull,
]
"""(job, on_delivery, on_failure) -> the standing pull of a job."""


class Worker:
    """One worker incarnation."""

    def __init__(
        self,
        config: Settings,
        ward: Ward,
        connection: Connection,
        publisher: Publisher,
        firsts: FirstPublisher,
        store: Store,
        space: Workspace,
        link: Link,
        hello: Hello,
        *,
        clock: Clock,
        inherited: Mapping[str, str],
        pull: Pull,
    ) -> None:
        """Put a worker together.

        Args:
            config: What it is told.
            ward: What its subjects begin with.
            connection: In the account DATA.
            publisher: On that connection.
            firsts: On that connection, for outcomes.
            store: Of files.
            space: Its directories, prepared.
            link: To the shim.
            hello: What the shim has said of itself.
            clock: The time.
            inherited: See `environment.base`.
            pull: Makes the standing pull of a job.
        """
        self._config, self._ward = config, ward
        self._connection = connection
        self._link = link
        self._clock = clock
        self._make_pull = pull
        self._space = space
        self._holding = Holding(
            slots=SLOTS,
            prefetch=config.prefetch,
            ahead_s=config.ahead_s,
            give_back_s=config.give_back_s,
            stages=config.idle_s is None,
        )
        self._presence = Presence(connection, ward, config, self._holding, clock=clock)
        self._tickets: dict[str, JobTicket] = {}
        self._pulls: dict[str, StandingPull] = {}
        self._works: dict[Key, Work] = {}
        self._executed = 0
        self._stop = asyncio.Event()
        self._idle = asyncio.Event()
        self._tasks = asyncio.TaskGroup()
        self._assignments = Assignments(
            connection, ward, config.code_hash, clock=clock, changed=self._assigned
        )
        self._printer = Printer(
            connection,
            ward,
            worker=config.worker,
            clock=clock,
            limit_bytes=config.log_limit_bytes,
            flush_s=config.log_flush_s,
        )
        self._records = Records(
            connection, publisher, firsts, ward, worker=config.worker, clock=clock
        )
        self._bench = Bench(
            executor=self._executor(store, hello, inherited),
            records=self._records,
            printer=self._printer,
            clock=clock,
            worker=config.worker,
            incarnation=self._presence.incarnation,
            resting=lambda: self._holding.resting,
        )
        self._hooks = life.Hooks(
            ran=self._ran,
            stored=self._stored,
            advanced=self._advanced,
            stopping=lambda: self._holding.stopped,
            ours=self._ours,
            spawn=self._tasks.create_task,
        )

    def _executor(self, store: Store, hello: Hello, inherited: Mapping[str, str]) -> Executor:
        config = self._config
        if config.idle_s is not None:
            return Idle(self._clock, config.idle_s)
        mounted = HelloFlag.PFS_MOUNTED in hello.flags
        return Commands(
            store=store,
            space=self._space,
            link=self._link,
            printer=self._printer,
            clock=self._clock,
            worker=config.worker,
            pfs="/pfs" if mounted else str(self._space.pfs),
            inherited=inherited,
            foreign=bool(config.shim_socket),
            begun=self._presence.tell_if_due,
        )

    def stop(self) -> None:
        """Begin to end: called at SIGTERM, and when the shim got one."""
        self._stop.set()

    async def run(self) -> int:
        """Work until stopped, or until the shim or the connection is gone; return the exit code."""
        unregister = self._connection.on_reconnect(self._reconnected)
        try:
            async with self._tasks as tasks:
                ending = tasks.create_task(self._end(), name="end")
                loops = [
                    tasks.create_task(self._fail_when_closed(), name="connection"),
                    tasks.create_task(self._hear_drain(), name="control"),
                    tasks.create_task(
                        self._assignments.follow(self._config.heartbeat_s), name="assignments"
                    ),
                    tasks.create_task(self._presence.tell_forever(), name="claims"),
                    tasks.create_task(self._renew_forever(), name="renewals"),
                    tasks.create_task(self._tick_forever(), name="ticks"),
                    tasks.create_task(self._printer.send_forever(), name="logs"),
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
        lost = self._tasks.create_task(self._link.lost.wait(), name="shim-lost")
        told = self._tasks.create_task(self._stop.wait(), name="stop")
        await asyncio.wait([lost, told], return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping", extra={"worker": self._config.worker, "shim": not lost.done()})
        self._tell(lease.Stopped())
        if lost.done() and not self._config.shim_loss_exits:
            await self._stop.wait()
        await self._until_idle()
        await self._say_goodbye()
        self._link.bye()
        await self._space.settle()
        log.info("stopped", extra={"worker": self._config.worker, "executed": self._executed})
        code = EXIT_SHIM_LOST if lost.done() and not told.done() else EXIT_STOPPED
        lost.cancel()
        told.cancel()
        return code

    async def _until_idle(self) -> None:
        """Wait until nothing is held; after the limit, give back what still is."""
        try:
            async with asyncio.timeout(self._config.drain_limit_s):
                await self._idle.wait()
        except TimeoutError:
            for work in list(self._works.values()):
                self._cut(work, Why.DRAINED)
            await self._idle.wait()

    async def _say_goodbye(self) -> None:
        self._presence.closing = True
        for job in list(self._pulls):
            await self._stop_pull(job)
        try:
            async with asyncio.timeout(_LAST_FLUSH_S):
                await self._printer.flush()
                await self._presence.tell()
                await self._connection.flush()
        except (TimeoutError, errors.UnavailableError):
            log.warning("the last claim is not sent", extra={"worker": self._config.worker})

    def _pull_refused(self, error: errors.PermissionViolationError) -> None:
        """End the process: it would wait for datums that cannot come."""

        async def fail() -> None:
            raise error

        self._spawn(fail(), "pull-refused")

    async def _fail_when_closed(self) -> None:
        await self._connection.closed()
        raise ClosedError

    # --- what comes in ----------------------------------------------------------------------------

    def _assigned(self, tickets: Sequence[JobTicket]) -> None:
        self._tickets = {**self._tickets, **{each.job: each for each in tickets}}
        self._tell(lease.Assigned(tuple(each.job for each in tickets)))
        listed = {each.job for each in tickets} | {key.job for key in self._works}
        self._tickets = {job: each for job, each in self._tickets.items() if job in listed}

    def _delivered(self, job: str, delivery: Delivery) -> None:
        key = Key(job, delivery.sequence)
        try:
            tasks = messages.decode_datums(delivery.subject, delivery.data)
        except errors.MalformedMessageError as error:
            # It can name no outcome, so nothing can be told of it; the coordinator misses the
            # datum and puts it back.
            log.error("datum is not readable", extra={"job": job, "reason": str(error)})  # noqa: TRY400
            self._settle_soon(delivery, Ack())
            return
        ticket = self._tickets.get(job)
        if ticket is None:  # the job is gone
            self._settle_soon(delivery, Ack())
            return
        first = tasks[0]
        fresh = delivery.delivered <= 1 and first.round == 1 and first.generation == 1
        known = self._works.get(key)
        if known is not None:
            # its lease has ended in between; this one may lie here since then, and have ended, too
            known.delivery, known.held_s = delivery, 0.0
        else:
            now_s = self._clock.monotonic_s()
            datums = tuple([Datum(each, ticket, fresh, now_s) for each in tasks])
            held_s = now_s + self._config.ack_wait_s
            self._works[key] = Work(key, delivery, datums, datums[0], held_s)
        self._tell(lease.Received(key, first.index, first.generation, fresh, delivery.pending))

    async def _hear_drain(self) -> None:
        async def heard(message: Message) -> None:
            drain = messages.decode(message.subject, message.data, Drain)
            if drain.incarnation not in ("", self._presence.incarnation):
                return
            if not self._holding.stopped:
                log.info("draining", extra={"worker": self._config.worker, "reason": drain.reason})
            self._tell(lease.Stopped())
            self._presence.due()

        subject = subjects.control(self._ward, self._config.worker)
        await self._connection.serve(subject, heard)

    def _reconnected(self) -> None:
        self._tell(lease.Reconnected())
        self._assignments.ask()
        for work in self._works.values():
            self._spawn(self._withdraw_charge(work.current), "withdraw-charge")

    async def _withdraw_charge(self, datum: Datum) -> None:
        """Take back what the reaper noted when the connection was lost: this incarnation lives."""

        def change(ledger: attempts.Ledger) -> attempts.Ledger:
            if not verdicts.lost(ledger, self._presence.incarnation):
                return ledger
            return attempts.withdrawn(ledger, self._presence.incarnation)

        try:
            await self._records.change_ledger(datum.task, change)
        except errors.UnavailableError:
            log.warning("charge is not withdrawn", extra=datum.named())

    # --- what is decided, and done ----------------------------------------------------------------

    def _tell(self, event: lease.Event) -> None:
        effects = self._holding.handle(event, self._clock.monotonic_s(), self._clock.wall_ns())
        for effect in effects:
            self._carry_out(effect)
        if self._holding.stopped and self._holding.idle:
            self._idle.set()

    def _carry_out(self, effect: lease.Effect) -> None:
        match effect:
            case lease.Tell():
                self._presence.due()
            case lease.Begin(key):
                work = self._works[key]
                work.turn.set()
                self._begin(work)
            case lease.Want(job, count):
                self._want(job, count)
            case lease.Stage(key):
                self._begin(self._works[key])
            case lease.GiveBack(key):
                self._let_go(key, Nak())
            case lease.Forget(key):
                self._let_go(key, None)
            case lease.Cancel(key, begun):
                if begun:
                    self._cut(self._works[key], Why.CANCELLED)
                else:
                    self._let_go(key, Ack())
            case _:
                assert_never(effect)

    def _want(self, job: str, count: int) -> None:
        if self._holding.stopped or job not in self._holding.jobs:
            self._spawn(self._stop_pull(job), f"stop-{job}")
            return
        pull = self._pulls.get(job)
        if pull is None:
            pull = self._make_pull(
                job, lambda delivery: self._delivered(job, delivery), self._pull_refused
            )
            self._pulls[job] = pull
            pull.start()
        pull.want(count)
        self._presence.pulling()

    async def _stop_pull(self, job: str) -> None:
        pull = self._pulls.pop(job, None)
        if pull is not None:
            for delivery in await pull.stop():
                await self._settle(delivery, Nak() if job in self._holding.jobs else Ack())

    def _begin(self, work: Work) -> None:
        if work.life is None:
            work.life = self._tasks.create_task(self._live(work), name="life")

    def _ran(self, work: Work, stored: bool) -> None:
        if self._works.get(work.key) is work:  # or it was let go, and may have come again
            self._tell(lease.Ran(work.key, stored))

    def _stored(self, work: Work) -> None:
        if self._works.get(work.key) is work:
            self._tell(lease.Stored(work.key))

    def _ours(self, work: Work) -> bool:
        return work.delivery.current and self._clock.monotonic_s() < work.held_s

    def _advanced(self, work: Work) -> None:
        if self._works.get(work.key) is work:
            task = work.current.task
            self._tell(lease.Advanced(work.key, task.index, task.generation))

    async def _live(self, work: Work) -> None:
        settlement = await life.live(work, self._bench, self._hooks)
        self._executed += sum(each.executed for each in work.datums)
        if self._works.get(work.key) is work:
            del self._works[work.key]
            if settlement is not None:
                await self._settle(work.delivery, settlement)
            self._tell(lease.Settled(work.key))
        for each in work.datums:
            self._bench.executor.discard(each)

    def _let_go(self, key: Key, settlement: Ack | Nak | None) -> None:
        """Settle a datum that was not begun."""
        work = self._works.pop(key)
        if work.life is not None:
            self._cut(work, Why.DROPPED)
        if settlement is not None:
            self._settle_soon(work.delivery, settlement)

    def _cut(self, work: Work, why: Why) -> None:
        if work.why is None and work.life is not None:
            work.why = why
            work.life.cancel()

    def _settle_soon(self, delivery: Delivery, settlement: Ack | Nak) -> None:
        self._spawn(self._settle(delivery, settlement), "settle")

    async def _settle(self, delivery: Delivery, settlement: Ack | Nak) -> None:
        match settlement:
            case Ack():
                await delivery.ack()
            case Nak(delay_s):
                await delivery.nak(delay_s)
            case _:
                assert_never(settlement)

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        self._tasks.create_task(work, name=name)

    # --- loops ------------------------------------------------------------------------------------

    async def _renew_forever(self) -> None:
        """Extend the leases; a consumer that does not take it means that the job may be gone."""
        while True:
            await asyncio.sleep(self._config.heartbeat_s)
            works = list(self._works.values())
            if works:
                async with asyncio.TaskGroup() as tasks:
                    for work in works:
                        tasks.create_task(self._renew(work), name="renew")

    async def _renew(self, work: Work) -> None:
        asked_s = self._clock.monotonic_s()
        try:
            renewed = await work.delivery.renew()
        except errors.UnavailableError:
            return
        if not renewed:
            self._assignments.ask(gone=work.key.job)
        elif asked_s < work.held_s:  # a lease that had ended may be another one's: this renews that
            work.held_s = asked_s + self._config.ack_wait_s

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(min(_TICK_S, self._config.give_back_s / 4))
            self._tell(lease.Ticked())
