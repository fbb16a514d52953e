"""A JetStream that does not answer, though its server does: told, and left where there is another server.

See `watching` for who asks, and `pulls` for those who may not ask.
"""

import asyncio
import logging

from trunkline.bus.wire import Wire

log = logging.getLogger(__name__)

MOVE_S = 8.0
"""Seconds of JetStream's silence after which another server is looked for: more than an election takes."""


class Silence:
    """What is known of it over one connection."""

    def __init__(self, name: str, wire: Wire) -> None:
        self._name, self._wire = name, wire
        self._unanswered_s: float | None = None
        """Since when JetStream does not answer; None while it does, as far as anybody has asked."""
        self._left_s = 0.0

    @property
    def problems(self) -> list[str]:
        """Say that it does not answer, for people; nothing while it does."""
        if self._unanswered_s is None:
            return []
        return [
            f"JetStream does not answer {self._name}: too few of the NATS servers reach each other"
        ]

    def answered(self) -> None:
        """Take it that JetStream answers."""
        self._unanswered_s = None

    def unanswered(self) -> None:
        """Take it that JetStream was asked and did not answer; leave the server when that lasts."""
        now_s = asyncio.get_running_loop().time()
        if self._unanswered_s is None:
            self._unanswered_s = now_s
        elif now_s - self._unanswered_s >= MOVE_S:
            self.leave()

    def leave(self) -> None:
        """Go to another server of the cluster, if it is one, and not soon after the last time."""
        now_s = asyncio.get_running_loop().time()
        if self._wire.is_connected and self._wire.clustered and now_s - self._left_s >= MOVE_S:
            log.warning("JetStream is silent, leaving the server", extra={"connection": self._name})
            self._left_s = now_s
            self._wire.abort()
