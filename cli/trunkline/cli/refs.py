"""What people type for jobs, branches and files, and what it stands for."""

from collections.abc import Sequence
from typing import NamedTuple

from trunkline.client.client import Client
from trunkline.contracts import api, errors, names, records


class UnclearJobError(errors.TrunklineError):
    """The first digits of an id are those of several jobs."""

    def __init__(self, pipeline: str, digits: str, count: int) -> None:
        super().__init__(f"{count} jobs of {pipeline!r} begin with {digits!r}: give more digits")
        self.pipeline, self.digits, self.count = pipeline, digits, count


class UnclearDatumError(errors.TrunklineError):
    """The first digits of an id are those of several datums."""

    def __init__(self, job: records.Job, digits: str, indexes: Sequence[int]) -> None:
        super().__init__(
            f"the ids of several datums of {job.pipeline}@{job.id} begin with {digits!r}; name an"
            f" index: {', '.join(map(str, indexes))}"
        )
        self.job, self.digits, self.indexes = job.id, digits, tuple(indexes)


class Place(NamedTuple):
    """A path at a branch or commit of a repo."""

    repo: str
    ref: str
    path: str
    """Without a leading slash; empty for the root."""


def place(text: str) -> Place:
    """Read `REPO[@REF][:PATH]`; the branch `master` is meant where none is named."""
    named, _, path = text.partition(":")
    repo, _, ref = named.partition("@")
    names.repo(repo)
    return Place(repo=repo, ref=ref or "master", path=path.removeprefix("/"))


def split_job(text: str) -> tuple[str, str]:
    """Read `PIPELINE[@ID]`; the id is empty where none is given."""
    pipeline, _, identifier = text.partition("@")
    return names.pipeline(pipeline), identifier


async def job(client: Client, text: str) -> records.Job:
    """Return the job that `PIPELINE`, `PIPELINE@ID` or `PIPELINE@<first digits>` names.

    Raises:
        NotFoundError: there is none. UnclearJobError: more than one id begins like this.
    """
    pipeline, identifier = split_job(text)
    if len(identifier) == 32:
        named = api.JobNamed(pipeline=pipeline, id=identifier)
        return await client.call("job.get", named, records.Job)
    if not identifier:
        view = await client.call("pipeline.get", api.Named(name=pipeline), api.PipelineView)
        if view.last_job is None:
            raise errors.NotFoundError("a job of pipeline", pipeline)
        return view.last_job
    found = [
        each
        async for each in client.every("job.list", records.Job, key=pipeline)
        if each.id.startswith(identifier)
    ]
    if not found:
        raise errors.NotFoundError("job", text)
    if len(found) > 1:
        raise UnclearJobError(pipeline, identifier, len(found))
    return found[0]


_FEW = 5
INDEX_DIGITS = 11
"""More decimal digits are the first ones of an id, of which a list shows 12."""


async def datum(client: Client, job: records.Job, text: str) -> api.DatumView:
    """Return the datum of a job that an index, or the first digits of its id, name.

    Raises:
        NotFoundError: there is none. UnclearDatumError: more than one id begins like this.
    """
    if text.isdecimal() and len(text) <= INDEX_DIGITS:
        request = api.DatumPage(pipeline=job.pipeline, job=job.id, after=int(text) - 1, limit=1)
        at = await client.call("datum.list", request, list[api.DatumView])
        found = [each for each in at if each.index == int(text)]
    else:
        like = client.datums(job.pipeline, job.id, datum=text.lower(), page=_FEW)
        found = [each async for each in like]
    if not found:
        raise errors.NotFoundError("datum", f"{job.pipeline}@{job.id} {text}")
    if len(found) > 1:
        indexes = [each.index for each in found[:_FEW]]
        raise UnclearDatumError(job, text, indexes)
    return found[0]
