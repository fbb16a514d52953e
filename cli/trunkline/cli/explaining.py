"""The verb `explain`: gathers what is stored of a thing; `core` makes sentences of it.

WHAT                  DATUM      what is meant
PIPELINE              -          the pipeline: its workers, and its newest job
PIPELINE@ID           -          the job
PIPELINE[@ID]         given      the datum of that job
a worker's name       -          the worker, also one that is gone

Of what has no record any more, since its pipeline was deleted, the events of the last day still tell that.
"""

from collections.abc import AsyncIterable, AsyncIterator
from typing import TypeVar

import msgspec

from trunkline.cli import refs, render, saying, session
from trunkline.cli.core import datums, gone, jobs, pipelines, upstream, workers
from trunkline.cli.core.explanations import Explanation, since
from trunkline.cli.options import Asked
from trunkline.client.client import Client
from trunkline.contracts import api, errors, messages, records
from trunkline.contracts.states import JobState
from trunkline.runtime.clock import SystemClock

T = TypeVar("T")

LATELY_NS = 3600 * 10**9
"""How far back a pipeline's events are looked at."""

LOOK_BACK_NS = 24 * 3600 * 10**9
"""How far back those of a worker are, which are few, and those of what has no record any more."""

_SKEW_NS = 60 * 10**9
"""By how much clocks of the server and of a service may disagree, so that a job's first events are missed."""

SHOWN = 10
"""Events that are printed; JSON and YAML have all that were looked at."""

LOOKED_AT = 5000
"""Of a pipeline's newest events at least so many are looked through, and a few times that at most: one whose datums are
small or hostile has millions."""

_SAMPLE = 20
"""Datums that are looked at in each state: enough to tell causes apart."""
_EVENTS_MAX = 2000
_ROOTS = 3
"""Jobs above that a waiting one is told of with their causes, some requests each; others are named."""
_SETTLED = 200
"""Jobs of a pipeline one after the other, newest first, for which nothing is left to be done: what is older than so
many is not looked at. Jobs finish in order, except for some that are killed or UNRUNNABLE."""
_BAD = ("FAILED", "QUARANTINED")
_HELD, _QUEUED = ("RUNNING", "STARTING"), ("WAITING",)


def explain(asked: Asked, what: str, datum: str) -> None:
    """Say why a pipeline, a job, a datum or a worker is as it is."""

    async def body(client: Client) -> None:
        found = await explanation(client, what, datum)
        if not render.one(asked, found):
            show(found, SystemClock().wall_ns())

    session.run(asked, body)


async def explanation(client: Client, what: str, datum: str = "") -> Explanation:
    """Return the explanation of what these words mean.

    Raises:
        NotFoundError: there is nothing of that name, and there was nothing lately.
    """
    pipeline, identifier = refs.split_job(what)
    if datum:
        return await _datum(client, what, datum)
    if identifier:
        return await _job_explained(client, what)
    view = await _pipeline(client, pipeline)
    if view is not None:
        return await _pipeline_explained(client, view)
    events = await _lately(client, pipeline)
    found = gone.pipeline(pipeline, events, SystemClock().wall_ns())
    return found or await _worker(client, what)


def show(found: Explanation, now_ns: int) -> None:
    """Print an explanation for people."""
    saying.say(found.standing)
    told: set[str] = set()
    for number, reason in enumerate(found.reasons):
        saying.say(f"{'also: ' if number else 'why: '}{reason.why}")
        if reason.remedy and reason.remedy not in told:
            saying.say(f"  what to do: {reason.remedy}")
            told.add(reason.remedy)
    for line in found.details:
        saying.say(line)
    if found.events:
        saying.say("events:")
    for event in found.events[-SHOWN:]:
        saying.say(f"  {since(event.at_ns, now_ns)} ago, {event.source}: {event.text}")


async def _pipeline(client: Client, name: str) -> api.PipelineView | None:
    try:
        return await client.call("pipeline.get", api.Named(name=name), api.PipelineView)
    except errors.RequestRefusedError as error:
        if error.code != "not-found":
            raise
        return None


async def _job_explained(client: Client, what: str) -> Explanation:
    """Explain a job that has a record, or of which events speak."""
    job = await _recorded(client, what)
    if isinstance(job, Explanation):
        return job
    return jobs.explain(await _job(client, job, events=True))


async def _recorded(
    client: Client, what: str, index: int | None = None
) -> records.Job | Explanation:
    """Return a job, or where it has no record what events say of it, or of a datum of it."""
    try:
        return await refs.job(client, what)
    except (errors.NotFoundError, errors.RequestRefusedError) as error:
        if isinstance(error, errors.RequestRefusedError) and error.code != "not-found":
            raise
        name, identifier = refs.split_job(what)
        events, now_ns = await _lately(client, name), SystemClock().wall_ns()
        found = gone.job(name, identifier, events, now_ns, index)
        if found is None:
            raise
        return found


async def _lately(client: Client, pipeline: str, worker: str = "") -> tuple[messages.Event, ...]:
    """Return a pipeline's events of the last day, or those of them that name a worker."""
    since_ns = SystemClock().wall_ns() - LOOK_BACK_NS
    listed = client.events(pipeline, worker=worker, since_ns=since_ns, last=LOOKED_AT)
    return await _last(listed, _EVENTS_MAX)


