"""Kubernetes Events on what the scaler does: on a pipeline's ConfigMap, the like of it told once with a count.

What is told for the first time is told at once. The like of it is collected then, and told again, with its count, after
REPEAT_S: a refusal that stays makes some Events an hour, and not one at each try.

They are for people who look with `kubectl describe`, and may be lost: what does not fit into the queue or
the rate is not told, and an Event that is refused is not tried again.
"""

import asyncio
import logging
import secrets
from datetime import UTC, datetime
from typing import Any

from trunkline.runtime.clock import Clock
from trunkline.scaler.kubernetes.api import Api, ApiError
from trunkline.scaler.kubernetes.owners import Reference
from trunkline.scaler.kubernetes.pace import Pace

log = logging.getLogger(__name__)

NORMAL, WARNING = "Normal", "Warning"
REPEAT_S = 300.0
"""Seconds for which the like of what was told is only counted."""
_COLLECT_S = 1.0
"""For which the like is collected into one."""
_PER_S, _AT_ONCE = 1.0, 25
_KINDS_MAX = 1000
_TEXT_MAX = 1000

Key = tuple[Reference, str, str, str]
"""(about, kind, reason, text)."""


class Collected:
    """What is to be told, and when each was told last."""

    def __init__(self) -> None:
        self._counts: dict[Key, int] = {}
        self._told_s: dict[Key, float] = {}

    def add(self, key: Key) -> bool:
        """Count one; return False where there is no room for more kinds."""
        if key not in self._counts and len(self._counts) >= _KINDS_MAX:
            return False
        self._counts[key] = self._counts.get(key, 0) + 1
        return True

    def due(self, now_s: float) -> list[tuple[Key, int]]:
        """Take out what is to be told now."""
        self._told_s = {key: at for key, at in self._told_s.items() if now_s - at < REPEAT_S}
        found = [(key, count) for key, count in self._counts.items() if key not in self._told_s]
        for key, _ in found:
            del self._counts[key]
            self._told_s[key] = now_s
        return found

    def wait_s(self, now_s: float) -> float | None:
        """Return the seconds until something that is collected is due; None: nothing is."""
        waits = [self._told_s.get(key, -REPEAT_S) + REPEAT_S - now_s for key in self._counts]
        return max(0.0, min(waits)) if waits else None


class Teller:
    """Collects, and writes at its own pace."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api, self._clock = api, clock
        self._pace = Pace(_PER_S, _AT_ONCE, clock)
        self._collected = Collected()
        self._some = asyncio.Event()

    def say(self, about: Reference, kind: str, reason: str, text: str) -> None:
        """Tell something about a pipeline."""
        if self._collected.add((about, kind, reason, text[:_TEXT_MAX])):
            self._some.set()

    async def run(self) -> None:
        """Write them, for ever."""
        while True:
            try:
                async with asyncio.timeout(self._collected.wait_s(self._clock.monotonic_s())):
                    await self._some.wait()
                    await asyncio.sleep(_COLLECT_S)
            except TimeoutError:
                pass
            self._some.clear()
            for key, count in self._collected.due(self._clock.monotonic_s()):
                if self._pace.spare():
                    await self._write(key, count)

    async def _write(self, key: Key, count: int) -> None:
        event = body(key, count, self._api.namespace, self._clock.wall_ns())
        try:
            await self._api.create_event(event)
        except ApiError as error:
            log.info("event not written", extra={"kind": key[2], "reason": str(error)})


def body(key: Key, count: int, namespace: str, at_ns: int) -> dict[str, Any]:
    """Return an Event; each has a name of its own."""
    about, kind, reason, text = key
    stamp = datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "metadata": {"name": f"{about.name[:200]}.{secrets.token_hex(8)}"},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "namespace": namespace,
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
