"""Who leads a service of which several stand by: whoever answers for the installation says so."""

import asyncio

from trunkline.chaos.core.schedule import Target
from trunkline.client import client as clients
from trunkline.contracts import api, errors
from trunkline.local.home import Home

_ASK_S = 1.0
"""A fault is due: if nobody answers, who is hit is left to chance."""


async def of(home: Home, target: Target) -> str:
    """Return the name of the one that leads; empty where nobody stands by, or nobody answers."""
    if not any(home.pids.glob(f"{target}-*.pid")):
        return ""
    try:
        context = home.read_context()
        async with (
            asyncio.timeout(_ASK_S),
            clients.connect(context.url, context.store) as client,
        ):
            status = await client.call("status", None, api.Status)
    except (TimeoutError, errors.TrunklineError):
        return ""
    return next((each.leader for each in status.services if each.service == target), "")
