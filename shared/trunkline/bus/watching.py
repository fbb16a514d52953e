"""Whether JetStream answers, asked again and again: a server may be there, and what stands behind it not.

A server that is cut off from its cluster keeps its clients, and answers their pings; but no stream has a
leader there, and nothing that is asked comes back. So who depends on JetStream asks it something that
changes nothing:

    answers --no answer for WATCH_S--> told in `problems`, not ready --MOVE_S--> another server

Only a server of a cluster is left, since there is another one; to all others of us that is a loss and a
reconnect, as any. Which server comes next is chance: it may be the same, which is left again then.
Workers, who may ask nothing of the kind, leave when their pulls stay silent (see `pulls`).
"""

import asyncio

from trunkline.bus import jetstream
from trunkline.bus.connection import NatsConnection
from trunkline.contracts import errors

WATCH_S = 5.0
"""Seconds between questions, and for which an answer is awaited."""

AGAIN_S = 0.5
"""Seconds until it is asked again after no answer."""


async def watch(connection: NatsConnection, verb: str) -> None:
    """Ask for ever.

    Args:
        connection: Whose `problems` tell of it.
        verb: Something of JetStream's API that the role may ask, and that a leader must answer. That
            it is refused, or is not there, is an answer, too.
    """
    while True:
        try:
            await connection.js_api(verb, timeout_s=WATCH_S)
        except errors.UnavailableError:
            connection.silence.unanswered()
            await asyncio.sleep(AGAIN_S)
            continue
        except jetstream.JetStreamError:
            pass
        connection.silence.answered()
        await asyncio.sleep(WATCH_S)
