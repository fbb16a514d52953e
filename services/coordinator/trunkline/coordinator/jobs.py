"""Job records: read, and changed by compare-and-set along `states.JOB_CHANGES` only.

All changes of a job in this process go through a JobStore, so whoever waits in `until` sees them at
once; what another process changes comes with the mirror's watch. A caller never trusts what it read
before: it hands over a function of the record, which is called again whenever the record has moved.
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from trunkline.bus.ports import Table
from trunkline.contracts import errors, records
from trunkline.contracts.states import JOB_CHANGES, JobState
from trunkline.coordinator.mirror import Mirror
from trunkline.coordinator.tables import job_key
from trunkline.runtime.clock import Clock

Change = Callable[[records.Job], records.Job | None]
"""Returns the record as it shall be, or None to leave it as it is."""


class InvalidJobChangeError(errors.TrunklineError):
    """A job cannot go from one state to another."""

    def __init__(self, job: records.Job, wanted: JobState) -> None:
        super().__init__(f"job {job.pipeline}@{job.id} is {job.state} and cannot become {wanted}")
        self.pipeline, self.id, self.state, self.wanted = job.pipeline, job.id, job.state, wanted


def settled(job: records.Job) -> bool:
    """Whether nothing is left to be done for a job: ended, and what it left behind put away."""
    return job.state.ended and (job.compacted or job.state is JobState.UNRUNNABLE)


class JobStore:
    """The jobs of an installation.

    Args:
        table: The bucket.
        clock: For the times in the records.
        changed: Called with (old, new) after each change, whoever made it.
    """

    def __init__(
        self,
        table: Table[records.Job],
        clock: Clock,
        changed: Callable[[records.Job | None, records.Job | None], None] | None = None,
    ) -> None:
        self.mirror = Mirror(table, self._note)
        """All jobs in memory; `mirror.follow` must run, and its `filled` be set, before the rest."""
        self._clock = clock
        self._changed = changed
        self._open: dict[str, dict[str, records.Job]] = {}
        self._waiters: dict[str, asyncio.Event] = {}

    async def get(self, pipeline: str, job: str) -> records.Job | None:
        """Return a job as the bucket holds it now, or None."""
        await self.mirror.refresh(job_key(pipeline, job))
        return self.known(pipeline, job)

    def known(self, pipeline: str, job: str) -> records.Job | None:
        """Return a job as far as it is known here, without asking the server."""
        return self.mirror.get(job_key(pipeline, job))

    def list(self, pipeline: str = "") -> Sequence[records.Job]:
        """Return the jobs (of one pipeline), in order."""
        found = self.mirror.values()
        if pipeline:
            found = [job for job in found if job.pipeline == pipeline]
        return sorted(found, key=_place)

    def unsettled(self, pipeline: str = "") -> Sequence[records.Job]:
        """Return the jobs (of one pipeline) for which something is left to be done, in order."""
        pipelines = [pipeline] if pipeline else list(self._open)
        found = (job for name in pipelines for job in self._open.get(name, {}).values())
        return sorted(found, key=_place)

    async def create(self, job: records.Job) -> records.Job:
        """Store a new job, or return the one that has its key."""
        return await self.mirror.ensure(job_key(job.pipeline, job.id), job)

    async def change(self, pipeline: str, job: str, change: Change) -> records.Job:
        """Apply a change to whatever the record is by then; return the record after it.

        Raises:
            NotFoundError: there is no such job.
            InvalidJobChangeError: its state does not allow it.
            UnavailableError: whether it took effect is unknown; calling again is safe if `change`
                looks at what it gets.
        """
        key = job_key(pipeline, job)
        if key not in self.mirror:
            await self.mirror.refresh(key)
        while True:
            old = self.mirror.get(key)
            if old is None:
                raise errors.NotFoundError("job", f"{pipeline}@{job}")
            new = change(old)
            if new is None or new == old:
                return old
            if new.state is not old.state and new.state not in JOB_CHANGES[old.state]:
                raise InvalidJobChangeError(old, new.state)
            try:
                return await self.mirror.replace(key, new)
            except errors.ConflictError:
                continue

    async def kill(self, pipeline: str, job: str, reason: str) -> records.Job:
        """Have a job killed, unless it has ended or its output is being committed already.

        The runner does the rest; what had not begun is KILLED at once.
        """
        now = self._clock.wall_ns()

        def killed(old: records.Job) -> records.Job | None:
            if old.state.ended or old.state is JobState.KILLING or old.committing:
                return None
            if old.state is JobState.WAITING:
                return msgspec.structs.replace(
                    old, state=JobState.KILLED, reason=reason, ended_ns=now, compacted=True
                )
            return msgspec.structs.replace(old, state=JobState.KILLING, reason=reason)

        return await self.change(pipeline, job, killed)

    async def until(
        self, pipeline: str, condition: Callable[[Sequence[records.Job]], bool]
    ) -> None:
        """Return once the condition holds for the pipeline's unsettled jobs."""
        while True:
            event = self._waiters.setdefault(pipeline, asyncio.Event())
            if condition(self.unsettled(pipeline)):
                return
            await event.wait()

    def _note(self, old: records.Job | None, new: records.Job | None) -> None:
        job = new or old
        assert job is not None
        jobs = self._open.setdefault(job.pipeline, {})
        if new is None or settled(new):
            jobs.pop(job.id, None)
            if not jobs:
                del self._open[job.pipeline]
        else:
            jobs[job.id] = new
        waiters = self._waiters.pop(job.pipeline, None)
        if waiters is not None:
            waiters.set()
        if self._changed is not None:
            self._changed(old, new)


def _place(job: records.Job) -> tuple[str, int, str]:
    return job.pipeline, job.order, job.id
