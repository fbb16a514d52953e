"""Verbs on jobs and datums."""

import secrets

from trunkline.cli import progress, refs, render, session
from trunkline.cli.core import tries
from trunkline.cli.options import Asked
from trunkline.client.client import Client
from trunkline.contracts import api, records


def list_jobs(asked: Asked, pipeline: str) -> None:
    """List jobs."""

    async def body(client: Client) -> None:
        listed = client.every("job.list", records.Job, key=pipeline, page=100)
        found = await render.gathered(asked, listed)
        if render.records(asked, found):
            return
        headings = (
            *("job", "version", "state", "progress", "failed"),
            *("took", "age", "reason", "code", "copies", "output"),
        )
        render.table(asked, headings, [_job_row(job) for job in found], wide=3)

    session.run(asked, body)


def _job_row(job: records.Job) -> tuple[object, ...]:
    return (
        f"{job.pipeline}@{job.id}",
        job.version,
        job.state,
        progress.progress(job),
        job.counts.bad,
        render.took(job.started_ns, job.ended_ns),
        render.age(job.created_ns),
        job.reason,
        job.code_hash,
        job.counts.copied,
        job.output,
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
        headings = (
            *("index", "state", "tries", "worker", "wait", "download", "process", "upload"),
            *("cpu", "rss", "in", "out", "files", "datum", "reason", "exit", "fingerprint"),
        )
        render.table(asked, headings, [_datum_row(view) for view in found], wide=2)

    session.run(asked, body)


def _datum_row(view: api.DatumView) -> tuple[object, ...]:
    outcome = view.outcome
    if outcome is None:
        return (view.index, view.state, tries.known(view) or "", view.worker, *("",) * 13)
    figures = outcome.figures
    return (
        view.index,
        view.state,
        outcome.attempts,
        outcome.worker,
        render.seconds(figures.wait_s),
        render.seconds(figures.download_s),
        render.seconds(figures.process_s),
        render.seconds(figures.upload_s),
        render.seconds(figures.cpu_s),
        render.size(figures.peak_rss_bytes) if figures.peak_rss_bytes else "-",
        render.size(figures.download_bytes),
        render.size(figures.upload_bytes),
        outcome.output_files,
        outcome.datum[:12],
        outcome.reason,
        "" if outcome.exit_code is None else outcome.exit_code,
        outcome.fingerprint,
    )


def inspect_datum(asked: Asked, text: str, datum: str) -> None:
    """Show one datum with its outcome and its attempts."""

    async def body(client: Client) -> None:
        job = await refs.job(client, text)
        render.record(asked, await refs.datum(client, job, datum))

    session.run(asked, body)


def restart_datums(asked: Asked, text: str, datums: tuple[str, ...]) -> None:
    """Have datums of a running job worked on once more."""

    async def body(client: Client) -> None:
        job = await refs.job(client, text)
        views = [await refs.datum(client, job, each) for each in datums]
        generations = {each.index: each.generation + 1 for each in views}
        request = api.DatumRestart(pipeline=job.pipeline, job=job.id, generations=generations)
        restarted = await client.call("datum.restart", request, records.Job)
        told = ", ".join(map(str, sorted(generations)))
        render.done(asked, restarted, f"job {job.pipeline}@{job.id}: restarted {told}")

    session.run(asked, body)


def stop(asked: Asked, text: str) -> None:
    """Stop a job."""

    async def body(client: Client) -> None:
        job = await refs.job(client, text)
        named = api.JobNamed(pipeline=job.pipeline, id=job.id)
        stopped = await client.call("job.stop", named, records.Job)
        render.done(asked, stopped, f"job {job.pipeline}@{job.id}: {stopped.state}")

    session.run(asked, body)


def rerun(asked: Asked, text: str, *, reprocess: bool) -> None:
    """Run a job again on its inputs."""

    async def body(client: Client) -> None:
        old = await refs.job(client, text)
        request = api.JobRerun(
            pipeline=old.pipeline, job=old.id, reprocess=reprocess, id=secrets.token_hex(16)
        )
        job = await client.call("job.rerun", request, records.Job)
        render.done(asked, job, f"{job.pipeline}@{job.id}")

    session.run(asked, body)


def delete(asked: Asked, text: str) -> None:
    """Delete a job's record."""

    async def body(client: Client) -> None:
        job = await refs.job(client, text)
        named = api.JobNamed(pipeline=job.pipeline, id=job.id)
        deleted = await client.delete("job.delete", named, records.Job)
        render.gone(asked, deleted, f"job {job.pipeline}@{job.id} deleted")

    session.run(asked, body)
