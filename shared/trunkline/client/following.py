"""Following jobs to their end: looks at them again and again, since the API is request-reply.

A look costs the coordinator one read of its memory. What is missed between two looks is only ever
a state on the way; the state in which a job ended stays.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

from trunkline.client.client import Client
from trunkline.contracts import api, errors, records, spec
from trunkline.contracts.states import JobState

LOOK_S = 0.2
"""Between two looks: what a person sees as live."""

APPEAR_S = 20.0
"""How long a commit's jobs may take to appear; they are created with it, or by the next resync."""


async def follow(
    client: Client, jobs: Iterable[tuple[str, str]], *, look_s: float = LOOK_S
) -> AsyncGenerator[Sequence[records.Job], None]:
    """Yield these jobs as they stand, time and again, in the order given; end with all ended.

    Args:
        client: Whom to ask.
        jobs: (pipeline, id) each.
        look_s: Seconds between two looks.

    Raises:
        RequestRefusedError: one of them does not exist (any more).
    """
    named = list(jobs)
    seen: dict[tuple[str, str], records.Job] = {}
    while True:
        for pipeline, identifier in named:
            before = seen.get((pipeline, identifier))
            if before is None or may_have_changed(before, seen):
                request = api.JobNamed(pipeline=pipeline, id=identifier)
                seen[pipeline, identifier] = await client.call("job.get", request, records.Job)
        snapshot = [seen[each] for each in named]
        yield snapshot
        if all(job.state.ended for job in snapshot):
            return
        await asyncio.sleep(look_s)


def may_have_changed(job: records.Job, seen: Mapping[tuple[str, str], records.Job]) -> bool:
    """Return whether a job is to be looked at again: in a wide DAG nearly all only wait for others that are seen, too.

    One of those that is stopped while it waits is seen as that once the jobs that it waits for have ended.
    """
    if job.state is not JobState.WAITING:
        return not job.state.ended
    above = [seen.get((each.repo, job.id)) for each in job.awaited]
    states = [each.state for each in above if each is not None]
    return any(each.bad for each in states) or all(each is JobState.SUCCESS for each in states)


async def job_set(client: Client, repo: str, commit: str) -> list[tuple[str, str]]:
    """Return the jobs that a commit sets off, upstream first, as soon as they are all there.

    Mostly they bear its id. But where several inputs of a pipeline had moved before its job was made, the
    job bears that of one of them, and a rerun has an id of its own; so it is looked for by what it
    reads (`api.JobReading`).

    Raises:
        UnavailableError: some did not appear within APPEAR_S.
    """
    pipelines = [
        view.pipeline
        async for view in client.every("pipeline.list", api.PipelineView, page=100)
        if view.pipeline.spec is not None
    ]
    branch = (
        await client.call("commit.get", api.CommitNamed(repo=repo, ref=commit), records.Commit)
    ).branch
    wanted = closure([each.spec for each in pipelines if each.spec is not None], repo, branch)
    reached = {(repo, branch): (repo, commit)}
    found = []
    try:
        async with asyncio.timeout(APPEAR_S):
            for each in wanted:
                job = await _appeared(client, each, reached)
                reached[each.name, each.output_branch] = (each.name, job)
                found.append((each.name, job))
    except TimeoutError:
        what = f"a job of {', '.join(each.name for each in wanted[len(found) :])}"
        what += f" for commit {commit}"
        raise errors.UnavailableError(what, f"none after {APPEAR_S:g} s") from None
    return found


def closure(specs: Sequence[spec.PipelineSpec], repo: str, branch: str) -> list[spec.PipelineSpec]:
    """Return the pipelines that a commit on a branch sets off, each after those that it reads."""
    moved = {(repo, branch)}
    order: list[spec.PipelineSpec] = []
    waiting = list(specs)
    while True:
        reached = [
            each
            for each in waiting
            if any((leaf.repo, leaf.branch) in moved for leaf in spec.inputs(each.input))
        ]
        if not reached:
            return order
        for each in reached:
            waiting.remove(each)
            moved.add((each.name, each.output_branch))
            order.append(each)


async def _appeared(
    client: Client, pipeline: spec.PipelineSpec, reached: Mapping[tuple[str, str], tuple[str, str]]
) -> str:
    """Return the id of the pipeline's job on one of the commits that were reached, once it is there."""
    read = [
        reached[leaf.repo, leaf.branch]
        for leaf in spec.inputs(pipeline.input)
        if (leaf.repo, leaf.branch) in reached
    ]
    while True:
        for repo, commit in read:
            request = api.JobReading(pipeline=pipeline.name, repo=repo, commit=commit)
            try:
                return (await client.call("job.find", request, records.Job)).id
            except errors.RequestRefusedError as error:
                if error.code != "not-found":
                    raise
        await asyncio.sleep(LOOK_S)
