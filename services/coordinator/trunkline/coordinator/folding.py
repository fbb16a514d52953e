"""One tail over the outcome stream, which tells each live job of its outcomes.

The stream is the truth, what is folded here is a cache of it: in memory how each datum ended, in a
scratch file (`gathering`) the outcomes themselves, so that a job's end needs not read the stream
again. Where there is no room for that file, it does. A job that is attached before the tail
has begun hears all from the tail. One that comes later has `read` called for it, which goes through
what the stream holds of that job already; hearing of an outcome twice changes nothing. So neither the
order of attaching nor a restart of the server or of this process loses an outcome.

An outcome of a job that nobody has attached is either early (its runner is only starting, and will
read) or a stray: its job has ended and is compacted, or is not there at all, and a worker that was
slow or lies has published it since. Strays are purged, else they would stay for ever. What stands
under a wrong ward is no outcome at all (`forgeries`).

Counted (`counting`) is what the tail comes to first; and what `read` does: what the tail has passed while nobody had
attached the job, since its runner had failed and was to begin again, and what lies before it. So each outcome is
counted once in a term, unless the runner fails in the middle of that reading.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec

from trunkline.bus import jetstream, looking, tails, topology
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Stored
from trunkline.contracts import errors, records, subjects
from trunkline.contracts.messages import Outcome
from trunkline.contracts.states import DatumState
from trunkline.contracts.wards import Wards
from trunkline.coordinator.core import outcomes as reading
from trunkline.coordinator.core.job import Effect, Event, Fold, Ignored
from trunkline.coordinator.core.speculation import Stragglers
from trunkline.coordinator.counting import Counting
from trunkline.coordinator.events import Events
from trunkline.coordinator.forgeries import Forgeries
from trunkline.coordinator.gathering import Gathered
from trunkline.coordinator.jobs import JobStore, settled
from trunkline.coordinator.outcomes import Outcomes
from trunkline.runtime.clock import SystemClock

log = logging.getLogger(__name__)

TOLD = 10
"""Records of one job that are told when they are ignored; the rest are only counted."""
STRAYS = 1000
"""Jobs of stray outcomes that are remembered until the next sweep."""
SWEEP_S = 30.0
"""Seconds between sweeps."""


class Passed(msgspec.Struct):
    """What the tail has passed of a job that nobody had attached: between which times it was stored."""

    first_ns: int
    last_ns: int

    def has(self, at_ns: int) -> bool:
        """Return whether what was stored at this time was passed."""
        return self.first_ns <= at_ns <= self.last_ns


class LiveJob:
    """What is folded of one job, and who waits for it."""

    def __init__(self, job: records.Job, spool: Path | None = None) -> None:
        self.pipeline, self.id = job.pipeline, job.id
        self.fold = Fold.of(job.generations)
        wanted = job.spec.speculation
        self.stragglers = None if wanted is None else Stragglers(wanted)
        """Looks for datums that take long, where the spec wants that."""
        self.ignored: list[Ignored] = []
        """Not told yet."""
        self.ignored_count = 0
        """Each record as often as it was heard of."""
        self.passed: Passed | None = None
        """What the tail has passed of it before."""
        self._changed = asyncio.Event()
        self._spool = spool
        self._gathered: Gathered | None = None
        self._room = True

    def gathered(self) -> Gathered | None:
        """Return all outcomes of the job itself, by index; None while some may be missing."""
        if not (self._room and self.fold.complete):
            return None
        if self._gathered is None:  # all of its datums were skipped
            self._gathered = Gathered(self._spool)
        return self._gathered

    def close(self) -> None:
        """Give back what it holds on disk."""
        if self._gathered is not None:
            self._gathered.close()

    def handle(self, event: Event) -> list[Effect]:
        """Take an event into account; see `core.job`."""
        effects = self.fold.handle(event)
        if effects:
            self._ignore(effects)
        self._changed.set()
        return effects

    def seen(self, outcome: Outcome, data: bytes) -> bool:
        """Take an outcome, and the bytes it was read from, into account; `wake` must follow.

        Returns:
            Whether it is one that counts, and was not seen before.
        """
        done = self.fold.done
        copied = any(each.copy for each in outcome.history)
        effects = self.fold.seen(outcome.index, outcome.generation, outcome.state, copied=copied)
        counts = self.fold.done > done
        if counts:
            if self._room:
                self._gather(outcome.index, reading.keep(outcome, data))
            if self.stragglers is not None and outcome.state is DatumState.PROCESSED:
                figures = outcome.figures
                self.stragglers.durations.add(figures.download_s + figures.process_s)
        if effects:
            self._ignore(effects)
        return counts

    def _gather(self, index: int, kept: bytes) -> None:
        try:
            if self._gathered is None:
                self._gathered = Gathered(self._spool)
            self._gathered.add(index, kept)
        except OSError as error:
            self._room = False
            extra = {"pipeline": self.pipeline, "job": self.id, "reason": str(error)}
            log.warning("outcomes cannot be gathered and will be read again", extra=extra)

    def wake(self) -> None:
        """Let those who wait look again."""
        self._changed.set()

    async def until(self, condition: Callable[[Fold], bool]) -> None:
        """Return once the condition holds."""
        while not condition(self.fold):
            self._changed.clear()
            await self._changed.wait()

    def _ignore(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Ignored):
                self.ignored_count += 1
                if self.ignored_count <= TOLD:
                    self.ignored.append(effect)


class OutcomeFolder:
    """Folds the outcome stream; `run` it once for all jobs.

    Args:
        connection: In DATA.
        wards: What stands under another is forged.
        outcomes: Reads what is stored of one job.
        jobs: Says which jobs there are.
        events: Where it is told what was ignored.
        spool: A directory for scratch files; None for the system's own place.
        counting: Counts what is stored from now on.
    """

    def __init__(
        self,
        connection: NatsConnection,
        wards: Wards,
        outcomes: Outcomes,
        jobs: JobStore,
        events: Events,
        spool: Path | None = None,
        counting: Counting | None = None,
    ) -> None:
        self._connection, self._wards, self._outcomes = connection, wards, outcomes
        self._jobs, self._events, self._spool = jobs, events, spool
        self._live: dict[tuple[str, str], LiveJob] = {}
        self._begun = False
        self._counting = counting or Counting(SystemClock())
        self._counted_ns = 0
        """When the newest outcome was stored that others have seen to, by the server's clock."""
        self._folded_ns = 0
        """When the newest outcome was stored that the tail has come to."""
        self._strays: dict[tuple[str, str], Passed] = {}
        self.forgeries = Forgeries(connection, wards, events)
        """Removes what stands under wrong wards, here and elsewhere."""

    async def run(self) -> None:
        """Follow the stream, and sweep, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="follow-outcomes")
            tasks.create_task(self._sweep_forever(), name="sweep-outcomes")
            tasks.create_task(self.forgeries.look_forever(), name="forgeries")

    @asynccontextmanager
    async def attached(self, job: records.Job) -> AsyncIterator[LiveJob]:
        """Hear of the job's outcomes inside; `read` brings those that came before."""
        live = LiveJob(job, self._spool)
        key = (job.pipeline, job.id)
        live.passed = self._strays.pop(key, None)
        self._live[key] = live
        try:
            yield live
        finally:
            if self._live.get(key) is live:
                del self._live[key]
            live.close()

    def fold(self, pipeline: str, job: str) -> Fold | None:
        """Return what is known of a live job: its counts and which datums have ended."""
        live = self._live.get((pipeline, job))
        return live.fold if live else None

    def folds(self) -> list[tuple[str, Fold]]:
        """Return what is known of all live jobs, with their pipelines."""
        return [(live.pipeline, live.fold) for live in self._live.values()]

    async def catch_up(self, live: LiveJob, job: records.Job) -> None:
        """Read what the stream holds of the job, unless the tail is still to come to it."""
        if self._begun:
            await self.read(live, job)

    async def read(self, live: LiveJob, job: records.Job) -> None:
        """Read all that the stream holds of the job now."""
        async with aclosing(self._outcomes.stored(job)) as batches:
            async for batch in batches:
                for outcome, stored in batch:
                    counts = live.seen(outcome, stored.data)
                    if counts and self._tail_counts_not(live, stored):
                        self._count(outcome, stored)
                live.wake()

    def _tail_counts_not(self, live: LiveJob, stored: Stored) -> bool:
        """Whether the tail has passed what is read here, or comes to it when it is known already."""
        passed = live.passed is not None and live.passed.has(stored.at_ns)
        return passed or stored.at_ns > self._folded_ns

    async def _follow(self) -> None:
        stream = subjects.OUTCOMES_STREAM
        self._counted_ns = await self._newest_ns(stream)
        async with tails.tail(self._connection, stream, [subjects.OUTCOMES]) as batches:
            async for batch in batches:
                self._begun = True
                await self._fold(batch)

    async def _newest_ns(self, stream: str) -> int:
        """Return when the newest outcome that is there was stored, however long that takes."""
        while True:
            try:
                look = await looking.stream(self._connection, stream)
            except (errors.UnavailableError, jetstream.JetStreamError):
                await asyncio.sleep(tails.RETRY_S)
            else:
                return look.last_ns if look else 0

    async def _fold(self, batch: Sequence[Stored]) -> None:
        self._folded_ns = batch[-1].at_ns
        touched: set[LiveJob] = set()
        newest_ns: dict[tuple[str, str], int] = {}
        for stored in batch:
            if not self._wards.owns(stored.subject):
                self.forgeries.note(subjects.OUTCOMES_STREAM, stored)
                continue
            place = reading.place(stored.subject)
            if place is None:
                log.warning("outcome of no job", extra={"subject": errors.shown(stored.subject)})
                continue
            newest_ns[place.pipeline, place.job] = stored.at_ns
            live = self._live.get((place.pipeline, place.job))
            if live is None:
                self._pass(place, stored)
                continue
            self._take(live, reading.read(place, stored.data), stored)
            touched.add(live)
        for (pipeline, job), at_ns in newest_ns.items():  # a job that is still to be attached, too
            self._counting.moved(pipeline, job, at_ns)
        for live in touched:
            live.wake()
            await self._tell_ignored(live)

    def _take(self, live: LiveJob, outcome: Outcome, stored: Stored) -> None:
        ignored = live.ignored_count
        counts = live.seen(outcome, stored.data)
        if counts:
            self._count(outcome, stored)
        elif live.ignored_count > ignored and stored.at_ns > self._counted_ns:
            self._counting.ignored(live.pipeline)

    def _count(self, outcome: Outcome, stored: Stored) -> None:
        if stored.at_ns > self._counted_ns:
            self._counting.outcome(outcome)

    def _pass(self, place: reading.Place, stored: Stored) -> None:
        passed = self._strays.get((place.pipeline, place.job))
        if passed is not None:
            passed.last_ns = stored.at_ns
        elif len(self._strays) < STRAYS:
            self._strays[place.pipeline, place.job] = Passed(stored.at_ns, stored.at_ns)

    async def _tell_ignored(self, live: LiveJob) -> None:
        ignored, live.ignored = live.ignored, []
        for each in ignored:
            log.warning(
                "outcome ignored",
                extra={"pipeline": live.pipeline, "job": live.id, "index": each.index},
            )
            text = f"an outcome of datum {each.index} of {live.pipeline}@{live.id} is ignored: {each.why}"
            await self._events.mention("outcome-ignored", live.pipeline, text, job=live.id)

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self.sweep()
            except errors.TrunklineError as error:  # whatever it is, the process has more to do
                log.warning("strays stay for now", extra={"reason": str(error)})

    async def sweep(self) -> None:
        """Purge the outcomes of jobs that need none any more."""
        for pipeline, identifier in list(self._strays):
            job = await self._jobs.get(pipeline, identifier)
            if job is not None and not settled(job):
                continue  # its runner is to begin, and will read
            subject = subjects.outcomes_of(self._wards.of(pipeline), identifier)
            await topology.purge(self._connection, subjects.OUTCOMES_STREAM, subject)
            self._strays.pop((pipeline, identifier), None)
            text = f"outcomes of {pipeline}@{identifier}, which needs none, were removed"
            await self._events.mention("outcome-ignored", pipeline, text, job=identifier)
