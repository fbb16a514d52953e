"""The coordinator's part and the reaper of the world of `faulty`: the real cores, and their effects."""

from collections.abc import Callable, Collection
from functools import partial

from tests.support.faulty import Task, World

from trunkline.contracts import attempts
from trunkline.contracts.attempts import Attempt, Ledger
from trunkline.contracts.messages import Held
from trunkline.coordinator.core import job, windows
from trunkline.coordinator.core.job import Fold
from trunkline.scaler.core import losses, reaping
from trunkline.scaler.core.reaping import Reaping


class Coordinator:
    """One process: a fold, and how far it has read the outcomes."""

    def __init__(self, world: World) -> None:
        self.world, self.tailed, self.good = world, 0, True
        record = world.record
        self.fold = Fold.of(record.generations)
        self.tell(job.Opened(windows.end(record.listed_to)))
        self.tell(job.WindowListed(record.listed_to))
        if record.ended:
            self.tell(job.ListingEnded(record.total))

    def list_window(self, *, dies: bool = False) -> None:
        """Publish the next window; a death comes before the record says so."""
        record = self.world.record
        if record.ended:
            return
        end = windows.end(record.listed_to)
        self.tell(job.Opened(end))
        for index in range(record.listed_to, min(end, record.total)):
            self.put(index, 1)
        if dies:
            return
        record.ended = record.total < end
        record.listed_to = min(end, record.total)
        self.tell(job.WindowListed(record.listed_to))
        if record.ended:
            self.tell(job.ListingEnded(record.total))

    def put(self, index: int, round_: int) -> None:
        task = Task(index, self.world.record.generation(index), round_)
        self.world.queue.put(task, self.world.now_s)

    def restart(self, index: int, *, dies: bool) -> None:
        """Ask for a new outcome of a datum; a death leaves the record without a message."""
        record = self.world.record
        generation = record.generation(index) + 1
        record.generations[str(index)] = generation
        if not dies:
            self.tell(job.Restarted(index, generation))
            self.put(index, 1)

    def copy(self, index: int, number: int) -> None:
        """Have a second worker try a datum that executes, unless it was tried before."""
        record, generation = self.world.record, self.world.record.generation(index)
        ledger = self.world.ledgers.get(index, Ledger())
        first = ledger.generation < generation or not ledger.attempts
        if first:
            task = Task(index, generation, record.round, copy=number)
            self.world.queue.put(task, self.world.now_s)

    def tail(self, most: int) -> None:
        """Read on in the outcome stream."""
        for seen in self.world.stream[self.tailed : self.tailed + most]:
            self.tell(job.OutcomeSeen(*seen))
        self.tailed = min(len(self.world.stream), self.tailed + most)

    def look(self) -> None:
        """Look whether messages were lost."""
        queue = self.world.queue
        self.tell(job.Quiet(len(queue.ready_s), len(queue.due_s)))

    def tell(self, event: job.Event) -> None:
        for effect in self.fold.handle(event):
            match effect:
                case job.Complete(good):
                    self.good = good
                    self._complete()
                case job.ReadAgain():
                    for seen in self.world.stream:
                        self.tell(job.OutcomeSeen(*seen))
                    self.tell(job.ReadThrough())
                case job.PutBack(below, _):
                    self.world.record.round += 1
                    self.world.excuses += 1
                    for index in list(self.fold.missing(below)):
                        self.put(index, self.world.record.round)
                case _:
                    raise AssertionError(effect)

    def _complete(self) -> None:
        record = self.world.record
        for index in range(record.total):
            state = self.world.outcomes[index, record.generation(index)]
            assert self.fold.state_of(index) is state


class Reaper:
    """One process; it knows what it has heard, and what claims were stored when it came."""

    def __init__(self, world: World) -> None:
        self.world, self.core = world, Reaping()
        world.mail.clear()
        for name, claim in sorted(world.claims.items()):
            if not claim.closing:
                key = (("p", name), claim, world.now_s)
                self.do(self.core.handle(losses.ClaimHeard(*key)))

    def hear(self, effects_done: int | None = None) -> bool:
        """Hear the oldest news; return whether all was done of it, or only so many effects."""
        if not self.world.mail:
            return True
        event = self.world.mail.pop(0)(self.world.now_s)
        effects = self.core.handle(event)
        self.do(effects[:effects_done])
        return effects_done is None or len(effects) <= effects_done

    def tick(self, listed: Collection[losses.Key]) -> None:
        self.do(self.core.handle(losses.Tick(self.world.now_s, listed)))

    def do(self, effects: list[losses.Effect]) -> None:
        for effect in effects:
            match effect:
                case losses.Nak(_, held):
                    self.world.queue.nak(held.sequence, self.world.now_s)
                case losses.Charge():
                    self._charge(effect)
                    self.world.queue.nak(effect.held.sequence, self.world.now_s)
                case losses.Excuse(_, held):
                    self._change(held, partial(attempts.excused, attempt=self._attempt(effect)))
                case losses.Withdraw(_, held, _, incarnation):
                    self._change(held, partial(attempts.withdrawn, incarnation=incarnation))
                case losses.Close():
                    self._close(effect)
                case losses.LookUp(event):
                    self._look_up(event)
                case losses.Reaped() | losses.Dismiss():
                    pass

    def _close(self, close: losses.Close) -> None:
        if self.core.claim((close.pipeline, close.claim.worker)) is None:
            self.world.claim(reaping.mark(close.claim, self.world.now_ns))

    def _change(self, held: Held, change: Callable[[Ledger], Ledger]) -> None:
        ledger = self.world.ledgers.get(held.index)
        if ledger is not None:
            self.world.ledgers[held.index] = change(ledger)

    def _charge(self, charge: losses.Charge) -> None:
        held = charge.held
        ledger = self.world.ledgers.get(held.index, Ledger())
        if ledger.generation > held.generation:
            return
        if ledger.generation < held.generation:
            ledger = Ledger(generation=held.generation)
        self.world.ledgers[held.index] = attempts.lost(ledger, self._attempt(charge))

    def _attempt(self, lost: losses.Charge | losses.Excuse) -> Attempt:
        return Attempt(
            worker=lost.worker,
            incarnation=lost.incarnation,
            started_ns=lost.held.since_ns,
            ended_ns=self.world.now_ns,
            cause=lost.cause,
            claimed_ns=lost.held.since_ns,
        )

    def _look_up(self, event: losses.Disconnected) -> None:
        claim = self.world.claims.get(event.key[1])
        if claim is not None and not claim.closing and self.core.claim(event.key) is None:
            self.do(self.core.handle(losses.ClaimHeard(event.key, claim, self.world.now_s)))
            self.do(self.core.handle(event))
