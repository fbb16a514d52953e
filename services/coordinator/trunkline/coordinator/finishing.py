"""What is left to be done for a job that has ended: put its outcomes away and clear the streams.

In this order; each step may be repeated, and what is recorded is not done again:

1. workers are told that the job is gone; its consumer and what waits for it are removed (a late
   outcome may still come, from a worker that has not heard of it);
2. the outcomes in the stream become the archive, a run by index in the store;
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
from contextlib import aclosing
from pathlib import Path

import msgspec

from trunkline.contracts import messages, records
from trunkline.contracts.states import DatumState
from trunkline.coordinator.assignments import Assignments
from trunkline.coordinator.core import outcomes as reading
from trunkline.coordinator.done import Done
from trunkline.coordinator.jobs import JobStore
from trunkline.coordinator.outcomes import Outcomes
from trunkline.coordinator.queue import JobQueue
from trunkline.coordinator.spooling import Spool
from trunkline.storage.runs import RunWriter
from trunkline.storage.store import Store

log = logging.getLogger(__name__)

_STATES = tuple(DatumState)


class Finisher:
    """Puts ended jobs away. See the module."""

    def __init__(
        self,
        jobs: JobStore,
        outcomes: Outcomes,
        done: Done,
        queue: JobQueue,
        assignments: Assignments,
        store: Store,
        spool: Path | None,
    ) -> None:
        self._jobs, self._outcomes, self._done = jobs, outcomes, done
        self._queue, self._assignments = queue, assignments
        self._store, self._spool = store, spool

    async def finish(self, job: records.Job) -> records.Job:
        """Do all that is left for an ended job; return it compacted.

        Raises:
            UnavailableError: the server or the store is away; call again.
        """
        await self._assignments.publish(job.pipeline)
        await self._queue.close(job)
        if not job.outcomes:
            archive, counts = await self._archive(job)
            job = await self._jobs.change(
                job.pipeline,
                job.id,
                lambda old: msgspec.structs.replace(old, outcomes=archive, counts=counts),
            )
        await self._done.append(job)
        await self._queue.clear(job)
        job = await self._jobs.change(
            job.pipeline, job.id, lambda old: msgspec.structs.replace(old, compacted=True)
        )
        log.info("job put away", extra={"pipeline": job.pipeline, "job": job.id})
        return job

    async def _archive(self, job: records.Job) -> tuple[str, records.Counts]:
        """Write all outcomes that the stream holds as a run by index; count them."""
        tally = dict.fromkeys(DatumState, 0)
        writer = RunWriter(self._store)
        with Spool(self._spool) as spool:
            async with aclosing(self._outcomes.stored(job)) as batches:
                async for batch in batches:
                    for outcome in batch:
                        state = _STATES.index(outcome.state).to_bytes(1, "big")
                        value = state + messages.encode(outcome)
                        await spool.add(reading.key(outcome.index), value)
            last = b""
            for key, value in spool.sorted():
                if key == last:  # a stream that was remade is read again from its start
                    continue
                last = key
                tally[_STATES[value[0]]] += 1
                if writer.push(key, value[1:]):
                    await writer.flush()
        counts = records.Counts(
            processed=tally[DatumState.PROCESSED],
            skipped=sum(window.count for window in job.skipped),
            recovered=tally[DatumState.RECOVERED],
            failed=tally[DatumState.FAILED],
            quarantined=tally[DatumState.QUARANTINED],
        )
        return await writer.finish(), counts
