"""Pods for tests, and waiting for what becomes of them."""

import asyncio
from collections.abc import Callable
from typing import Any

from kubernetes_asyncio import client
from tests.cluster.kubelet.kubelet import Kubelet
from tests.cluster.kubelet.statuses import Object


def container(name: str, script: str = "", *, image: str = "debian", **more: Any) -> Object:
    """Return a container that runs a shell script, or, without one, what its image says."""
    command = {"command": ["sh", "-c", script]} if script else {}
    return {"name": name, "image": image, **command, **more}


def pod(name: str, *containers: Object, grace_s: int = 5, **spec: Any) -> Object:
    """Return a pod of these containers that has no token."""
    return {
        "metadata": {"name": name},
        "spec": {
            "containers": list(containers),
            "terminationGracePeriodSeconds": grace_s,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            **spec,
        },
    }


class Pods:
    """The pods of a namespace."""

    def __init__(self, connection: client.ApiClient, namespace: str) -> None:
        self.core: Any = client.CoreV1Api(connection)  # Any: it takes dictionaries, too
        self.namespace = namespace

    async def create(self, *pods: Object) -> None:
        """Create them, one after the other."""
        for one in pods:
            await self.core.create_namespaced_pod(self.namespace, one)

    async def read(self, name: str) -> client.V1Pod | None:
        """Return one of them, None if it is not there."""
        try:
            found: client.V1Pod = await self.core.read_namespaced_pod(name, self.namespace)
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise
        return found

    async def until(self, name: str, holds: Callable[[client.V1Pod], object]) -> client.V1Pod:
        """Return a pod once something holds of it; waits 20 s at most."""
        seen: client.V1Pod | None = None
        try:
            async with asyncio.timeout(20):
                while True:
                    seen = await self.read(name)
                    if seen is not None and holds(seen):
                        return seen
                    await asyncio.sleep(0.02)
        except TimeoutError as error:
            message = f"{name} did not come to that; it was:\n{seen and seen.status}"
            raise AssertionError(message) from error

    async def until_gone(self, name: str) -> None:
        """Wait until a pod is not there any more, 20 s at most."""
        async with asyncio.timeout(20):
            while await self.read(name) is not None:
                await asyncio.sleep(0.02)

    async def delete(self, name: str, *, grace_s: int | None = None) -> None:
        """Delete a pod."""
        body = {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        await self.core.delete_namespaced_pod(name, self.namespace, body=body)


async def said(kubelet: Kubelet, where: tuple[str, str, str], text: str) -> str:
    """Return what a container (namespace, pod, name) has written, once the text is in it."""
    log = ""
    try:
        async with asyncio.timeout(20):
            while text not in log:
                await asyncio.sleep(0.02)
                log = kubelet.log(*where)
    except TimeoutError as error:
        message = f"{'/'.join(where)} did not say {text!r}, but:\n{log}"
        raise AssertionError(message) from error
    return log


def running(one: client.V1Pod) -> bool:
    """Say whether all containers of a pod run."""
    statuses = one.status.container_statuses or []
    return bool(statuses) and all(status.ready for status in statuses)


def status(one: client.V1Pod, name: str) -> client.V1ContainerStatus:
    """Return the status of one of its containers."""
    every = [*(one.status.init_container_statuses or []), *(one.status.container_statuses or [])]
    return next(status for status in every if status.name == name)


def waits_for(one: client.V1Pod, name: str) -> str:
    """Return the reason for which a container waits; nothing if it does not."""
    if not one.status.container_statuses:
        return ""
    waiting = status(one, name).state.waiting
    return "" if waiting is None else str(waiting.reason)
