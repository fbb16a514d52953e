"""The verb `logs`: what commands have printed, read from the log stream by the coordinator, a page at a time.

WHAT                  DATUM      whose lines                        with --follow, until
PIPELINE              -          all of the pipeline                it is interrupted, or the pipeline deleted
PIPELINE@ID           -          one job's                          the job has ended
PIPELINE[@ID]         given      one datum's                        it has an outcome, or its job has ended
a worker's name       -          what ran in it, also if it is gone the same

The place up to which was read is a sequence of the stream, and each look goes on behind it: so none of what the
stream holds is missed or shown twice, whoever of the services is started again in between.

With --failed see `failures`.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from trunkline.cli import loglines, refs, render, saying, session
from trunkline.cli.failures import Failed
from trunkline.cli.loglines import Line, Lines
from trunkline.cli.options import Asked
from trunkline.cli.targets import Follower, Target
from trunkline.client.client import Client
from trunkline.contracts import api, errors, records

POLL_S = 0.5
"""Between two looks of `--follow`; the log stream is not in the user's account."""
LAST_MAX = 100_000
"""Of messages from the end, among which as many lines are looked for as were asked for; as far back as the coordinator goes."""
_PIECES_MAX = 20_000
"""Of pieces of lines that are held for that."""
_PREFIX_CHARS = 30
"""Of a pipeline's name that each of its workers' names begins with."""


class Wanted(NamedTuple):
    """Which lines, and how."""

    follow: bool = False
    failed: bool = False
    since_ns: int = 0
    tail: int | None = None
    timestamps: bool = False


class LinesGoneError(errors.NotFoundError):
    """What was printed was kept once, and is not any more."""

    def __init__(self, whose: str, bounds: api.LogBounds) -> None:
        text = f"what {whose} has printed is not kept any more: {_kept(bounds)}"
        errors.TrunklineError.__init__(self, text)


def logs(asked: Asked, what: str, datum: str, wanted: Wanted) -> None:
    """Print what was printed."""

    async def body(client: Client) -> None:
        target = await _target(client, what, datum)
        show = _Show(asked, wanted)
        source = (
            Failed(client, target, wanted.since_ns)
            if wanted.failed
            else All(client, target, wanted, whole=asked.for_people)
        )
        if not wanted.follow:
            await source.look(show.take, last=True)
            show.end()
            if not source.found:
                await _nothing(client, target, wanted, source.passed)
            elif wanted.since_ns:
                await _told_what_is_gone(client, wanted)
            return
        await _follow(client, target, source, show)

    session.run(asked, body)


async def _follow(client: Client, target: Target, source: "_Source", show: "_Show") -> None:
    told = False
    while True:
        try:
            ended = await _ended(client, target)
            await source.look(show.take, last=ended)
        except errors.UnavailableError as error:
            if not told:
                render.warn(f"{error}; trying on")
            told = True
        else:
            told = False
            show.looked()
            if ended:
                show.end()
                return
        await asyncio.sleep(POLL_S)


class All:
    """All lines of a target, or the last ones and what comes then."""

    def __init__(self, client: Client, target: Target, wanted: Wanted, *, whole: bool) -> None:
        self._client, self._wanted, self._whole = client, wanted, whole
        self._target = target
        self._follower: Follower | None = None
        self.found = False

    @property
    def passed(self) -> int:
        """How many messages were passed over, since nobody can read them."""
        return self._follower.passed if self._follower is not None else 0

    async def look(self, take: Callable[[Iterable[api.LogEntry]], None], *, last: bool) -> None:  # noqa: ARG002 - of no meaning here
        """Hand on what has come since the last look; nothing comes after the last one."""
        if self._follower is None and self._wanted.tail is not None:
            found = await self._last_ones(self._wanted.tail)
            self.found = bool(found)
            take(found)
            return
        self._follower = self._follower or Follower(self._client, self._page())
        async for page in self._follower.look():
            self.found = self.found or bool(page)
            take(page)

    async def _last_ones(self, lines: int) -> list[api.LogEntry]:
        """Return from the end as much as holds so many lines, of which each may have come in several pieces.

        A worker may have put what is no line where lines belong: that counts for none, and more is looked through.
        """
        most = max(1, lines)
        while True:
            follower = Follower(self._client, self._page(last=most))
            found = [entry async for page in follower.look() for entry in page]
            enough = len(found) + follower.passed < most or self._enough(found, lines)
            if enough or most >= LAST_MAX:
                self._follower = follower
                if not enough:
                    render.warn(
                        f"{follower.passed} of the last {most} messages are no lines that anybody can read;"
                        " what was printed before them is shown without --tail"
                    )
                return found
            most = min(most * 4, LAST_MAX)

    def _enough(self, found: list[api.LogEntry], lines: int) -> bool:
        if not self._whole:
            return len(found) >= lines
        ends = sum(entry.line.text.count("\n") for entry in found)
        return ends > lines or len(found) >= _PIECES_MAX

    def _page(self, last: int = 0) -> api.LogPage:
        return self._target.page(since_ns=self._wanted.since_ns, last=last)


_Source = All | Failed


