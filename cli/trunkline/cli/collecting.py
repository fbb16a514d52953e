"""The verb `gc`: the coordinator collects; this asks how far it is until it has ended."""

import asyncio

from trunkline.cli import render, session
from trunkline.cli.options import Asked
from trunkline.client.client import Client
from trunkline.contracts import api, errors
from trunkline.contracts.wording import counted

_ASK_S = 0.2


class CollectionError(errors.TrunklineError):
    """A collection has come to nothing."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)


def collect(asked: Asked, *, dry_run: bool, despite_damage: bool) -> None:
    """Have the store swept, and say what went."""

    async def body(client: Client) -> None:
        request = api.Collect(dry_run=dry_run, despite_damage=despite_damage)
        report = await client.call("gc.start", request, api.Collection)
        if report.dry_run != dry_run:
            raise CollectionError("another collection runs: ask again once it has ended")
        while not report.ended_ns:
            await asyncio.sleep(_ASK_S)
            report = await client.call("gc.get", None, api.Collection)
        for damage in report.damaged:
            render.warn(damage)
        render.done(asked, report, sentence(report))
        if report.problem:
            raise CollectionError(report.problem)

    session.run(asked, body)


def sentence(report: api.Collection) -> str:
    """Return what a collection did, for people."""
    verb = "would remove" if report.dry_run else "removed"
    return (
        f"{verb} {report.removed} of {counted(report.objects, 'object')} ({render.size(report.removed_bytes)}"
        f" of {render.size(report.bytes)}), {counted(report.jobs, 'job record')} and"
        f" {counted(report.commits, 'commit record')}"
    )
