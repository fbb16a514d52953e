"""Long stories of one job, told to the pure fold: queues that lose, coordinators that restart."""

import random
from dataclasses import dataclass, field

import pytest

from trunkline.contracts.states import DatumState
from trunkline.coordinator.core import windows
from trunkline.coordinator.core.job import (
    Complete,
    Effect,
    Event,
    Fold,
    ListingEnded,
    Opened,
    OutcomeSeen,
    PutBack,
    Quiet,
    ReadAgain,
    ReadThrough,
    WindowListed,
)


@dataclass
class World:
    """A queue, workers and an outcome stream, as a job sees them."""

    total: int
    chance: random.Random
    loss: float
    """The share of messages that vanish."""
    queue: list[int] = field(default_factory=list)
    stream: list[int] = field(default_factory=list)
    """What is stored, in order; the tail may be behind."""
    stored: set[int] = field(default_factory=set)
    listed_to: int = 0
    ended: bool = False
    rounds: int = 0
    put_back: int = 0
    runs: int = 0

    def put(self, index: int) -> None:
        if self.chance.random() >= self.loss:
            self.queue.append(index)

    def work(self, most: int) -> None:
        """Let workers do some of what is queued, in any order."""
        for _ in range(min(most, len(self.queue))):
            index = self.queue.pop(self.chance.randrange(len(self.queue)))
            self.runs += 1
            if index not in self.stored:
                self.stored.add(index)
                self.stream.append(index)


class Coordinator:
    """Drives a fold as the edges do."""

    def __init__(self, world: World) -> None:
        self.world, self.fold, self.tailed = world, Fold(), 0
        self.complete = False
        self.tell(Opened(windows.end(world.listed_to)))
        self.tell(WindowListed(world.listed_to))
        if world.ended:
            self.tell(ListingEnded(world.total))

    def list_window(self, *, dies: bool = False) -> None:
        world = self.world
        if world.ended:
            return
        end = windows.end(world.listed_to)
        self.tell(Opened(end))
        for index in range(world.listed_to, min(end, world.total)):
            world.put(index)
        if dies:  # before the record moves
            return
        world.ended = world.total < end
        world.listed_to = min(end, world.total)
        self.tell(WindowListed(world.listed_to))
        if world.ended:
            self.tell(ListingEnded(world.total))

    def tail(self, most: int) -> None:
        for index in self.world.stream[self.tailed : self.tailed + most]:
            self.tell(OutcomeSeen(index, 1, DatumState.PROCESSED))
        self.tailed = min(len(self.world.stream), self.tailed + most)

    def look(self) -> None:
        self.tell(Quiet(pending=len(self.world.queue), in_flight=0))

    def tell(self, event: Event) -> None:
        for effect in self.fold.handle(event):
            self.act(effect)

    def act(self, effect: Effect) -> None:
        match effect:
            case Complete(good):
                assert good
                assert self.world.stored == set(range(self.world.total))
                self.complete = True
            case ReadAgain():
                for index in self.world.stream:
                    self.tell(OutcomeSeen(index, 1, DatumState.PROCESSED))
                self.tell(ReadThrough())
            case PutBack(below, count):
                missing = list(self.fold.missing(below))
                assert len(missing) == count
                assert not self.world.stored & set(missing)
                self.world.rounds += 1
                self.world.put_back += count
                for index in missing:
                    self.world.put(index)
            case _:
                raise AssertionError(effect)


def play(world: World, *, restarts: float, steps: int = 20_000) -> World:
    """Let things happen in random order until the job is complete."""
    coordinator = Coordinator(world)
    chance = world.chance
    for _ in range(steps):
        match chance.randrange(5):
            case 0:
                coordinator.list_window()
            case 1 | 2:
                world.work(chance.randrange(200))
            case 3:
                coordinator.tail(chance.randrange(300))
            case _:
                coordinator.look()
        if coordinator.complete:
            return world
        if chance.random() < restarts:
            coordinator.list_window(dies=chance.random() < 0.5)
            coordinator = Coordinator(world)
    raise AssertionError("the job did not end")


@pytest.mark.parametrize("seed", range(30))
def test_a_queue_that_loses_messages_delays_a_job_and_never_stops_it(seed: int) -> None:
    chance = random.Random(seed)
    world = World(total=chance.randrange(1000), chance=chance, loss=0.1)
    play(world, restarts=0.02)
    assert world.stored == set(range(world.total))


@pytest.mark.parametrize("seed", range(30))
def test_nothing_is_put_back_while_nothing_is_lost(seed: int) -> None:
    """However slow the workers, and however far the tail is behind."""
    chance = random.Random(seed)
    world = World(total=chance.randrange(1000), chance=chance, loss=0.0)
    play(world, restarts=0.02)
    assert world.put_back == 0


def test_a_million_datums_take_a_megabyte() -> None:
    fold = Fold()
    fold.handle(Opened(1 << 20))
    fold.handle(ListingEnded(1 << 20))
    for index in range(0, 1 << 20, 97):
        fold.handle(OutcomeSeen(index, 1, DatumState.PROCESSED))
    held = sum(len(value) for value in vars_of(fold) if isinstance(value, bytearray | dict | list))
    assert held < (1 << 20) + 100


def vars_of(fold: Fold) -> list[object]:
    return [getattr(fold, name) for name in fold.__slots__]
