"""Copies of datums that take long, for jobs whose specs ask for them: the edge of `core.speculation`.

While such a job runs and enough of its datums are done, its workers' claims and its queue are looked at every
LOOK_S seconds. A datum that is to be copied is listed again and put into the job's queue as one more message, of the same
index, generation and round, with a Msg-Id of its own, which an idle worker takes. All the rest is there already:
the outcome's subject takes the first outcome and no other, and who runs the other copy finds that outcome with
its next lease renewals, or that the job has ended, and kills what it runs. A copy ends a datum well or not at
all (`contracts.attempts`), so what is decided here can cost time and nothing else.

A crash before the copy is put leaves nothing. After it, the next coordinator sees it in the queue, in two claims or in the
ledger, and one that it puts again at once is the same message to the stream. A copy that comes when the datum has its
outcome, or was tried otherwise in between, is taken off the queue by whoever gets it. One that is put when the job has
just ended lies in the stream, with no consumer, until the pipeline's next purge, as other late messages do.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing

import msgspec

from trunkline.bus.connection import NatsConnection
from trunkline.contracts import attempts, errors, messages, records
from trunkline.contracts.states import JobState
from trunkline.contracts.wards import Wards
from trunkline.coordinator import datum_claims
from trunkline.coordinator.core.speculation import Copy, Running, Stragglers, View
from trunkline.coordinator.events import Events
from trunkline.coordinator.folding import LiveJob
from trunkline.coordinator.inputs import Inputs
from trunkline.coordinator.jobs import JobStore
from trunkline.coordinator.outcomes import Outcomes
from trunkline.coordinator.queue import JobQueue
from trunkline.runtime.clock import Clock

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Seconds between two looks: no datum is called slow before it has taken as long."""


class Speculator:
    """Looks for datums of live jobs that take long. See the module.

    Args:
        jobs: The records.
        inputs: Lists datums again.
        queue: Where copies go.
        outcomes: Reads ledgers.
        connection: In DATA, for claims.
        wards: For the subjects.
        events: Where each copy is told, with the reason.
        clock: To measure by.
    """

    def __init__(
        self,
        jobs: JobStore,
        inputs: Inputs,
        queue: JobQueue,
        outcomes: Outcomes,
        connection: NatsConnection,
        wards: Wards,
        events: Events,
        clock: Clock,
    ) -> None:
        self._jobs, self._inputs, self._queue, self._outcomes = jobs, inputs, queue, outcomes
        self._connection, self._wards = connection, wards
        self._events, self._clock = events, clock

    async def watch(self, live: LiveJob, job: records.Job) -> None:
        """Look after a job until cancelled, if its spec wants that."""
        stragglers = live.stragglers
        while stragglers is not None:
            await asyncio.sleep(LOOK_S)
            current = self._jobs.known(job.pipeline, job.id)
            if current is None or current.state is not JobState.RUNNING:
                continue
            if not stragglers.due(*_progress(live)):
                continue
            try:
                await self._look(live, stragglers, current)
            except (errors.UnavailableError, errors.RefusedError) as error:
                extra = {"pipeline": job.pipeline, "job": job.id, "reason": str(error)}
                log.warning("no look for slow datums", extra=extra)

    async def _look(self, live: LiveJob, stragglers: Stragglers, job: records.Job) -> None:
        gauge = await self._queue.gauge(job)
        if gauge is None:
            return
        claims = await datum_claims.current(self._connection, self._wards.of(job.pipeline))
        chosen = stragglers.look(
            view(job, claims, *_progress(live), waiting=gauge.pending), self._clock.monotonic_s()
        )
        if not chosen:
            return
        try:
            await self._put(stragglers, job, chosen)
        except (errors.UnavailableError, errors.RefusedError):
            for each in chosen:
                stragglers.unmade(each)
            raise

    async def _put(self, stragglers: Stragglers, job: records.Job, chosen: Sequence[Copy]) -> None:
        tried = await self._outcomes.ledgers(job, [each.slow.index for each in chosen])
        wanted = {each.slow.index: each for each in chosen}
        for index, data in tried.items():
            if not _is_first(data, wanted[index].slow.generation):
                stragglers.leave(wanted.pop(index))
        if not wanted:
            return
        last = max(wanted)
        async with aclosing(self._inputs.datums(job, wanted.__contains__)) as found:
            async for datums in found:
                for datum in datums:
                    copy = wanted[datum.index]
                    await self._queue.put_copy(job, datum, copy.slow)
                    await self._tell(job, copy)
                if datums[-1].index == last:
                    break

    async def _tell(self, job: records.Job, copy: Copy) -> None:
        slow = copy.slow
        text = (
            f"datum {slow.index} of {job.pipeline}@{job.id} executes on {slow.worker} for"
            f" {copy.for_s:.1f} s, over the limit of {copy.limit_s:.1f} s: an idle worker tries it, too"
        )
        extra = {"pipeline": job.pipeline, "job": job.id, "index": slow.index}
        log.info("datum copied", extra={**extra, "reason": text})
        await self._events.mention("speculated", job.pipeline, text, job=job.id)


def view(
    job: records.Job,
    claims: Sequence[messages.Claim],
    total: int | None,
    done: int,
    *,
    waiting: int,
) -> View:
    """Return what the claims of a pipeline's workers say about one of its jobs."""
    able = [
        each
        for each in claims
        if each.code_hash == job.code_hash and not each.draining and not each.closing
    ]
    running = [
        Running(
            index=held.index,
            generation=held.generation,
            worker=claim.worker,
            incarnation=claim.incarnation,
            since_ns=held.since_ns,
            for_s=(claim.at_ns - held.since_ns) / 1e9,
        )
        for claim in claims
        for held in claim.held
        if held.job == job.id
        and held.executing
        and held.since_ns
        and held.generation == job.generations.get(str(held.index), 1)
    ]
    return View(
        total=total,
        done=done,
        waiting=waiting,
        workers=len(able),
        idle=sum(not each.held for each in able),
        running=running,
    )


def _progress(live: LiveJob) -> tuple[int | None, int]:
    """Return how many datums the job has to work on, if that is known, and how many of them are done."""
    fold, skipped = live.fold, live.fold.counts.skipped
    return None if fold.total is None else fold.total - skipped, fold.done - skipped


def _is_first(data: bytes, generation: int) -> bool:
    """Return whether a ledger knows of no try of this generation; one that cannot be read may know of many."""
    try:
        ledger = msgspec.json.decode(data, type=attempts.Ledger)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return ledger.generation < generation or attempts.verdict_of_copy(ledger) == attempts.Run()
