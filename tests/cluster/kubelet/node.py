"""A node that is not there: registered, with heartbeats, and with all that can happen to one."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

from tests.cluster.kubelet.api import TROUBLE, Api, GoneError
from tests.cluster.kubelet.statuses import Object, stamp

HEARTBEAT_S = 3
_PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure")


class Node:
    """Made by `Kubelet.add_node`. Its pods are the kubelet's business."""

    def __init__(
        self,
        api: Api,
        name: str,
        *,
        capacity: Mapping[str, str],
        labels: Mapping[str, str],
        taints: Sequence[Object],
    ) -> None:
        self._api, self.name, self.capacity = api, name, dict(capacity)
        self._labels = {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            **labels,
        }
        self._taints = list(taints)
        self._ready: Object = {}
        self.gone = asyncio.Event()
        """Set once it has no heartbeat and no pods any more."""

    async def register(self) -> None:
        """Make it known, and Ready."""
        await self._api.create_node(
            {
                "metadata": {"name": self.name, "labels": self._labels},
                "spec": {"taints": self._taints},
            }
        )
        await self._api.renew_lease(self.name, HEARTBEAT_S * 4)
        await self.ready()

    async def ready(self) -> None:
        """Say that it is Ready."""
        self._ready = {"status": "True", "reason": "KubeletReady", "message": "it is"}
        await self._write_status()

    async def not_ready(self, message: str = "as the test wants it") -> None:
        """Say that it is not Ready; its processes go on, and so do its heartbeats."""
        self._ready = {"status": "False", "reason": "KubeletNotReady", "message": message}
        await self._write_status()

    async def unheard(self) -> None:
        """Say what the controllers say of a node that they have not heard of; it is, and it does not."""
        self._ready = {"status": "Unknown", "reason": "NodeStatusUnknown", "message": "silent"}
        await self._write_status()

    async def cordon(self) -> None:
        """Let no further pods be put there."""
        await self._api.patch_node(self.name, {"spec": {"unschedulable": True}})

    async def uncordon(self) -> None:
        """Let pods be put there again."""
        await self._api.patch_node(self.name, {"spec": {"unschedulable": None}})

    async def taint(self, *taints: Object) -> None:
        """Replace its taints."""
        self._taints = list(taints)
        await self._api.patch_node(self.name, {"spec": {"taints": self._taints}})

    async def unregister(self) -> None:
        """Remove it from the API."""
        with contextlib.suppress(GoneError):
            await self._api.delete_node(self.name)

    async def beat(self) -> None:
        """Renew its lease until it is gone; a server that is away is tried again.

        A node that could not be heard for a while may be taken for lost: the next few times it says,
        too, what it is. Several times, since the controllers may still act on what they saw before.
        """
        loop = asyncio.get_running_loop()
        heard, doubted = loop.time(), 0
        while not self.gone.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await self.gone.wait()
                    return
            with contextlib.suppress(GoneError, *TROUBLE):
                await self._api.renew_lease(self.name, HEARTBEAT_S * 4)
                doubted = 4 if loop.time() - heard > HEARTBEAT_S * 2 else max(0, doubted - 1)
                heard = loop.time()
                if doubted:
                    await self._write_status()

    async def _write_status(self) -> None:
        now = stamp()
        conditions = [
            {"type": "Ready", **self._ready},
            *({"type": kind, "status": "False", "reason": "Enough"} for kind in _PRESSURES),
        ]
        times = {"lastHeartbeatTime": now, "lastTransitionTime": now}
        await self._api.write_node_status(
            self.name,
            {
                "capacity": self.capacity,
                "allocatable": self.capacity,
                "conditions": [condition | times for condition in conditions],
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            },
        )
