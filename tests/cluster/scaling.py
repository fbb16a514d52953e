"""Worker pods of a scaler on a real API server: what makes them, and what is there."""

import asyncio
from collections.abc import Callable
from typing import Any

from kubernetes_asyncio import client
from tests.support import worker_pods

from trunkline.scaler.kubernetes import pods
from trunkline.scaler.kubernetes.cluster import KubernetesCluster
from trunkline.scaler.kubernetes.pod_settings import PodSettings
from trunkline.scaler.ports import ClusterView, WorkerSpec


def settings(namespace: str, **other: Any) -> PodSettings:
    return worker_pods.settings(namespace=namespace, **other)


def worker(number: int = 0, pipeline: str = "edges", **fields: Any) -> WorkerSpec:
    return worker_pods.worker(name=f"{pipeline}-12345678-{number}", pipeline=pipeline, **fields)


async def until(
    cluster: KubernetesCluster, holds: Callable[[ClusterView], object], limit_s: float = 20
) -> ClusterView:
    """Return what is there once something holds of it."""
    seen: ClusterView | None = None
    try:
        async with asyncio.timeout(limit_s):
            while True:
                seen = await cluster.look()
                if holds(seen):
                    return seen
                await asyncio.sleep(0.01)
    except TimeoutError as error:
        message = f"it did not come to that; there was:\n{seen}"
        raise AssertionError(message) from error


async def pods_of(connection: client.ApiClient, namespace: str) -> list[Any]:
    """Return the worker pods that the server has."""
    core: Any = client.CoreV1Api(connection)
    listed = await core.list_namespaced_pod(namespace, label_selector=pods.SELECTOR)
    return list(listed.items)
