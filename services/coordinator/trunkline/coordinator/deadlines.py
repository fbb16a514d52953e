"""Jobs whose time is over are killed, as a user would kill them.

A crash before the kill is recorded: the next coordinator comes to the same instant (`core.deadline`), and
finds it past. After it the job is KILLING, and ends as any other one does. A job whose output is being
committed by then is left alone: it is a matter of moments.
"""

import asyncio

from trunkline.contracts import records
from trunkline.coordinator.core import deadline
from trunkline.coordinator.jobs import JobStore
from trunkline.runtime.clock import Clock

LOOK_S = 60.0
"""The longest sleep: the wall clock may be set meanwhile."""


class Deadlines:
    """Ends jobs in time."""

    def __init__(self, jobs: JobStore, clock: Clock) -> None:
        self._jobs, self._clock = jobs, clock

    def over(self, job: records.Job) -> bool:
        """Whether the job has had its time."""
        left_s = deadline.left_s(job, self._clock.wall_ns())
        return left_s is not None and left_s <= 0

    async def kill(self, job: records.Job) -> records.Job:
        """Have the job killed for that."""
        return await self._jobs.kill(job.pipeline, job.id, deadline.reason(job))

    async def watch(self, job: records.Job) -> None:
        """Have the job killed when its time is over; return then, or at once if it has no limit.

        Raises:
            UnavailableError: whether it is killed is unknown; watch again.
        """
        while (left_s := deadline.left_s(job, self._clock.wall_ns())) is not None:
            if left_s <= 0:
                await self.kill(job)
                return
            await asyncio.sleep(min(left_s, LOOK_S))
