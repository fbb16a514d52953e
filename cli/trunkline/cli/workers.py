"""Verbs on workers, nodes and events."""

from trunkline.cli import render, saying, session
from trunkline.cli.options import Asked
from trunkline.client.client import Client
from trunkline.contracts import api, errors, messages, records
from trunkline.contracts.wording import counted


def list_workers(asked: Asked, pipeline: str) -> None:
    """List workers, with the sentence that says why there are so many of each pipeline's."""

    async def body(client: Client) -> None:
        listed = client.every("worker.list", records.Scaling, key=pipeline, page=100)
        found = await render.gathered(asked, listed)
        if render.records(asked, found):
            return
        rows = [
            (
                scaling.pipeline,
                worker.name,
                worker.phase,
                worker.held,
                f"{worker.job[:12]} {worker.index}" if worker.job else "-",
                render.took(worker.since_ns, 0),
                render.age(worker.created_ns),
                worker.code_hash,
                render.age(worker.pulled_ns),
            )
            for scaling in found
            for worker in scaling.workers
        ]
        headings = ("pipeline", "worker", "phase", "held", "job and datum", "since", "age")
        render.table(asked, (*headings, "code", "first asked"), rows, wide=2)
        for scaling in found:
            why = f"{scaling.pipeline}: {scaling.have} of {scaling.want}: {scaling.reason}"
            more = f"; {scaling.more_workers} more are not listed" if scaling.more_workers else ""
            saying.say(why + more + (f"; {scaling.problem}" if scaling.problem else ""))

    session.run(asked, body)


def inspect_worker(asked: Asked, name: str) -> None:
    """Show one worker."""

    async def body(client: Client) -> None:
        async for scaling in client.every("worker.list", records.Scaling, page=100):
            for worker in scaling.workers:
                if worker.name == name:
                    render.record(asked, worker)
                    return
        raise errors.NotFoundError("worker", name)

    session.run(asked, body)


def list_events(asked: Asked, pipeline: str) -> None:
    """List events, oldest first."""

    async def body(client: Client) -> None:
        listed = client.every("event.list", messages.Event, key=pipeline)
        found = await render.gathered(asked, listed)
        if render.records(asked, found):
            return
        rows = [
            (
                render.age(event.at_ns),
                event.source,
                event.kind,
                event.pipeline,
                event.text,
                event.job,
                "" if event.index is None else event.index,
                event.worker,
            )
            for event in found
        ]
        headings = ("ago", "source", "kind", "pipeline", "what", "job", "datum", "worker")
        render.table(asked, headings, rows, wide=3)

    session.run(asked, body)


def nodes_set(asked: Asked, count: int) -> None:
    """Set the number of logical nodes."""

    async def body(client: Client) -> None:
        nodes = await client.call("nodes.set", api.NodesSet(count=count), records.Nodes)
        render.done(asked, nodes, counted(nodes.count, "node"))

    session.run(asked, body)


def nodes_get(asked: Asked) -> None:
    """Show the number of logical nodes."""

    async def body(client: Client) -> None:
        nodes = await client.call("nodes.get", None, records.Nodes)
        render.done(asked, nodes, counted(nodes.count, "node"))

    session.run(asked, body)
