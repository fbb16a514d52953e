"""Kubernetes Events on what the scaler does: on a pipeline's ConfigMap, the like of it told once with a count.

They are for people who look with `kubectl describe`, and may be lost: what does not fit into the queue or
the rate is not told, and an Event that is refused is not tried again.
"""

import asyncio
import logging
import secrets
from datetime import UTC, datetime

from trunkline.runtime.clock import Clock
from trunkline.scaler.kubernetes.api import Api, ApiError
from trunkline.scaler.kubernetes.owners import Reference
from trunkline.scaler.kubernetes.pace import Pace

log = logging.getLogger(__name__)

NORMAL, WARNING = "Normal", "Warning"
_COLLECT_S = 1.0
"""For which the like is collected into one."""
_PER_S, _AT_ONCE = 1.0, 25
_KINDS_MAX = 1000
_TEXT_MAX = 1000

Key = tuple[Reference, str, str, str]


class Teller:
    """Collects, and writes at its own pace."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api, self._clock = api, clock
        self._pace = Pace(_PER_S, _AT_ONCE, clock)
        self._counts: dict[Key, int] = {}
        self._some = asyncio.Event()

    def say(self, about: Reference, kind: str, reason: str, text: str) -> None:
        """Tell something about a pipeline."""
        key = about, kind, reason, text[:_TEXT_MAX]
        if key in self._counts or len(self._counts) < _KINDS_MAX:
            self._counts[key] = self._counts.get(key, 0) + 1
            self._some.set()

    async def run(self) -> None:
        """Write them, for ever."""
        while True:
            await self._some.wait()
            await asyncio.sleep(_COLLECT_S)
            self._some.clear()
            counts, self._counts = self._counts, {}
            for key, count in counts.items():
                if self._pace.spare():
                    await self._write(key, count)

    async def _write(self, key: Key, count: int) -> None:
        about, kind, reason, text = key
        stamp = datetime.fromtimestamp(self._clock.wall_ns() / 1e9, UTC).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )
        body = {
            "metadata": {"name": f"{about.name[:200]}.{secrets.token_hex(8)}"},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "namespace": self._api.namespace,
                "name": about.name,
                "uid": about.uid,
            },
            "type": kind,
            "reason": reason,
            "message": text,
            "count": count,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "source": {"component": "trunkline-scaler"},
        }
        try:
            await self._api.create_event(body)
        except ApiError as error:
            log.info("event not written", extra={"reason": reason, "error": str(error)})
