"""Job records: read, and changed by compare-and-set along `states.JOB_CHANGES` only.

All changes of a job in this process go through a JobStore, so whoever waits in `until` sees them at
once; what another process changes comes with the mirror's watch. A caller never trusts what it read
before: it hands over a function of the record, which is called again whenever the record has moved.

In memory are all jobs for which something is left to be done, those of their sets, and of each
pipeline the newest ones that are settled: what the graph is derived from. Others are *forgotten*, and
found in the bucket when somebody asks. A derivation that misses one wants it again, under the same key,
and its creation finds it; so forgetting too much costs a request, never a job that runs twice.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from trunkline.bus.ports import Table
from trunkline.contracts import errors, records
from trunkline.contracts.states import JOB_CHANGES, JobState
from trunkline.coordinator.mirror import Mirror
from trunkline.coordinator.tables import job_key
from trunkline.runtime.clock import Clock

V = TypeVar("V")

KEPT = 100
"""Settled jobs of a pipeline that stay in memory at least, some kilobytes each; at most twice as many."""

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
        kept: See KEPT.
        spoiled: Called when a record comes that nobody can read.
    """

    def __init__(
        self,
        table: Table[records.Job],
        clock: Clock,
        changed: Callable[[records.Job | None, records.Job | None], None] | None = None,
        *,
        kept: int = KEPT,
        spoiled: Callable[[], None] = lambda: None,
    ) -> None:
        self.mirror = Mirror(table, self._note, spoiled)
        """The jobs in memory; `mirror.follow` must run, and its `filled` be set, before the rest."""
        self.forgotten: set[str] = set()
        """Pipelines that have jobs in the bucket that are not in memory."""
        self.kept = kept
        self._clock = clock
        self._changed = changed
        self._of: dict[str, dict[str, records.Job]] = {}
        """Those in memory: pipeline -> id -> job."""
        self._sets: dict[str, dict[str, records.Job]] = {}
        """The same: id -> pipeline -> job."""
        self._open: dict[str, dict[str, records.Job]] = {}
        self._settled: dict[str, dict[str, int]] = {}
        """Pipeline -> id -> order."""
        self._waiters: dict[str, asyncio.Event] = {}

    async def get(self, pipeline: str, job: str) -> records.Job | None:
        """Return a job as the bucket holds it now, or None."""
        await self.mirror.refresh(job_key(pipeline, job))
        return self.known(pipeline, job)

    def known(self, pipeline: str, job: str) -> records.Job | None:
        """Return a job as far as it is known here, without asking the server."""
        return self.mirror.get(job_key(pipeline, job))

    async def find(self, pipeline: str, job: str) -> records.Job | None:
        """Return a job as far as it is known here, or else as the bucket holds it; None if it is none."""
        found = self.known(pipeline, job)
        if found is None and pipeline in self.forgotten:
            found = await self.get(pipeline, job)
        return found

    async def is_used(self, identifier: str) -> bool:
        """Return whether there is a job of this id, of any pipeline."""
        if identifier in self._sets:
            return True
        for pipeline in sorted(self.forgotten):
            if await self.get(pipeline, identifier) is not None:
                return True
        return False

    async def every(self, pipeline: str = "") -> Sequence[records.Job]:
        """Return the jobs (of one pipeline), in order, forgotten ones too."""
        entries = await self.mirror.table.all(f"{pipeline}." if pipeline else "")
        return sorted((each.value for each in entries if each.value is not None), key=_place)

    def list(self, pipeline: str = "") -> Sequence[records.Job]:
        """Return the jobs (of one pipeline) in memory, in order."""
        pipelines = [pipeline] if pipeline else list(self._of)
        found = (job for name in pipelines for job in self._of.get(name, {}).values())
        return sorted(found, key=_place)

    def of_set(self, identifier: str) -> Sequence[records.Job]:
        """Return the jobs of an id in memory, by pipeline."""
        return sorted(self._sets.get(identifier, {}).values(), key=_place)

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

    async def kill(
        self, pipeline: str, job: str, reason: str, *, halted: bool = False
    ) -> records.Job:
        """Have a job killed, unless it has ended or its output is being committed already.

        The runner does the rest; what had not begun is KILLED at once.

        Args:
            pipeline: Its pipeline.
            job: Its id.
            reason: Why.
            halted: Whether what it reads is taken up again later.
        """
        now = self._clock.wall_ns()

        def killed(old: records.Job) -> records.Job | None:
            if old.state.ended or old.state is JobState.KILLING or old.committing:
                return None
            old = msgspec.structs.replace(old, halted=halted)
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

    async def delete(self, pipeline: str, job: str) -> None:
        """Delete the record of a job; nothing happens if it is not there, ConflictError if it moves."""
        key = job_key(pipeline, job)
        if key not in self.mirror:
            await self.mirror.refresh(key)
        await self.mirror.delete(key)

    async def delete_all(self, pipeline: str) -> None:
        """Delete all jobs of a pipeline, forgotten ones too."""
        for entry in await self.mirror.table.all(f"{pipeline}."):
            self.mirror.take(entry)
            await self.mirror.delete(entry.key)
        self.forgotten.discard(pipeline)

    def forget(self) -> None:
        """Forget what needs not be in memory, once it is filled."""
        for pipeline in self._settled:
            self._forget(pipeline)

    def _forget(self, pipeline: str, but: str = "") -> None:
        """Forget the older settled jobs of a pipeline, but one, and but those of sets under way."""
        kept = self._settled[pipeline]
        for job in sorted(kept, key=kept.__getitem__)[: -self.kept]:
            if job != but and all(settled(each) for each in self._sets[job].values()):
                del kept[job]
                self._drop(pipeline, job)
                self.mirror.forget(job_key(pipeline, job))
                self.forgotten.add(pipeline)

    def _drop(self, pipeline: str, job: str) -> None:
        _drop(self._of, pipeline, job)
        _drop(self._sets, job, pipeline)

    def _note(self, key: str, old: records.Job | None, new: records.Job | None) -> None:
        del key
        job = new or old
        assert job is not None
        self._sort(job, gone=new is None)
        waiters = self._waiters.pop(job.pipeline, None)
        if waiters is not None:
            waiters.set()
        if self._changed is not None:
            self._changed(old, new)

    def _sort(self, job: records.Job, *, gone: bool) -> None:
        """Put a job among those for which something is left to be done, or among the settled ones."""
        _drop(self._open, job.pipeline, job.id)
        _drop(self._settled, job.pipeline, job.id)
        if gone:
            self._drop(job.pipeline, job.id)
            return
        self._of.setdefault(job.pipeline, {})[job.id] = job
        self._sets.setdefault(job.id, {})[job.pipeline] = job
        if not settled(job):
            self._open.setdefault(job.pipeline, {})[job.id] = job
            return
        kept = self._settled.setdefault(job.pipeline, {})
        kept[job.id] = job.order
        if len(kept) > 2 * self.kept and self.mirror.filled.is_set():
            self._forget(job.pipeline, but=job.id)


def _drop(kept: dict[str, dict[str, V]], first: str, second: str) -> None:
    found = kept.get(first, {})
    found.pop(second, None)
    if not found:
        kept.pop(first, None)


def _place(job: records.Job) -> tuple[str, int, str]:
    return job.pipeline, job.order, job.id
