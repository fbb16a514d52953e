"""A worker of the world of `faulty`: the real `Holding` and the real verdicts, a step at a time."""

import enum
from dataclasses import dataclass

from tests.support.faulty import ACK_WAIT_S, JOB, PIPELINE, TRIES, Delivery, Task, World, is_bad

from trunkline.contracts import attempts
from trunkline.contracts.attempts import Attempt, Ledger
from trunkline.contracts.messages import Claim
from trunkline.contracts.states import Cause, DatumState
from trunkline.scaler.core import losses
from trunkline.worker_agent.core import lease
from trunkline.worker_agent.core import outcome as verdicts
from trunkline.worker_agent.core.holding import Holding
from trunkline.worker_agent.core.lease import Key

BAD = verdicts.Bad(Cause.USER_EXIT, "exit code 1", 1)
ELSEWHERE_S = 0.5
"""After which a copy comes again that was given to who has the datum."""

SERVER_WAITS_S = 16.0
"""After which the server drops a connection that answers no ping."""


class At(enum.Enum):
    """How far a datum is."""

    WAITING = enum.auto()
    BEGUN = enum.auto()
    RECORDED = enum.auto()
    RUNNING = enum.auto()
    STORING = enum.auto()
    REPORTING = enum.auto()
    FAILING = enum.auto()
    REPORTED = enum.auto()


@dataclass
class Work:
    key: Key
    task: Task
    fresh: bool
    epoch: int
    held_s: float
    at: At = At.WAITING
    cut: bool = False
    started_ns: int = 0
    claimed_ns: int = 0

    @property
    def datum(self) -> tuple[int, int]:
        return self.task.index, self.task.generation


