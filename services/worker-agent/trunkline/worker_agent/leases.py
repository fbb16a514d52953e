"""The messages in a worker's hands: how they come, what is done about them, how they are let go.

`core.holding` decides; here its effects are carried out, and what comes of them is told to it. Each
begun message has a `life` of its own, a task.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import assert_never

from trunkline.bus.ports import Delivery
from trunkline.bus.pulls import StandingPull
from trunkline.contracts import attempts, errors, messages
from trunkline.contracts.messages import DatumTask, JobTicket
from trunkline.runtime import tracing
from trunkline.runtime.clock import Clock
from trunkline.worker_agent import life
from trunkline.worker_agent.core import lease
from trunkline.worker_agent.core import outcome as verdicts
from trunkline.worker_agent.core.holding import Holding
from trunkline.worker_agent.core.lease import Key
from trunkline.worker_agent.datum import Bench
from trunkline.worker_agent.presence import Presence
from trunkline.worker_agent.settings import Settings
from trunkline.worker_agent.work import Ack, Datum, Nak, Why, Work

log = logging.getLogger(__name__)

_TICK_S = 0.25

_ELSEWHERE_S = 0.5
"""Seconds until a copy comes again that was given to the worker which has the datum already."""

Pull = Callable[
    [str, Callable[[Delivery], None], Callable[[errors.PermissionViolationError], None]],
    StandingPull,
]
"""(job, on_delivery, on_failure) -> the standing pull of a job."""


class Leases:
    """All that one worker incarnation holds, and the pulls by which more comes."""

    def __init__(
        self,
        config: Settings,
        holding: Holding,
        presence: Presence,
        bench: Bench,
        *,
        clock: Clock,
        pull: Pull,
        ask: Callable[[str], None],
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Hold nothing yet.

        Args:
            config: What the worker is told.
            holding: Decides.
            presence: Tells what is held.
            bench: What datums are worked on with.
            clock: The time.
            pull: Makes the standing pull of a job.
            ask: Asks for the jobs anew, since this one may be gone; empty: none in particular.
            tasks: Of the worker: errors in there end it.
        """
        self._config, self._holding, self._presence = config, holding, presence
        self._bench, self._clock, self._make_pull = bench, clock, pull
        self._ask, self._tasks = ask, tasks
        self._tickets: dict[str, JobTicket] = {}
        self._pulls: dict[str, StandingPull] = {}
        self._works: dict[Key, Work] = {}
        self.executed = 0
        """Datums that were begun to be run here."""
        self._lonely = asyncio.Event()
        self.empty = asyncio.Event()
        """Set when nothing is held and nothing more will be."""
        self._hooks = life.Hooks(
            ran=self._ran,
            stored=self._stored,
            advanced=self._advanced,
            starts=self._starts,
            stopping=lambda: holding.stopped,
            superseded=self._superseded,
            ours=self._ours,
            alone=self._isolated,
            cut=self._cut_short,
            spawn=tasks.create_task,
        )

    def stop(self) -> None:
        """Take nothing more, and give back what is not begun. One way."""
        self._tell(lease.Stopped())

    def give_up(self) -> None:
        """Give back what is begun, too."""
        for work in list(self._works.values()):
            self._cut(work, Why.DRAINED)

    async def stop_pulls(self) -> None:
        """Let nothing more come."""
        for job in list(self._pulls):
            await self._stop_pull(job)

    # --- what comes in ----------------------------------------------------------------------------

    def assigned(self, tickets: Sequence[JobTicket]) -> None:
        """Take these jobs, and no others, as those there are."""
        self._tickets = {**self._tickets, **{each.job: each for each in tickets}}
        self._tell(lease.Assigned(tuple(each.job for each in tickets)))
        for work in list(self._works.values()):
            alone = len(work.datums) == 1
            if (alone or work.turn.is_set()) and self._superseded(work.current):
                self._tell(lease.Superseded(work.key))
        listed = {each.job for each in tickets} | {key.job for key in self._works}
        self._tickets = {job: each for job, each in self._tickets.items() if job in listed}

    def _superseded(self, datum: Datum) -> bool:
        ticket = self._tickets.get(datum.task.job)
        if ticket is None or not ticket.generations:
            return False
        return ticket.generations.get(str(datum.task.index), 1) > datum.task.generation

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
        fresh = fresh and first.beside is None
        known = self._works.get(key)
        if known is not None:
            # its lease has ended in between; this one may lie here since then, and have ended, too
            known.delivery, known.held_s = delivery, 0.0
        elif self._has_other(first):
            self._settle_soon(delivery, Nak(_ELSEWHERE_S))
            self._tell(lease.Declined(job))
            return
        else:
            now_s = self._clock.monotonic_s()
            datums = tuple(
                [
                    Datum(each, ticket, fresh, now_s, tracing.child(ticket.traceparent))
                    for each in tasks
                ]
            )
            if delivery.delivered > 1:
                datums[0].measure(redelivered=delivery.delivered - 1)
            held_s = now_s + self._config.ack_wait_s
            self._works[key] = Work(key, delivery, datums, datums[0], held_s)
        self._tell(lease.Received(key, first.index, first.generation, fresh, delivery.pending))

    def _has_other(self, task: DatumTask) -> bool:
        """Return whether a datum is in hand whose copy this is, or the other way round."""
        return any(
            (task.beside is None) is not (each.current.task.beside is None)
            and (each.key.job, each.current.task.index) == (task.job, task.index)
            for each in self._works.values()
        )

    def reconnected(self) -> None:
        """Let go what was not begun: it is somebody else's by now."""
        self._tell(lease.Reconnected())
        self._ask("")
        for work in self._works.values():
            self._spawn(self._withdraw_charge(work.current), "withdraw-charge")

    async def _withdraw_charge(self, datum: Datum) -> None:
        """Take back what the reaper noted when the connection was lost: this incarnation lives."""

        def change(ledger: attempts.Ledger) -> attempts.Ledger:
            if not verdicts.lost(ledger, self._presence.incarnation):
                return ledger
            return attempts.withdrawn(ledger, self._presence.incarnation)

        try:
            await self._bench.records.change_ledger(datum.task, change)
        except errors.UnavailableError:
            log.warning("charge is not withdrawn", extra=datum.named())

    def _pull_refused(self, error: errors.PermissionViolationError) -> None:
        """End the process: it would wait for datums that cannot come."""

        async def fail() -> None:
            raise error

        self._spawn(fail(), "pull-refused")

    # --- what is decided, and done ----------------------------------------------------------------

    def _tell(self, event: lease.Event) -> None:
        effects = self._holding.handle(event, self._clock.monotonic_s(), self._clock.wall_ns())
        for effect in effects:
            self._carry_out(effect)
        if self._holding.alone:
            self._lonely.set()
        if self._holding.stopped and self._holding.idle:
            self.empty.set()

    def _carry_out(self, effect: lease.Effect) -> None:
        match effect:
            case lease.Tell():
                self._presence.due()
            case lease.Begin(key):
                work = self._works[key]
                work.current.claimed_ns = self._holding.leases[key].begun_ns
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
                    self._cut(self._works[key], self._why(self._works[key]))
                else:
                    self._let_go(key, Ack())
            case _:
                assert_never(effect)

    def _why(self, work: Work) -> Why:
        if work.key.job not in self._holding.jobs:
            return Why.CANCELLED
        return Why.BEATEN if work.beaten else Why.SUPERSEDED

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

    async def _isolated(self, work: Work) -> None:
        self._lonely.clear()
        self._tell(lease.Isolated(work.key))
        if (
            not self._holding.stopped
        ):  # else nothing more comes anyhow, and the rest is on its way out
            await self._lonely.wait()

    def _cut_short(self, work: Work, at_ns: int) -> None:
        task = work.current.task
        held = messages.Held(
            job=task.job,
            sequence=work.key.sequence,
            index=task.index,
            generation=task.generation,
            executing=True,
            since_ns=work.current.started_ns,
        )
        self._presence.cut_short(held, at_ns)

    def _advanced(self, work: Work) -> None:
        if self._works.get(work.key) is work:
            task = work.current.task
            self._tell(lease.Advanced(work.key, task.index, task.generation))
            work.current.claimed_ns = self._holding.leases[work.key].begun_ns

    def _starts(self, work: Work) -> None:
        if self._works.get(work.key) is work:
            self._presence.traceparent = work.current.traceparent
            self._tell(lease.Started(work.key))

    async def _live(self, work: Work) -> None:
        settlement = await life.live(work, self._bench, self._hooks)
        self.executed += sum(each.executed for each in work.datums)
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

    async def renew_forever(self) -> None:
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
            self._ask(work.key.job)
        elif asked_s < work.held_s:  # a lease that had ended may be another one's: this renews that
            work.held_s = asked_s + self._config.ack_wait_s
        with contextlib.suppress(errors.UnavailableError):
            await self._look_if_beaten(work)

    async def _look_if_beaten(self, work: Work) -> None:
        """End what runs if a copy of it elsewhere was faster."""
        datum = work.current
        if not datum.ticket.speculates or work.ran or not work.turn.is_set():
            return
        if await self._bench.records.is_beaten(datum.task, self._presence.incarnation):
            same = self._works.get(work.key) is work and work.current is datum
            if same and not work.ran:
                work.beaten = True
                self._tell(lease.Superseded(work.key))

    async def tick_forever(self) -> None:
        """Let the time pass for what waits."""
        while True:
            await asyncio.sleep(min(_TICK_S, self._config.give_back_s / 4))
            self._tell(lease.Ticked())
