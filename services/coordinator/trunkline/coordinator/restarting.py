"""Datums that are to be worked on once more while their job runs.

A request raises their generations in the job's record, by compare-and-set, and is answered. All the
rest follows from the record, level-triggered, in whichever coordinator looks after the job:

1. the fold forgets their outcomes (`core.job`), so that the job is not complete without new ones; the
   record does not leave RUNNING while the fold has not heard of all restarts (`runner`);
2. workers are told with the assignment: who runs one in an older generation kills it, and who finds a
   message of one takes it off the queue;
3. the datums are put into the queue again.

A crash between any two of these: the next coordinator makes its fold from the record, and does 2 and 3
for each restarted datum of which it has not seen an outcome. One that is put twice has the same
Msg-Id, or else finds its outcome when it is delivered. A worker that never hears of it publishes an
outcome that does not count, since its generation is in the outcome's subject.
"""

import logging
from collections.abc import Mapping
from contextlib import aclosing

from trunkline.contracts import records
from trunkline.contracts.states import JobState
from trunkline.contracts.wording import counted
from trunkline.coordinator.assignments import Assignments
from trunkline.coordinator.core import restarts, windows
from trunkline.coordinator.core.job import Restarted
from trunkline.coordinator.events import Events
from trunkline.coordinator.folding import LiveJob
from trunkline.coordinator.inputs import Inputs
from trunkline.coordinator.jobs import JobStore
from trunkline.coordinator.outcomes import Outcomes
from trunkline.coordinator.queue import JobQueue

log = logging.getLogger(__name__)

_OPEN = (JobState.LISTING, JobState.RUNNING)


async def ask(
    jobs: JobStore, outcomes: Outcomes, job: records.Job, wanted: Mapping[int, int]
) -> records.Job:
    """Raise the generations of datums in a job's record; return it.

    Raises:
        RestartRefusedError: it cannot be; nothing is changed.
    """
    restarts.check(job)
    windows_of = {windows.number(index) for index in wanted if 0 <= index < job.listed_to}
    skipped: set[int] = set()
    for window in windows_of:
        skipped.update(set(wanted).intersection(await outcomes.skipped_indexes(job, window)))
    return await jobs.change(
        job.pipeline, job.id, lambda old: restarts.raised(old, wanted, skipped)
    )


class Restarter:
    """Follows the restarts in the records of jobs that run. See the module."""

    def __init__(
        self,
        jobs: JobStore,
        inputs: Inputs,
        queue: JobQueue,
        assignments: Assignments,
        events: Events,
    ) -> None:
        self._jobs, self._inputs, self._queue = jobs, inputs, queue
        self._assignments, self._events = assignments, events

    async def watch(self, live: LiveJob, job: records.Job) -> None:
        """Look after a job until cancelled.

        Raises:
            UnavailableError: some may be put; watch again.
        """
        put: dict[str, int] = {}
        while True:
            current = self._jobs.known(job.pipeline, job.id)
            if current is not None and current.state in _OPEN:
                if due := restarts.due(current, put):
                    await self._restart(live, current, due)
                put = current.generations
            await self._jobs.until(
                job.pipeline,
                lambda jobs, put=put: any(  # type: ignore[misc]
                    each.id == job.id and each.state in _OPEN and each.generations != put
                    for each in jobs
                ),
            )

    async def _restart(self, live: LiveJob, job: records.Job, due: Mapping[int, int]) -> None:
        for index, generation in due.items():
            live.handle(Restarted(index, generation))
        await self._assignments.publish(job.pipeline)
        missing = {index for index in due if live.fold.state_of(index) is None}
        if not missing:
            return
        last = max(missing)
        async with aclosing(self._inputs.datums(job, missing.__contains__)) as found:
            async for datums in found:
                await self._queue.put(job, datums, round_=job.round)
                if datums[-1].index == last:
                    break
        indexes = ", ".join(str(each) for each in sorted(missing)[:10])
        log.info(
            "datums restarted",
            extra={"pipeline": job.pipeline, "job": job.id, "count": len(missing)},
        )
        text = (
            f"{counted(len(missing), 'datum')} of {job.pipeline}@{job.id} put once more: {indexes}"
        )
        await self._events.mention("restarted", job.pipeline, text, job=job.id)