class Worker:
    """One incarnation."""

    def __init__(self, world: World, name: str, number: int) -> None:
        self.world, self.name, self.incarnation = world, name, f"{name}.{number}"
        self.key, self.number, self.told = (PIPELINE, name), number, 0
        self.holding = Holding(slots=1, prefetch=4, ahead_s=0.05, give_back_s=2.0)
        self.works: dict[Key, Work] = {}
        self.wanted = 0
        self.inbox: list[Delivery] = []
        self.epoch = 0
        self.connected = self.alive = True
        self.frozen_s: float | None = None
        """Since when it is stopped."""
        self._connect()
        self.assigned()

    @property
    def awake(self) -> bool:
        return self.alive and self.frozen_s is None

    # --- what comes ------------------------------------------------------------------------------

    def deliver(self, pick: int) -> None:
        if self.alive and self.connected and self.wanted > len(self.inbox):
            delivery = self.world.queue.take(pick, self.world.now_s)
            if delivery is not None:
                self.inbox.append(delivery)
        self.read()

    def read(self) -> None:
        while self.awake and self.inbox:
            self._received(self.inbox.pop(0))

    def _received(self, delivery: Delivery) -> None:
        task, key = delivery.task, Key(JOB, delivery.sequence)
        fresh = delivery.delivered <= 1 and task.round == task.generation == 1 and not task.copy
        self.wanted = max(0, self.wanted - 1)
        known = self.works.get(key)
        if known is not None:
            known.epoch, known.held_s = self.epoch, 0.0
        elif self._has_other(task):
            self.world.queue.nak(delivery.sequence, self.world.now_s + ELSEWHERE_S)
            self.tell(lease.Declined(JOB))
            return
        else:
            held_s = self.world.now_s + ACK_WAIT_S
            self.works[key] = Work(key, task, fresh, self.epoch, held_s)
        pending = len(self.world.queue.ready_s)
        self.tell(lease.Received(key, task.index, task.generation, fresh, pending))

    def _has_other(self, task: Task) -> bool:
        """Whether a datum is in hand whose copy this is, or the other way round."""
        return any(
            work.task.index == task.index and bool(work.task.copy) is not bool(task.copy)
            for work in self.works.values()
        )

    def assigned(self) -> None:
        """Hear of the job anew, and of what was restarted."""
        self.generations = dict(self.world.record.generations)
        self.tell(lease.Assigned((JOB,)))
        for work in list(self.works.values()):
            if self._superseded(work):
                self.tell(lease.Superseded(work.key))

    def pass_time(self) -> None:
        if self.frozen_s is not None:
            if self.connected and self.world.now_s - self.frozen_s > SERVER_WAITS_S:
                self.cut()
            return
        for work in self.works.values():
            if self._current(work):
                self.world.queue.renew(work.key.sequence, self.world.now_s)
                if self.world.now_s < work.held_s:
                    work.held_s = self.world.now_s + ACK_WAIT_S
        if self.connected:
            self._look_if_beaten()
        self.tell(lease.Ticked())

    def _look_if_beaten(self) -> None:
        for work in list(self.works.values()):
            if work.at is At.RUNNING and not work.cut and work.datum in self.world.outcomes:
                self.tell(lease.Superseded(work.key))

    # --- faults ----------------------------------------------------------------------------------

    def cut(self) -> None:
        self.connected = False
        self.epoch += 1
        self.inbox.clear()
        self._count_begun()
        self._gone()

    def reconnect(self) -> None:
        self.connected = True
        self._connect()
        self.tell(lease.Reconnected())
        for work in self.works.values():
            ledger = self.world.ledgers.get(work.task.index)
            if ledger is not None and verdicts.lost(ledger, self.incarnation):
                self.world.ledgers[work.task.index] = attempts.withdrawn(ledger, self.incarnation)

    def freeze(self) -> None:
        self.frozen_s = self.world.now_s
        self._count_begun()

    def thaw(self) -> None:
        self.frozen_s = None
        self.read()

    def die(self, *, told: bool = True) -> None:
        """End as of kill -9; the server and the cluster tell, or it has to be found out."""
        self._count_begun()
        self.alive = False
        if told:
            self._gone()
            key, instance = self.key, self.incarnation
            self.world.mail.append(
                lambda now_s: losses.ProcessGone(key, "killed", now_s, instance=instance)
            )
        self.connected = False

    # --- what it does ----------------------------------------------------------------------------

    def busy(self) -> list[Work]:
        """Return what a step can be made of."""
        return [each for each in self.works.values() if each.at is not At.WAITING]

    def copies(self) -> list[Work]:
        return [each for each in self.busy() if each.task.copy]

    def slow(self) -> list[Work]:
        """Return what may be copied."""
        return [each for each in self.busy() if each.at is At.RUNNING and not each.task.copy]

    def step(self, work: Work) -> None:
        """Do what is next; everything but the command itself needs the server."""
        if work.cut:
            self._settle(work, None)
        elif work.at is At.RUNNING:
            self._ran(work)
        elif work.at is At.STORING:
            work.at = At.REPORTING
            self.tell(lease.Stored(work.key))
        elif self.connected:
            self._ask(work)

    def _ask(self, work: Work) -> None:
        world, (index, generation) = self.world, work.datum
        match work.at:
            case At.BEGUN:
                self._look_back(work)
            case At.RECORDED:
                work.at = At.RUNNING
                self.tell(lease.Started(work.key))
                (world.copies_run if work.task.copy else world.runs)[index, generation] += 1
            case At.REPORTING:
                world.report(index, generation, DatumState.PROCESSED, self._history(work))
                work.at = At.REPORTED
            case At.FAILING:
                self._failed(work)
            case At.REPORTED:
                self._settle(work, None)
            case _:
                raise AssertionError(work.at)

    def _history(self, work: Work) -> tuple[Attempt, ...]:
        """Return the attempts as an outcome of this one shows them, if it is the first."""
        ledger = attempts.superseded(self._ledger(work), self.incarnation, self.world.now_ns)
        if not ledger.attempts:
            return ()
        return attempts.ended(ledger, self._attempt(work, Cause.DONE)).attempts

    def _attempt(self, work: Work, cause: Cause) -> Attempt:
        return Attempt(
            worker=self.name,
            incarnation=self.incarnation,
            started_ns=work.started_ns,
            ended_ns=self.world.now_ns,
            cause=cause,
            claimed_ns=work.claimed_ns,
        )

    def _look_back(self, work: Work) -> None:
        world, (index, generation) = self.world, work.datum
        if self._superseded(work):
            self._end(work, None)
            return
        work.started_ns = world.now_ns
        if work.fresh:
            work.at = At.RECORDED
            return
        if (index, generation) in world.outcomes:
            self._end(work, None)
            return
        ledger = self._ledger(work)
        match self._verdict(work, ledger):
            case attempts.Run():
                begun = Attempt(
                    worker=self.name,
                    incarnation=self.incarnation,
                    started_ns=work.started_ns,
                    copy=bool(work.task.copy),
                    claimed_ns=work.claimed_ns,
                )
                world.ledgers[index] = attempts.started(ledger, begun)
                work.at = At.RECORDED
            case attempts.Leave():
                self._end(work, None)
            case attempts.PassOn(delay_s):
                world.ledgers[index] = attempts.passed(ledger)
                self._end(work, delay_s)
            case attempts.Wait(delay_s, noted):
                if noted:
                    world.ledgers[index] = attempts.waited(ledger)
                self._end(work, delay_s)
            case attempts.GiveUp(state, _):
                world.report(index, generation, state)
                self._end(work, None)

    def _verdict(self, work: Work, ledger: Ledger) -> attempts.Verdict | attempts.Leave:
        if work.task.copy:
            return attempts.verdict_of_copy(ledger)
        return attempts.verdict(ledger, TRIES, self.world.now_ns, self.incarnation)

    def _superseded(self, work: Work) -> bool:
        return self.generations.get(str(work.task.index), 1) > work.task.generation

    def _ran(self, work: Work) -> None:
        work.at = At.FAILING if is_bad(work.task.index) else At.STORING
        self.tell(lease.Ran(work.key))

    def _failed(self, work: Work) -> None:
        world, (index, generation) = self.world, work.datum
        attempt = self._attempt(work, BAD.cause)
        ledger = world.ledgers[index] = verdicts.recorded(self._ledger(work), attempt)
        if work.task.copy:
            self._settle(work, None)
            return
        world.failures[index, generation] += 1
        match verdicts.after(ledger, BAD, TRIES, world.now_ns):
            case verdicts.TryAgain(delay_s):
                self._settle(work, delay_s)
            case verdicts.Fail(state, _):
                world.report(index, generation, state)
                work.at = At.REPORTED

    def _ledger(self, work: Work) -> Ledger:
        return verdicts.of_generation(self.world.ledgers.get(work.task.index), work.task.generation)

    def _end(self, work: Work, delay_s: float | None) -> None:
        self.tell(lease.Ran(work.key))
        self._settle(work, delay_s)

    def _settle(self, work: Work, delay_s: float | None) -> None:
        """Ack it, or give it back after a delay, as far as the server hears it."""
        if self.works.pop(work.key, None) is None:
            return
        if delay_s is None and self.connected:
            self.world.queue.ack(work.key.sequence)
        elif delay_s is not None and self._current(work):
            self.world.queue.nak(work.key.sequence, self.world.now_s + delay_s)
        self.tell(lease.Settled(work.key))

    def tell(self, event: lease.Event) -> None:
        for effect in self.holding.handle(event, self.world.now_s, self.world.now_ns):
            match effect:
                case lease.Tell():
                    self._claim()
                case lease.Want(_, count):
                    self.wanted = count
                case lease.Begin(key):
                    self.works[key].at = At.BEGUN
                    self.works[key].claimed_ns = self.holding.leases[key].begun_ns
                case lease.Stage():
                    pass
                case lease.GiveBack(key):
                    work = self.works.pop(key)
                    if self._current(work):
                        self.world.queue.nak(key.sequence, self.world.now_s)
                case lease.Forget(key):
                    del self.works[key]
                case lease.Cancel(key, begun):
                    self._cancel(self.works[key], begun)

    def _cancel(self, work: Work, begun: bool) -> None:
        if begun:
            work.cut = True
            return
        del self.works[work.key]
        if self.connected:
            self.world.queue.ack(work.key.sequence)

    def _claim(self) -> None:
        if not self.connected:
            return
        self.told += 1
        self.world.claim(
            Claim(
                worker=self.name,
                incarnation=self.incarnation,
                code_hash="c",
                slots=1,
                held=self.holding.held(),
                at_ns=self.world.now_ns,
                order=self.number,
                number=self.told,
                connection=f"s/{self.incarnation}.{self.epoch}",
                instance=self.incarnation,
            )
        )

    def _current(self, work: Work) -> bool:
        return self.connected and work.epoch == self.epoch

    def holds(self, work: Work) -> bool:
        """Whether it may take the message for its own."""
        return self.awake and self._current(work) and self.world.now_s < work.held_s

    def _connect(self) -> None:
        key, connection = self.key, f"s/{self.incarnation}.{self.epoch}"
        self.world.mail.append(lambda now_s: losses.Connected(key, connection, now_s))

    def _gone(self) -> None:
        epoch = self.epoch - (0 if self.connected else 1)
        key, connection = self.key, f"s/{self.incarnation}.{epoch}"
        self.world.mail.append(
            lambda now_s: losses.Disconnected(key, connection, "Client Closed", now_s)
        )

    def _count_begun(self) -> None:
        for work in self.works.values():
            if work.at is not At.WAITING and not work.task.copy:
                self.world.incidents[work.datum] += 1
