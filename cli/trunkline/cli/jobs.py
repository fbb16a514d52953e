"""Verbs on jobs and datums."""

from trunkline.cli import refs, render, session
from trunkline.cli.options import Asked
from trunkline.client.client import Client
from trunkline.contracts import api, errors, messages, records


def list_jobs(asked: Asked, pipeline: str) -> None:
    """List jobs."""

    async def body(client: Client) -> None:
        listed = client.every("job.list", records.Job, key=pipeline, page=100)
        found = await render.gathered(asked, listed)
        if render.records(asked, found):
            return
        headings = (
            *("job", "version", "state", "datums", "processed", "skipped", "failed"),
            *("took", "age", "reason"),
        )
        render.table(headings, [_job_row(job) for job in found])

    session.run(asked, body)


def _job_row(job: records.Job) -> tuple[object, ...]:
    counts = job.counts
    return (
        f"{job.pipeline}@{job.id}",
        job.version,
        job.state,
        f"{job.listed_to}+" if job.total is None else job.total,
        counts.processed + counts.recovered,
        counts.skipped,
        counts.failed + counts.quarantined,
        render.took(job.started_ns, job.ended_ns),
        render.age(job.created_ns),
        job.reason,
    )


def inspect_job(asked: Asked, text: str) -> None:
    """Show a job."""

    async def body(client: Client) -> None:
        render.record(asked, await refs.job(client, text))

    session.run(asked, body)


def list_datums(asked: Asked, text: str, states: tuple[str, ...]) -> None:
    """List the datums of a job."""

    async def body(client: Client) -> None:
        job = await refs.job(client, text)
        found = await render.gathered(asked, client.datums(job.pipeline, job.id, states=states))
        if render.records(asked, found):
            return
        headings = ("index", "state", "tries", "worker", "took", "files", "size", "datum", "reason")
        render.table(headings, [_datum_row(view) for view in found])

    session.run(asked, body)


def _datum_row(view: api.DatumView) -> tuple[object, ...]:
    outcome = view.outcome
    if outcome is None:
        return (view.index, view.state, *("-",) * 7)
    return (
        view.index,
        view.state,
        outcome.attempts,
        outcome.worker,
        render.duration(_seconds(outcome.figures)),
        outcome.output_files,
        render.size(outcome.output_bytes),
        outcome.datum[:12],
        outcome.reason,
    )


def _seconds(figures: messages.Figures) -> float:
    return figures.download_s + figures.process_s + figures.upload_s


def inspect_datum(asked: Asked, text: str, index: int) -> None:
    """Show one datum with its outcome and its attempts."""

    async def body(client: Client) -> None:
        job = await refs.job(client, text)
        request = api.DatumPage(pipeline=job.pipeline, job=job.id, after=index - 1, limit=1)
        found = await client.call("datum.list", request, list[api.DatumView])
        if not found or found[0].index != index:
            raise errors.NotFoundError("datum", f"{job.pipeline}@{job.id} {index}")
        render.record(asked, found[0])

    session.run(asked, body)


def stop(asked: Asked, text: str) -> None:
    """Stop a job."""

    async def body(client: Client) -> None:
        job = await refs.job(client, text)
        named = api.JobNamed(pipeline=job.pipeline, id=job.id)
        stopped = await client.call("job.stop", named, records.Job)
        render.done(asked, stopped, f"job {job.pipeline}@{job.id}: {stopped.state}")

    session.run(asked, body)
