"""The verb `logs`."""

import asyncio

import click
import msgspec

from trunkline.cli import refs, session
from trunkline.cli.options import Asked
from trunkline.client.client import Client
from trunkline.contracts import api, records

POLL_S = 0.5
"""Between two looks of `--follow`; the log stream is not in the user's account."""


def logs(asked: Asked, text: str, datum: str, *, follow: bool) -> None:
    """Print log lines; with `follow`, go on until the job has ended (of a pipeline, for ever)."""

    async def body(client: Client) -> None:
        pipeline, identifier = refs.split_job(text)
        found = await refs.job(client, text) if identifier or datum else None
        job = found.id if found else ""
        index = (await refs.datum(client, found, datum)).index if found and datum else None
        after = 0
        while True:
            ended = follow and job != "" and await _ended(client, pipeline, job)
            async for entry in client.logs(pipeline, job, index, after=after):
                after = entry.sequence
                _show(asked, entry)
            if not follow or ended:
                return
            await asyncio.sleep(POLL_S)

    session.run(asked, body)


async def _ended(client: Client, pipeline: str, identifier: str) -> bool:
    """Return whether the job had ended before the look at the logs that follows."""
    named = api.JobNamed(pipeline=pipeline, id=identifier)
    return (await client.call("job.get", named, records.Job)).state.ended


def _show(asked: Asked, entry: api.LogEntry) -> None:
    if asked.output != "table":
        click.echo(msgspec.json.encode(entry))
        return
    line = entry.line
    for text in line.text.splitlines():
        click.echo(f"[{entry.job[:8]} {line.index} {line.stream}] {text}")
