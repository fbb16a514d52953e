"""Executes nothing: each datum takes its slot for a while, and has no output.

For measuring what a datum costs without a command (`TRUNKLINE_IDLE_S`): the queue, the lease, the
outcome and the job around it are those of every datum.
"""

import asyncio
import os

from trunkline.runtime.clock import Clock
from trunkline.storage.trees import Uploaded
from trunkline.worker_agent import linux
from trunkline.worker_agent.core.outcome import Good
from trunkline.worker_agent.execution import Ran
from trunkline.worker_agent.work import Datum

_NOTHING = Uploaded(files=(), manifest="", count=0, bytes=0)
_DONE = Ran(Good(), stored=_NOTHING)


class Idle:
    """See `execution.Executor`.

    Args:
        clock: To measure by.
        seconds: How long each datum has its slot; 0: it is done at once.
    """

    stages = False

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self._ended: asyncio.Future[None] | None = None
        if seconds:  # the loop's own timers are good to a millisecond only
            self._timer = linux.timer_fd()
            asyncio.get_running_loop().add_reader(self._timer, self._over)

    def _over(self) -> None:
        os.read(self._timer, 8)
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    async def stage(self, _datum: Datum) -> None:
        """There is nothing to fetch."""

    def present(self, _datum: Datum) -> None:
        """There is nothing to be seen."""

    async def run(self, datum: Datum) -> Ran:
        """Let the time pass."""
        if self._seconds:
            began_s = self._clock.monotonic_s()
            self._ended = asyncio.get_running_loop().create_future()
            linux.set_timer(self._timer, self._seconds)
            await self._ended
            datum.measure(process_s=self._clock.monotonic_s() - began_s)
        return _DONE

    async def store(self, _datum: Datum) -> Uploaded:
        """There is nothing to store."""
        return _NOTHING

    def withdraw(self, _datum: Datum) -> None:
        """Nothing is in the slot."""

    def discard(self, _datum: Datum) -> None:
        """There are no files."""

    async def end(self) -> None:
        """Nothing is left running."""
