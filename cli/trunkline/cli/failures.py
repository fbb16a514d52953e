"""Attempts that have failed, for `logs --failed`: each whole, one after the other, in the order in which it was said.

What counts is the last word on an attempt (`LogLine.ends`): the worker's own, or that of the reaper. A word may be lost,
so at the last look records are asked, too (`core.ended_attempts`): those of the datum that was asked for, or of all datums of a job
that have ended badly. Then an attempt that no word was said of is shown with what its record says, and one that was
excused since (its node went, say) is not. Of a whole pipeline or a worker, so the newest JOBS_MAX jobs with such datums.

What no record shows, if its word is lost too, is an attempt before a good one, where not that datum itself was asked for.
"""

import dataclasses
from collections.abc import AsyncIterator, Callable, Iterable

from trunkline.cli import loglines
from trunkline.cli.core import ended_attempts
from trunkline.client.client import Client
from trunkline.contracts import api, records

JOBS_MAX = 20


@dataclasses.dataclass(frozen=True)
class Target:
    """Whose lines."""

    text: str
    pipeline: str
    job: str = ""
    index: int | None = None
    worker: str = ""
    began_ns: int = 0
    """Before which it can have printed nothing; 0: not known."""

    def entries(self, client: Client, **more: object) -> AsyncIterator[api.LogEntry]:
        """Yield them."""
        return client.logs(self.pipeline, self.job, self.index, worker=self.worker, **more)  # type: ignore[arg-type]


class Failed:
    """See the module."""

    def __init__(self, client: Client, target: Target, since_ns: int) -> None:
        self._client, self._target, self._since_ns = client, target, since_ns
        self._after = 0
        self._said: dict[loglines.Key, api.LogEntry] = {}
        self._shown: set[loglines.Key] = set()

    @property
    def found(self) -> bool:
        """Whether there was any."""
        return bool(self._shown)

    async def look(self, take: Callable[[Iterable[api.LogEntry]], None], *, last: bool) -> None:
        """Hand on the attempts of which it was said since the last look; at the last one, by records as well."""
        fresh = await self._words()
        recorded = await self._recorded() if last else {}
        for key in ended_attempts.failed(self._said, recorded):
            if key not in self._shown and (key in fresh or key in recorded):
                self._shown.add(key)
                take([each async for each in self._attempt(key, recorded.get(key))])

    async def _words(self) -> set[loglines.Key]:
        """Note the last words since the last look; return which attempts they are about."""
        fresh: set[loglines.Key] = set()
        said = self._target.entries(
            self._client, stream="agent", after=self._after, since_ns=self._since_ns
        )
        async for entry in said:
            self._after = entry.sequence
            if entry.line.ends is not None:
                for key in _meant(entry, self._said):
                    self._said.pop(key, None)
                    self._said[key] = entry
                    fresh.add(key)
        return fresh

    async def _recorded(self) -> dict[loglines.Key, api.LogEntry]:
        """Return what records say of attempts that have ended."""
        found: dict[loglines.Key, api.LogEntry] = {}
        async for job in self._jobs():
            async for view in self._views(job):
                for word in ended_attempts.words(job, view):
                    ours = self._target.worker in ("", word.line.worker)
                    if ours and word.line.at_ns >= self._since_ns:
                        found[loglines.attempt(word)] = word
        return found

    async def _jobs(self) -> AsyncIterator[records.Job]:
        pipeline = self._target.pipeline
        if self._target.job:
            named = api.JobNamed(pipeline=pipeline, id=self._target.job)
            yield await self._client.call("job.get", named, records.Job)
            return
        left = JOBS_MAX
        async for job in self._client.every("job.list", records.Job, key=pipeline):
            counts = job.counts
            bad = counts.failed + counts.quarantined + counts.recovered
            if bad and (not job.ended_ns or job.ended_ns >= self._since_ns):
                yield job
                left -= 1
            if not left:
                return

    async def _views(self, job: records.Job) -> AsyncIterator[api.DatumView]:
        index = self._target.index
        if index is None:
            async for view in self._client.datums(
                job.pipeline, job.id, states=ended_attempts.STATES
            ):
                yield view
            return
        page = api.DatumPage(pipeline=job.pipeline, job=job.id, after=index - 1, limit=1)
        for view in await self._client.call("datum.list", page, list[api.DatumView]):
            if view.index == index:
                yield view

    async def _attempt(
        self, key: loglines.Key, word: api.LogEntry | None
    ) -> AsyncIterator[api.LogEntry]:
        """Yield what an attempt has printed, and what it ended of: by its record, where nobody has said that."""
        job, index, _, worker, *_ = key
        said = False
        async for entry in self._client.logs(self._target.pipeline, job, index, worker=worker):
            if loglines.attempt(entry) == key:
                said = said or entry.line.ends is not None
                yield entry
        if word is not None and not said:
            yield word


def _meant(entry: api.LogEntry, known: Iterable[loglines.Key]) -> list[loglines.Key]:
    """Return which attempt a last word is about: without a number, the last one of that worker."""
    key = loglines.attempt(entry)
    if entry.line.attempt:
        return [key]
    return [each for each in known if each[:-1] == key[:-1]][-1:]
