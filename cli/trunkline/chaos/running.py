"""A schedule, applied to one installation until it is stopped.

Each fault waits for its time, chooses its victim among those that there are then, and says what it did.
What lasts is a task of its own, so that faults fall together as the schedule says. When it is stopped, all
that is paused goes on. If the runner itself is killed, what it has paused stays so: the next `trunkline up`
ends it.
"""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Callable, Sequence

from trunkline.chaos import victims
from trunkline.chaos.core import schedule
from trunkline.chaos.core.schedule import Fault, Habit, Kind
from trunkline.local.home import Home

_FIRST = {Kind.KILL: signal.SIGKILL, Kind.PAUSE: signal.SIGSTOP}


class Runner:
    """See the module."""

    def __init__(
        self, home: Home, seed: int, habits: Sequence[Habit], tell: Callable[[str], None]
    ) -> None:
        self._home, self._seed, self._habits, self._tell = home, seed, habits, tell
        self.done = Counter[tuple[Kind, schedule.Target]]()
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
        victim = await victims.choose(self._home, fault.target, fault.chance)
        if victim is None:
            self._tell(f"{fault.at_s:7.2f} s  {fault.kind} {fault.target}: there is none now")
            return
        with victim:
            if not victim.send(_FIRST[fault.kind]):
                return
            self.done[fault.kind, fault.target] += 1
            lasts = f" for {fault.lasts_s:.1f} s" if fault.lasts_s else ""
            self._tell(f"{fault.at_s:7.2f} s  {fault.kind} {victim.name} ({victim.pid}){lasts}")
            if fault.kind is Kind.PAUSE:
                try:
                    await asyncio.sleep(fault.lasts_s)
                finally:
                    victim.send(signal.SIGCONT)
