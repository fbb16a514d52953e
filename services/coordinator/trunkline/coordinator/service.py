"""The coordinator's loops.

A *round* makes everything so that follows from what is stored: topology, what a half-done request
has left behind, the missing jobs, the ticks that are due, the jobs that must not go on, those that may begin, and one task for each
job that is under way. It is level-triggered: whatever changes a record wakes it, and it runs at the next
tick, and every `resync_s` anyway.
Nothing that a round does depends on the one before, so the first round after a start is the repair
of whatever the process was killed in, and no request is answered before it is through. Later ones look for
missing jobs where something has changed (`core.dag`), and every `resync_s` everywhere.

All of this is what a *leader* does, and it is made anew for each term (see `runtime.leading`); who stands by has
its program, a connection and nothing else, and answers no request.

What runs beside the rounds: the mirrors of the buckets, the API, the published specs, the folding of
outcomes, and the tasks of jobs (`driving`). What fails in any loop but those ends the process, which is started again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from trunkline.contracts import errors
from trunkline.coordinator.counting import of_pipelines
from trunkline.coordinator.parts import Ground, Kept, Work, answering
from trunkline.runtime import backoff, metric_names
from trunkline.runtime.metrics import COORDINATOR, Sample
from trunkline.storage import health

log = logging.getLogger(__name__)

PAUSE_S = 1.0
"""Seconds between two rounds at most, where there is a reason for the second one."""


class Coordinator:
    """A coordinator that leads."""

    def __init__(self, on: Ground) -> None:
        self._on = on
        self._kept = kept = Kept(on)
        self._work = Work(on, kept)
        self._catalog, self._counting = kept.catalog, kept.counting
        self._synced = asyncio.Event()
        self._failure = ""
        self._looked_at_all_s = 0.0
        self._api = answering(on, kept, self._work, self._synced, self.problems)

    def problems(self) -> list[str]:
        """Return what keeps the coordinator from its work, in sentences for people."""
        found = [*self._on.ctl.problems, *self._on.data.problems, *self._on.store.health.problems]
        found += [*self._work.declaring.problems, *self._catalog.tables.problems]
        if self._failure:
            found.append(f"the coordinator's last round failed: {self._failure}")
        if not self._synced.is_set():
            found.append("the coordinator has not gone through what is stored yet")
        return found

    def samples(self) -> Iterator[Sample]:
        """Yield what is counted and known of the installation; a source of metrics."""
        catalog, counting = self._catalog, self._counting
        yield from counting.counted()
        yield from counting.of_jobs(catalog.jobs.unsettled())
        yield from counting.of_folds(self._work.folder.folds())
        yield from of_pipelines(catalog.all_pipelines())
        yield from self._work.streams()
        yield metric_names.STORE_ERRORS, (COORDINATOR,), self._on.store.health.failures

    async def serve(self) -> None:
        """Run all loops until cancelled."""
        forget = [conn.on_reconnect(self._reconnected) for conn in (self._on.ctl, self._on.data)]
        try:
            await self._declare_first()
            async with self._catalog.following(), asyncio.TaskGroup() as tasks:
                tasks.create_task(health.watch(self._on.store, owner=True), name="store")
                tasks.create_task(self._work.folder.run(), name="outcomes")
                tasks.create_task(self._work.streams.run(), name="streams")
                tasks.create_task(self._rounds(tasks), name="rounds")
                tasks.create_task(self._api.run(), name="api")
                await self._synced.wait()
                tasks.create_task(self._kept.commands.run(), name="commands")
                tasks.create_task(self._work.retention.run(), name="retention")
                tasks.create_task(self._work.collector.run(), name="collector")
        finally:
            for each in forget:
                each()

    async def _declare_first(self) -> None:
        """Declare what the mirrors need, however long the server takes."""
        failures = 0
        while not self._work.declaring.declared:
            try:
                await self._work.declaring.look()
            except errors.UnavailableError as error:
                failures += 1
                log.warning("cannot declare streams yet", extra={"reason": str(error)})
                await asyncio.sleep(backoff.delay_s(failures, most_s=2.0))

    def _reconnected(self) -> None:
        """The server may be another one, or have lost what is not on its disk: declare again."""
        self._work.declaring.doubt()
        self._catalog.woken.set()

    async def _rounds(self, tasks: asyncio.TaskGroup) -> None:
        failures, loop = 0, asyncio.get_running_loop()
        while True:
            self._catalog.woken.clear()
            began_s = loop.time()
            try:
                wait_s = await self._round(tasks)
            except errors.TrunklineError as error:
                failures += 1
                self._failure = str(error)
                self._counting.round_failed()
                log.warning("round must be repeated", extra={"reason": self._failure})
                await asyncio.sleep(backoff.delay_s(failures, most_s=2.0))
                continue
            failures, self._failure = 0, ""
            self._counting.round(loop.time() - began_s)
            self._synced.set()
            # where a round is long, among thousands of pipelines, leave as much time to all else
            await asyncio.sleep(min(loop.time() - began_s, PAUSE_S))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(wait_s, self._on.settings.resync_s)):
                    await self._catalog.woken.wait()

    async def _round(self, tasks: asyncio.TaskGroup) -> float:
        """Make everything so that follows from what is stored; return the seconds until a tick."""
        doubted = not (self._work.declaring.declared and self._synced.is_set())
        if doubted or self._failure or self._work.declaring.due:
            await self._work.declaring.look()
        await self._kept.mending.round()
        if doubted:
            await self._kept.repos.repair()
            self._kept.pipelines.doubt_all()
        await self._kept.pipelines.ensure_all()
        now_s = asyncio.get_running_loop().time()
        if doubted or now_s - self._looked_at_all_s >= self._on.settings.resync_s:
            self._catalog.dag.mark_all()
            self._looked_at_all_s = now_s
        async with self._catalog.graph:
            await self._kept.jobsets.create_missing()
        wait_s = await self._kept.ticking.round()
        await self._kept.conduct.round()
        await self._kept.jobsets.advance()
        await self._kept.deleting.round()
        self._work.driver.begin(tasks)
        return wait_s
