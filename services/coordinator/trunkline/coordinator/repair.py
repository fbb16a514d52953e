"""Repair: datums whose messages were lost are found and put back.

A job's queue may lose messages: a stream that was deleted, a disk that lost its last seconds, an
operator's purge. Nothing tells of it, so a live job's queue is looked at every few seconds. When it
is empty twice in a row, no outcome has come in between, and datums that were listed by the first look
have none, the outcome stream is read again: an ack comes after its outcome, so what is then still
missing was lost. Those datums are listed again and put back as a new round, since the stream might
still know their Msg-Ids of the round before. `core.job` decides; this looks and acts.

A crash after the round is recorded and before all are put back leaves them missing: the next look
begins a further round. Of a job that merges nothing can be put back: what its outcome stream has lost by then
fails it, unless it has gathered them. A datum that is put back while its message was there after all runs twice, and
its second outcome is refused.
"""

import asyncio
import logging
from contextlib import aclosing

import msgspec

from trunkline.contracts import errors, records
from trunkline.contracts.states import JobState
from trunkline.contracts.wording import counted
from trunkline.coordinator.core.job import Complete, Ignored, PutBack, Quiet, ReadAgain, ReadThrough
from trunkline.coordinator.events import Events
from trunkline.coordinator.folding import LiveJob, OutcomeFolder
from trunkline.coordinator.inputs import Inputs, Portions
from trunkline.coordinator.jobs import JobStore
from trunkline.coordinator.queue import JobQueue

log = logging.getLogger(__name__)

_PUT_AT_ONCE = 4096


class Repairer:
    """Watches the queues of live jobs. See the module.

    Args:
        jobs: The records.
        inputs: Lists datums again.
        queue: What is watched.
        folder: Reads the outcome stream again.
        events: Where each repair is told, with the reason.
        quiet_s: Seconds between two looks.
    """

    def __init__(
        self,
        jobs: JobStore,
        inputs: Inputs,
        queue: JobQueue,
        folder: OutcomeFolder,
        events: Events,
        quiet_s: float,
    ) -> None:
        self._jobs, self._inputs, self._queue = jobs, inputs, queue
        self._folder, self._events, self._quiet_s = folder, events, quiet_s

    async def watch(self, live: LiveJob, job: records.Job) -> None:
        """Look after a job until cancelled."""
        while True:
            await asyncio.sleep(self._quiet_s)
            try:
                await self.look(live, job)
            except (errors.UnavailableError, errors.RefusedError) as error:
                extra = {"pipeline": job.pipeline, "job": job.id, "reason": str(error)}
                log.warning("queue could not be looked after", extra=extra)

    async def look(self, live: LiveJob, job: records.Job) -> None:
        """Look at the queue once, and do what follows."""
        if next(live.fold.missing(), None) is None:
            return
        job = self._jobs.known(job.pipeline, job.id) or job  # its datums may have been restarted
        gauge = await self._queue.gauge(job)
        if gauge is None:
            await self._queue.open(job)
            await self._tell(job, "its consumer was missing and is declared again")
            return
        effects = live.handle(Quiet(gauge.pending, gauge.in_flight))
        while effects:
            match effects.pop(0):
                case ReadAgain():
                    await self._folder.read(live, job)
                    effects += live.handle(ReadThrough())
                case PutBack(below, lost):
                    await self._put_back(live, job, below, lost)
                case Complete() | Ignored():
                    pass

    async def _put_back(self, live: LiveJob, job: records.Job, below: int, lost: int) -> None:
        current = await self._jobs.change(job.pipeline, job.id, _next_round)
        if current.state is JobState.MERGING:
            # all had one before: nobody works for the job any more, and its record cannot go back
            which, remedy = (
                f"of {counted(lost, 'datum')} of {job.pipeline}@{job.id}",
                "run the job again",
            )
            raise errors.NotFoundError("outcome", which, remedy)
        if current.state not in (JobState.LISTING, JobState.RUNNING):
            return
        fold = live.fold
        datums = self._inputs.datums(
            job, lambda index: index < below and fold.state_of(index) is None
        )
        put = 0
        async with aclosing(datums):
            portions = Portions(datums)
            while chosen := await portions.next(_PUT_AT_ONCE):
                await self._queue.put(current, chosen, round_=current.round)
                put += len(chosen)
        text = (
            f"{lost} of the {below} datums that were listed had neither a message nor an outcome;"
            f" {put} were put back in round {current.round}"
        )
        await self._tell(job, text)

    async def _tell(self, job: records.Job, text: str) -> None:
        log.warning("job repaired", extra={"pipeline": job.pipeline, "job": job.id, "reason": text})
        text = f"job {job.pipeline}@{job.id}: {text}"
        await self._events.mention("repaired", job.pipeline, text, job=job.id)


def _next_round(old: records.Job) -> records.Job | None:
    if old.state not in (JobState.LISTING, JobState.RUNNING):
        return None
    return msgspec.structs.replace(old, round=old.round + 1)
