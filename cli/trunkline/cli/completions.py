"""Names of what there is, for completion in shells; `completion_scripts` has what each shell is to source.

A shell asks with each Tab: so names are had within BOUND_S or not at all, and nothing is said but names,
whatever goes wrong.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from trunkline.cli import session
from trunkline.client import client as clients
from trunkline.client.client import Client
from trunkline.contracts import api, records

BOUND_S = 1.5
"""From the connection to the last answer; whoever waits longer at a prompt has typed it himself."""

MOST = 100
"""Names of one kind that are offered, jobs newest first."""

_DIGITS = 12
"""Of a job's id, as lists show it."""


def names(home: str | None, incomplete: str, kinds: Sequence[str]) -> list[str]:
    """Return the names of some kinds that begin like this; none if they cannot be had soon."""
    logging.disable()
    try:
        found = asyncio.run(_ask(home, incomplete, kinds))
    except Exception:
        return []  # a prompt is no place for what went wrong
    return [each for each in dict.fromkeys(found) if each.startswith(incomplete)]


async def _ask(home: str | None, incomplete: str, kinds: Sequence[str]) -> list[str]:
    place = session.where(home)
    found: list[str] = []
    async with (
        asyncio.timeout(BOUND_S),
        clients.connect(place.url, place.store) as client,
    ):
        for kind in kinds:
            found += await KINDS[kind](client, incomplete)
    return found


async def _pipelines(client: Client, incomplete: str) -> list[str]:
    if "@" in incomplete:
        return []
    found = await client.call("pipeline.list", api.Page(limit=MOST), list[api.PipelineView])
    return [each.pipeline.name for each in found]


async def _repos(client: Client, _: str) -> list[str]:
    found = await client.call("repo.list", api.Page(limit=MOST), list[api.RepoView])
    return [each.repo.name for each in found]


async def _places(client: Client, _: str) -> list[str]:
    found = await client.call("repo.list", api.Page(limit=MOST), list[api.RepoView])
    return [f"{branch.repo}@{branch.name}" for each in found for branch in each.branches]


async def _jobs(client: Client, incomplete: str) -> list[str]:
    """Return jobs; with as many digits as lists show, or all where more were typed."""
    pipeline, at, typed = incomplete.partition("@")
    page = api.Page(key=pipeline if at else "", limit=MOST)
    found = await client.call("job.list", page, list[records.Job])
    digits = _DIGITS if len(typed) <= _DIGITS else None
    return [f"{each.pipeline}@{each.id[:digits]}" for each in found]


async def _workers(client: Client, incomplete: str) -> list[str]:
    if "@" in incomplete:
        return []
    found = await client.call("worker.list", api.Page(limit=MOST), list[records.Scaling])
    return [worker.name for each in found for worker in each.workers]


KINDS: dict[str, Callable[[Client, str], Awaitable[list[str]]]] = {
    "jobs": _jobs,
    "pipelines": _pipelines,
    "places": _places,
    "repos": _repos,
    "workers": _workers,
}
