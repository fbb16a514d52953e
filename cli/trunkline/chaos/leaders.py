"""Who leads those of which there are several: the installation itself says so.

Of a service, whoever answers for it tells. Of NATS servers there are as many leaders as streams; the one
that is told is that of the outcomes, without which no datum is done.
"""

import asyncio

from trunkline.bus import connection
from trunkline.chaos.core.schedule import Target
from trunkline.client import client as clients
from trunkline.contracts import api, errors, subjects
from trunkline.contracts.wards import Wards
from trunkline.local.home import Home
from trunkline.local.server_files import Files

_ASK_S = 1.0
"""A fault is due: if nobody answers, who is hit is left to chance."""


async def of(home: Home, target: Target) -> str:
    """Return the name of the one that leads; empty where nobody stands by, or nobody answers."""
    if not any(home.pids.glob(f"{target}-*.pid")):
        return ""
    try:
        async with asyncio.timeout(_ASK_S):
            return await (_server(home) if target is Target.NATS else _service(home, target))
    except (TimeoutError, errors.TrunklineError):
        return ""


async def _service(home: Home, target: Target) -> str:
    context = home.read_context()
    async with clients.connect(context.url, context.store) as client:
        status = await client.call("status", None, api.Status)
    return next((each.leader for each in status.services if each.service == target), "")


async def _server(home: Home) -> str:
    made = Files(home.nats).read()
    if made is None:
        return ""
    async with connection.connect(
        made.url("coordinator-data"),
        name="chaos",
        inbox=subjects.COORDINATOR_INBOX,
        api=subjects.data_api(Wards(made.data_key)),
    ) as data:
        info = await data.js_api(f"STREAM.INFO.{subjects.OUTCOMES_STREAM}", timeout_s=_ASK_S)
    leader = str(info.get("cluster", {}).get("leader") or "")
    return f"{Target.NATS}-{leader.rpartition('-')[2]}" if leader else ""