class _Show:
    """Prints entries as they are asked for."""

    def __init__(self, asked: Asked, wanted: Wanted) -> None:
        self._asked, self._wanted = asked, wanted
        self._lines = Lines()
        self._last: deque[Line | api.LogEntry] | None = None
        if wanted.tail is not None:
            self._last = deque(maxlen=wanted.tail)
        self._terminal = sys.stdout.isatty()

    def take(self, entries: Iterable[api.LogEntry]) -> None:
        for entry in entries:
            self._put(self._lines.take(entry) if self._asked.for_people else [entry])

    def looked(self) -> None:
        """Show what is held: with --tail, the last lines of what was there at the first look, one without an end included."""
        self._put(self._lines.looked())
        self._let_go(len(self._lines))

    def end(self) -> None:
        self._put(self._lines.looked(end=True))
        self._let_go()

    def _let_go(self, unfinished: int = 0) -> None:
        last, self._last = self._last, None
        if last is not None:
            self._put(list(last)[max(0, len(last) + unfinished - (last.maxlen or 0)) :])

    def _put(self, lines: Iterable[Line | api.LogEntry]) -> None:
        for each in lines:
            if self._last is not None:
                self._last.append(each)
            elif isinstance(each, Line):
                timestamps = self._wanted.timestamps
                saying.unchanged(
                    loglines.shown(each, timestamps=timestamps, terminal=self._terminal)
                )
            else:
                render.streamed(self._asked, each)


# --- whose lines ----------------------------------------------------------------------------------


async def _target(client: Client, what: str, datum: str) -> Target:
    """Return what is meant.

    Raises:
        NotFoundError: there is no such thing, nor was there one that is known.
    """
    pipeline, identifier = refs.split_job(what)
    if not identifier and not datum:
        if await _is_pipeline(client, pipeline):
            return Target(f"pipeline {pipeline}", pipeline)
        return await _worker(client, what)
    job = await refs.job(client, what)
    name, began_ns = f"{job.pipeline}@{job.id}", job.started_ns or job.created_ns
    if not datum:
        return Target(name, job.pipeline, job.id, began_ns=began_ns)
    index = (await refs.datum(client, job, datum)).index
    text = f"datum {index} of {name}"
    return Target(text, job.pipeline, job.id, index, began_ns=began_ns)


async def _is_pipeline(client: Client, name: str) -> bool:
    try:
        await client.call("pipeline.get", api.Named(name=name), api.PipelineView)
    except errors.RequestRefusedError as error:
        if error.code != "not-found":
            raise
        return False
    return True


async def _worker(client: Client, name: str) -> Target:
    """Return the worker of this name, if it is there or has printed anything that is kept."""
    async for view in client.every("pipeline.list", api.PipelineView, page=100):
        pipeline = view.pipeline.name
        if name.startswith(f"{pipeline[:_PREFIX_CHARS]}-"):
            target = Target(f"worker {name}", pipeline, worker=name)
            there = view.scaling is not None and name in [
                each.name for each in view.scaling.workers
            ]
            if there or await _has_printed(client, target):
                return target
    raise errors.NotFoundError(
        "pipeline or worker",
        name,
        "or what it has printed is not kept any more; a job is PIPELINE@ID,"
        " and `trunkline list workers` shows who is there",
    )


async def _has_printed(client: Client, target: Target) -> bool:
    follower = Follower(client, target.page(last=1))
    return any([page async for page in follower.look()]) or follower.passed > 0


async def _ended(client: Client, target: Target) -> bool:
    """Return whether nothing more can come than what a look finds that begins now."""
    if not target.job:
        return not await _is_pipeline(client, target.pipeline)
    named = api.JobNamed(pipeline=target.pipeline, id=target.job)
    if (await client.call("job.get", named, records.Job)).state.ended:
        return True
    if target.index is None:
        return False
    page = api.DatumPage(pipeline=target.pipeline, job=target.job, after=target.index - 1, limit=1)
    found = await client.call("datum.list", page, list[api.DatumView])
    return bool(found) and found[0].index == target.index and found[0].outcome is not None


async def _nothing(client: Client, target: Target, wanted: Wanted, passed: int) -> None:
    """Say why there is nothing."""
    bounds = await client.call("log.bounds", None, api.LogBounds)
    gone_before = bounds.first_ns if bounds.messages else sys.maxsize
    if bounds.gone and not wanted.since_ns and target.began_ns < gone_before and target.began_ns:
        raise LinesGoneError(target.text, bounds)
    what = "no attempt has failed" if wanted.failed else "nothing was printed"
    if passed:
        what = f"nothing that can be read was found, and {passed} messages were passed over that nobody can read"
    since = f" since {loglines.time_of(wanted.since_ns)}" if wanted.since_ns else ""
    if bounds.gone and wanted.since_ns < gone_before:
        since += f", as far as lines are kept: {_kept(bounds)}"
    saying.tell(f"{target.text}: {what}{since}")


async def _told_what_is_gone(client: Client, wanted: Wanted) -> None:
    """Say so, where lines since a time were asked for and the first of them may be gone."""
    bounds = await client.call("log.bounds", None, api.LogBounds)
    if bounds.gone and bounds.messages and wanted.since_ns < bounds.first_ns:
        render.warn(f"there may have been more: {_kept(bounds)}")


def _kept(bounds: api.LogBounds) -> str:
    begins = f"the oldest that is kept is of {loglines.time_of(bounds.first_ns)}; "
    kept = f"lines are kept for {render.duration(bounds.max_age_s)}"
    return (
        begins if bounds.messages else ""
    ) + f"{kept}, and {render.size(bounds.max_bytes)} of all"
