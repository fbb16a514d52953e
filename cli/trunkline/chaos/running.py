"""A schedule, applied to one installation until it is stopped.

Each fault waits for its time, chooses its victim among those that there are then, and says what it did.
What lasts is a task of its own, so that faults fall together as the schedule says; the end of one leaves
the others what they do: who is paused twice goes on when both have ended. When it is stopped, all that is
paused goes on. If the runner itself is killed, what it has paused stays so: the next `trunkline up`
ends it.
"""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from trunkline.chaos import leaders, victims
from trunkline.chaos.core import schedule
from trunkline.chaos.core.schedule import Fault, Habit, Kind, Target
from trunkline.chaos.front import Front
from trunkline.chaos.inside import Control
from trunkline.local.home import Home


class Runner:
    """See the module.

    Args:
        home: The installation's.
        seed: Of the schedule.
        habits: What breaks.
        tell: Takes a line for each fault.
        front: What stands in front of NATS, if anything does.
        control: What the services look at, if they do.
    """

    def __init__(
        self,
        home: Home,
        seed: int,
        habits: Sequence[Habit],
        tell: Callable[[str], None],
        *,
        front: Front | None = None,
        control: Control | None = None,
    ) -> None:
        self._home, self._seed, self._habits, self._tell = home, seed, habits, tell
        self._front, self._control = front, control
        self._paused = Counter[tuple[int, str]]()
        self.done = Counter[tuple[Kind, Target]]()
        """How often what was done to whom."""

    async def run(self) -> None:
        """Break things for ever."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as tasks:
            for fault in schedule.faults(self._seed, self._habits):
                await asyncio.sleep(began + fault.at_s - loop.time())
                tasks.create_task(self._do(fault), name=f"{fault.kind} {fault.target}")

    async def run_for(self, seconds: float) -> None:
        """Break things for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.run()

    async def _do(self, fault: Fault) -> None:
        async with self._broken(fault) as who:
            lasts = f" for {fault.lasts_s:.1f} s" if fault.lasts_s else ""
            if not who:
                self._tell(f"{fault.at_s:7.2f} s  {fault.kind} {fault.target}: there is none now")
                return
            self.done[fault.kind, fault.target] += 1
            self._tell(f"{fault.at_s:7.2f} s  {fault.kind} {who}{lasts}")
            await asyncio.sleep(fault.lasts_s)

    @contextlib.asynccontextmanager
    async def _broken(self, fault: Fault) -> AsyncIterator[str]:
        """Have something broken inside; yield who it is, or nothing if there is nobody."""
        match fault.target:
            case Target.NETWORK:
                with _disturbed(self._front, fault) as who:
                    yield who
            case Target.STORE:
                with _failing(self._control, fault) as who:
                    yield who
            case _ if fault.kind is Kind.JUMP:
                with _jumped(self._control, fault) as who:
                    yield who
            case _:
                async with self._hit(fault) as who:
                    yield who

    @contextlib.asynccontextmanager
    async def _hit(self, fault: Fault) -> AsyncIterator[str]:
        leader = await leaders.of(self._home, fault.target)
        victim = await victims.choose(self._home, fault.target, fault.chance, leader)
        if victim is None:
            yield ""
            return
        with victim:
            who = f"{victim.name} ({victim.pid})"
            if fault.kind is Kind.PAUSE:
                with self._pausing(victim) as there:
                    yield who if there else ""
            else:
                yield who if victim.send(signal.SIGKILL) else ""

    @contextlib.contextmanager
    def _pausing(self, victim: victims.Victim) -> Iterator[bool]:
        """Stop a process, and let it go on unless somebody else still has it stopped."""
        self._paused[victim.process] += 1
        try:
            yield victim.send(signal.SIGSTOP)
        finally:
            self._paused[victim.process] -= 1
            if not self._paused[victim.process]:
                del self._paused[victim.process]
                victim.send(signal.SIGCONT)


@contextlib.contextmanager
def _disturbed(front: Front | None, fault: Fault) -> Iterator[str]:
    if front is None:
        yield ""
        return
    try:
        match fault.kind:
            case Kind.CUT:
                yield f"{front.cut() // 2} connections"
            case Kind.DELAY:
                front.delay_s = schedule.MOST_DELAY_S * fault.chance
                yield f"NATS by {front.delay_s * 1000:.0f} ms"
            case _:
                front.hold()
                yield "NATS"
    finally:  # each ends what it has begun: one may fall into another
        match fault.kind:
            case Kind.DELAY:
                front.delay_s = 0.0
            case Kind.SILENCE:
                front.flow()
            case _:
                pass


@contextlib.contextmanager
def _failing(control: Control | None, fault: Fault) -> Iterator[str]:
    if control is None:
        yield ""
        return
    full = fault.kind is Kind.FULL
    with control.during(full=True) if full else control.during(failing=schedule.FAILING):
        yield "the store"


@contextlib.contextmanager
def _jumped(control: Control | None, fault: Fault) -> Iterator[str]:
    if control is None:
        yield ""
        return
    ahead_s = schedule.MOST_JUMP_S * (2 * fault.chance - 1)
    with control.clock_during(fault.target, ahead_s):
        yield f"the {fault.target}'s clock by {ahead_s:+.0f} s"