async def _pipeline_explained(client: Client, view: api.PipelineView) -> Explanation:
    name = view.pipeline.name
    now_ns = SystemClock().wall_ns()
    found = await client.call("pipeline.explain", api.Named(name=name), api.Explained)
    newest = await _job(client, view.last_job, view=view) if view.last_job else None
    listed = client.events(name, since_ns=now_ns - LATELY_NS, last=LOOKED_AT)
    return pipelines.explain(
        pipelines.Facts(
            pipeline=view.pipeline,
            now_ns=now_ns,
            scaling=found.scaling,
            decision=found.decision,
            job=newest,
            events=await _last(listed, _EVENTS_MAX),
        )
    )


async def _job(
    client: Client,
    job: records.Job,
    *,
    view: api.PipelineView | None = None,
    events: bool = False,
) -> jobs.Facts:
    """Return what is stored of a job, and of what it waits for."""
    known = await _alone(client, job, view)
    above = await _searched(client, job)
    roots = above.roots()
    most = 1 if job.state is JobState.UNRUNNABLE else _ROOTS
    near = [
        msgspec.structs.replace(await _alone(client, each), way=above.way(each))
        for each in roots[:most]
    ]
    return msgspec.structs.replace(
        known,
        upstream=tuple(near),
        further=tuple(roots[most:]),
        cut=above.cut,
        events=await _last(_of_job(client, job), _EVENTS_MAX) if events else (),
    )


async def _alone(
    client: Client, job: records.Job, view: api.PipelineView | None = None
) -> jobs.Facts:
    """Return what is stored of a job, without those above it."""
    if view is None and not job.state.ended:
        view = await _pipeline(client, job.pipeline)
    bad: tuple[api.DatumView, ...] = ()
    open_: tuple[api.DatumView, ...] = ()
    if job.counts.bad:
        bad = await _first(client.datums(job.pipeline, job.id, states=_BAD, page=_SAMPLE), _SAMPLE)
    if job.state in (JobState.LISTING, JobState.RUNNING):
        # the queued, too: one that is tried again is between two workers for a while
        for states in (_HELD, _QUEUED):
            views = client.datums(job.pipeline, job.id, states=states, page=_SAMPLE)
            open_ += await _first(views, _SAMPLE)
    return jobs.Facts(
        job=job,
        now_ns=SystemClock().wall_ns(),
        pipeline=view.pipeline if view else None,
        scaling=view.scaling if view else None,
        others=await _others(client, job),
        bad=bad,
        open=open_,
    )


async def _others(client: Client, job: records.Job) -> tuple[records.Job, ...]:
    """Return the pipeline's other jobs that have not ended, or are not put away; none where the job waits for nothing."""
    if job.state.ended:
        return ()
    found: list[records.Job] = []
    settled = 0
    async for each in client.every("job.list", records.Job, key=job.pipeline):
        if each.state.ended and each.compacted:
            settled += 1
            if settled == _SETTLED:
                break
            continue
        settled = 0
        if each.id != job.id:
            found.append(each)
    return tuple(found)


async def _searched(client: Client, job: records.Job) -> upstream.Search:
    """Look for the jobs above that keep this one from its input."""
    search = upstream.Search(job)
    while name := search.wanted:
        try:
            named = api.JobNamed(pipeline=name, id=job.id)
            search.take(await client.call("job.get", named, records.Job))
        except errors.RequestRefusedError as error:
            if error.code != "not-found":
                raise
            search.take(None)  # deleted: the job's own reason says so
    return search


async def _datum(client: Client, what: str, datum: str) -> Explanation:
    index = int(datum) if datum.isdecimal() and len(datum) <= refs.INDEX_DIGITS else None
    job = await (refs.job(client, what) if index is None else _recorded(client, what, index))
    if isinstance(job, Explanation):
        return job
    view = await refs.datum(client, job, datum)
    told = await _last(_of_job(client, job, view.index), _EVENTS_MAX)
    facts = datums.Facts(view=view, job=await _job(client, job), events=told)
    return datums.explain(facts)


async def _worker(client: Client, name: str) -> Explanation:
    """Explain a worker that is there, or that events speak of."""
    now_ns = SystemClock().wall_ns()
    async for view in client.every("pipeline.list", api.PipelineView, page=100):
        there = view.scaling is not None and any(each.name == name for each in view.scaling.workers)
        if not there and not workers.may_be_of(view.pipeline.name, name):
            continue
        told = await _lately(client, view.pipeline.name, name)
        if there or told:
            return workers.explain(
                workers.Facts(
                    name=name,
                    pipeline=view.pipeline,
                    now_ns=now_ns,
                    scaling=view.scaling,
                    events=told,
                )
            )
    of = workers.pipeline_in(name)
    if of and (found := gone.worker(name, of, await _lately(client, of), now_ns)) is not None:
        return found
    raise errors.NotFoundError(
        "pipeline or worker",
        name,
        "`trunkline list pipelines` and `trunkline list workers` show what there is;"
        " a job is PIPELINE@ID",
    )


async def _of_job(
    client: Client, job: records.Job, index: int | None = None
) -> AsyncIterator[messages.Event]:
    """Yield the events of a job, or of one of its datums, as far back as is looked."""
    since_ns = job.created_ns - _SKEW_NS
    async for each in client.events(job.pipeline, job=job.id, since_ns=since_ns, last=LOOKED_AT):
        if index is None or each.index == index:
            yield each


async def _first(source: AsyncIterable[T], most: int) -> tuple[T, ...]:
    found: list[T] = []
    async for each in source:
        found.append(each)
        if len(found) == most:
            break
    return tuple(found)


async def _last(source: AsyncIterable[T], most: int) -> tuple[T, ...]:
    found: list[T] = []
    async for each in source:
        found.append(each)
        if len(found) > 2 * most:
            del found[:-most]
    return tuple(found[-most:])
