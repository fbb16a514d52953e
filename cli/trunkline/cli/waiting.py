"""The verb `wait`."""

import asyncio
import contextlib
from collections.abc import Sequence

from trunkline.cli import progress, refs, render, saying, session
from trunkline.cli.options import Asked
from trunkline.client import following
from trunkline.client.client import Client
from trunkline.contracts import api, errors, records
from trunkline.contracts.states import JobState


class TooLateError(errors.UnavailableError):
    """What was waited for had not ended in time."""


def wait(asked: Asked, text: str, timeout_s: float) -> None:
    """Wait for a job, or for all that a commit set off; leave with 4 unless all succeeded."""

    async def body(client: Client) -> None:
        limit = asyncio.timeout(timeout_s or None)
        try:
            async with limit:
                jobs = await watched(client, await meant(client, text))
        except TimeoutError:
            if not limit.expired():
                raise
            raise TooLateError(text, f"not ended after {timeout_s:g} s") from None
        if not render.records(asked, jobs):
            for job in jobs:
                saying.say(progress.summary(job))
        bad = [f"{job.pipeline}@{job.id}" for job in jobs if job.state is not JobState.SUCCESS]
        if bad:
            raise session.UnsuccessfulError(bad)

    session.run(asked, body)


async def meant(client: Client, text: str) -> list[tuple[str, str]]:
    """Return the jobs to wait for: one for a pipeline's name, a job set for a repo's."""
    place = refs.place(text)
    try:
        view = await client.call("repo.get", api.Named(name=place.repo), api.RepoView)
        pipeline = view.repo.pipeline
    except errors.RequestRefusedError as error:
        if error.code != "not-found":
            raise
        pipeline = True  # let the pipeline's own answer tell what is missing
    if pipeline:
        job = await refs.job(client, text)
        return [(job.pipeline, job.id)]
    named = api.CommitNamed(repo=place.repo, ref=place.ref)
    commit = await client.call("commit.get", named, records.Commit)
    return await following.job_set(client, place.repo, commit.id)


async def watched(client: Client, jobs: list[tuple[str, str]]) -> Sequence[records.Job]:
    """Show the jobs until all have ended; return them as they ended."""
    last: Sequence[records.Job] = []
    with progress.shown(lines=False) as shown:
        async with contextlib.aclosing(following.follow(client, jobs)) as looks:
            async for last in looks:
                shown.show(last)
    return last
