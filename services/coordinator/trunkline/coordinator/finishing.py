"""What is left to be done for a job that has ended: put its outcomes away and clear the streams.

In this order; each step may be repeated, and what is recorded is not done again:

1. workers are told that the job is gone; its consumer and what waits for it are removed (a late
   outcome may still come, from a worker that has not heard of it);
2. the outcomes become the archive, a run by index in the store (`archiving`), unless the record names
   it already: a job that has an output has it since its output was merged;
3. the record names the archive, with the exact counts: from here on the stream is not read again,
   so that step 5 may be repeated though it has removed what the archive was made of;
4. what was processed goes into the done index, once (`done`);
5. outcomes and attempts are purged;
6. the record says `compacted`, and the job is settled. The next job of the pipeline may begin from 4
   on, and waits for 6, which comes right after.

An outcome that comes between 2 and 5 is lost, and with it only the chance to skip its datum: the job
has ended, and outcomes after that are never committed. One that comes after 5 is a stray (`folding`).
"""

import logging

import msgspec

from trunkline.contracts import records
from trunkline.coordinator.archiving import Archiver
from trunkline.coordinator.assignments import Assignments
from trunkline.coordinator.done import Done
from trunkline.coordinator.folding import LiveJob
from trunkline.coordinator.jobs import JobStore
from trunkline.coordinator.queue import JobQueue

log = logging.getLogger(__name__)


class Finisher:
    """Puts ended jobs away. See the module."""

    def __init__(
        self,
        jobs: JobStore,
        archiver: Archiver,
        done: Done,
        queue: JobQueue,
        assignments: Assignments,
    ) -> None:
        self._jobs, self._archiver, self._done = jobs, archiver, done
        self._queue, self._assignments = queue, assignments

    async def finish(self, live: LiveJob, job: records.Job) -> records.Job:
        """Do all that is left for an ended job; return it compacted.

        Raises:
            UnavailableError: the server or the store is away; call again.
        """
        await self._assignments.publish(job.pipeline)
        await self._queue.close(job)
        if not job.outcomes:
            archive = await self._archiver.archive(job, live)
            job = await self._jobs.change(job.pipeline, job.id, archive.in_record)
        await self._done.append(job)
        await self._queue.clear(job)
        job = await self._jobs.change(
            job.pipeline, job.id, lambda old: msgspec.structs.replace(old, compacted=True)
        )
        log.info("job put away", extra={"pipeline": job.pipeline, "job": job.id})
        return job
