"""What specs would do: the dry runs of `apply` and `list datums`."""

from trunkline.cli import render, saying, session, specs
from trunkline.cli.options import Asked
from trunkline.client.client import Client
from trunkline.contracts import api
from trunkline.contracts.wording import counted

_PLAN_S = 12.0
"""The coordinator takes some seconds at most."""


def show(asked: Asked, files: tuple[str, ...], *, now: bool, reprocess: bool) -> None:
    """Say what the specs of all files would do, one after the other; or all that is wrong with them."""

    async def body(client: Client) -> None:
        plans = await _plans(client, files, now=now, reprocess=reprocess)
        if render.records(asked, plans):
            return
        for plan in plans:
            saying.say(sentence(plan))
            for warning in plan.warnings:
                render.warn(f"pipeline {plan.pipeline}: {warning}")

    session.run(asked, body)


def list_datums(asked: Asked, file: str) -> None:
    """List the first datums that a spec would make."""

    async def body(client: Client) -> None:
        plans = await _plans(client, (file,))
        first = [each for plan in plans for each in plan.first]
        if render.records(asked, first):
            return
        rows = [
            (
                each.index,
                "SKIPPED" if each.skipped else "",
                render.size(each.size),
                each.id[:12],
                each.paths,
            )
            for each in first[: asked.limit or None]
        ]
        render.table(asked, ("index", "state", "in", "datum", "inputs"), rows)
        if any(len(plan.first) < plan.datums for plan in plans):
            render.warn(
                "these are the first ones; `trunkline apply --dry-run` says how many there are"
            )

    session.run(asked, body)


async def _plans(
    client: Client, files: tuple[str, ...], *, now: bool = False, reprocess: bool = False
) -> list[api.Plan]:
    documents = [document for file in files for document in specs.documents(file)]
    text = documents[0] if len(documents) == 1 else b"[" + b",".join(documents) + b"]"
    told = text.decode("utf-8", "replace")
    wanted = api.PipelinePlan(specs=told, now=now, reprocess=reprocess)
    return await client.call("pipeline.plan-as", wanted, list[api.Plan], timeout_s=_PLAN_S)


def sentence(plan: api.Plan) -> str:
    """Return what a spec would do, for people."""
    version = f"version {plan.version}" if plan.changed else f"version {plan.version} as it is"
    least = "at least " if plan.cut else ""
    workers = "? workers" if plan.workers is None else counted(plan.workers, "worker")
    runs = "" if plan.runs else "; no job would run now"
    kills = (
        f"; {counted(plan.kills, 'job')} of older versions would be killed" if plan.kills else ""
    )
    return (
        f"pipeline {plan.pipeline}: {version}: {least}{counted(plan.datums, 'datum')}, of which {plan.skipped}"
        f" would be skipped; {render.size(plan.bytes)} to fetch; at most {workers}{runs}{kills}"
    )
