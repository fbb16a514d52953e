"""Attempts that have failed, for `logs --failed`: each whole, one after the other, in the order in which it was said.

What counts is the last word on an attempt (`LogLine.ends`): the worker's own, or that of the reaper. A word may be lost,
so at the first and the last look records are asked, too (`core.ended_attempts`): those of the datum that was asked for, or of all datums of
a job that have ended badly. Then an attempt that no word was said of is shown with what its record says, and one that was
excused since (its node went, say) is not. Of a whole pipeline or a worker, so all jobs with such datums: the newest JOBS_MAX, and
it is told where there are more.

What no record shows, if its word is lost too, is an attempt before a good one, where not that datum itself was asked for.
"""

from collections.abc import AsyncIterator, Callable, Iterable

from trunkline.cli import loglines, render
from trunkline.cli.core import ended_attempts
from trunkline.cli.targets import Follower, Target
from trunkline.client.client import Client
from trunkline.contracts import api, records

JOBS_MAX = 200
"""Whose records are asked for, with a request or two each."""


class Failed:
    """See the module."""

    def __init__(self, client: Client, target: Target, since_ns: int) -> None:
        self._client, self._target, self._since_ns = client, target, since_ns
        self._words = Follower(client, target.page(stream="agent", since_ns=since_ns))
        self._looked = self._told = False
        self._said: dict[loglines.Key, api.LogEntry] = {}
        self._shown: set[loglines.Key] = set()

    @property
    def found(self) -> bool:
        """Whether there was any."""
        return bool(self._shown)

    @property
    def passed(self) -> int:
        """How many messages among the last words were passed over, since nobody can read them."""
        return self._words.passed

    async def look(self, take: Callable[[Iterable[api.LogEntry]], None], *, last: bool) -> None:
        """Hand on the attempts of which it was said since the last look; at the first and the last one, by records as well.

        One is shown once it was read whole, so where a look is cut off the next one shows the rest.
        """
        await self._hear()
        recorded = await self._recorded() if last or not self._looked else {}
        for key in ended_attempts.failed(self._said, recorded):
            if key not in self._shown:
                whole = [each async for each in self._attempt(key, recorded.get(key))]
                self._shown.add(key)
                take(whole)
        self._looked = True

    async def _hear(self) -> None:
        """Note the last words since the last look."""
        async for page in self._words.look():
            for entry in page:
                if entry.line.ends is not None:
                    for key in _meant(entry, self._said):
                        self._said.pop(key, None)
                        self._said[key] = entry

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
        asked = 0
        async for job in self._client.every("job.list", records.Job, key=pipeline):
            counts = job.counts
            bad = counts.bad + counts.recovered
            if bad and (not job.ended_ns or job.ended_ns >= self._since_ns):
                if asked == JOBS_MAX:
                    self._tell_of_the_rest(job)
                    return
                yield job
                asked += 1

    def _tell_of_the_rest(self, job: records.Job) -> None:
        if not self._told:
            render.warn(
                f"records of {JOBS_MAX} jobs were asked for, not those of {job.pipeline}@{job.id[:8]} and older ones:"
                " of these, an attempt whose last line is lost is not shown; --since, or a job, asks for fewer"
            )
        self._told = True

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
