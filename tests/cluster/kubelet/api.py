"""What the kubelet asks of the API server; objects are plain dictionaries."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from kubernetes_asyncio import client
from tests.cluster.kubelet.configuration import CLAIM, TOKEN
from tests.cluster.kubelet.statuses import Object, stamp

LEASES = "kube-node-lease"
TROUBLE = (client.ApiException, aiohttp.ClientError, OSError, TimeoutError)
"""What may be tried again: the server is away, or wants less of us."""
_MERGE = "application/strategic-merge-patch+json"
_WATCH_S = 60


class GoneError(Exception):
    """The object is not there any more, or is another one of the same name."""


class RefusedError(Exception):
    """The server takes what it was told for wrong; to say it again would not help."""

    def __init__(self, response: aiohttp.ClientResponse, body: str) -> None:
        super().__init__(f"{response.method} {response.url.path}: {response.status}: {body}")


class Api:
    """One connection for all nodes of a kubelet."""

    def __init__(self, connection: client.ApiClient) -> None:
        # Any: its signatures know neither plain dictionaries nor raw responses.
        self._core: Any = client.CoreV1Api(connection)
        self._leases: Any = client.CoordinationV1Api(connection)
        self.url = str(connection.configuration.host)

    async def pods(self) -> tuple[list[Object], str]:
        """Return all pods, and the version from which to watch."""
        response = await self._core.list_pod_for_all_namespaces(_preload_content=False)
        listed = await _json(response)
        return listed["items"], listed["metadata"]["resourceVersion"]

    async def watch_pods(self, version: str) -> AsyncIterator[tuple[str, Object]]:
        """Yield (ADDED | MODIFIED | DELETED, pod) until the server ends it.

        Raises:
            ApiException: The server says that the version is too old, or another error.
        """
        response = await self._core.list_pod_for_all_namespaces(
            watch=True, resource_version=version, timeout_seconds=_WATCH_S, _preload_content=False
        )
        async with response:
            if response.status != 200:
                raise client.ApiException(status=response.status, reason=response.reason)
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise client.ApiException(status=event["object"].get("code"), reason="watch")
                yield event["type"], event["object"]

    async def services(self) -> list[Object]:
        """Return all services."""
        response = await self._core.list_service_for_all_namespaces(_preload_content=False)
        listed: list[Object] = (await _json(response))["items"]
        return listed

    async def contents(self, kind: str, name: str, namespace: str) -> Object | None:
        """Return a `secret` or `configmap`, a new `token` of an account, or the volume of a `claim`.

        None: there is none.
        """
        read = {
            "secret": self._core.read_namespaced_secret,
            "configmap": self._core.read_namespaced_config_map,
            TOKEN: self._new_token,
            CLAIM: self._volume,
        }[kind]
        try:
            found: Object = await _json(await read(name, namespace, _preload_content=False))
        except GoneError:
            return None
        return found

    async def _new_token(self, account: str, namespace: str, **options: bool) -> Any:
        body = {"spec": {"expirationSeconds": 3600}}
        return await self._core.create_namespaced_service_account_token(
            account, namespace, body, **options
        )

    async def _volume(self, claim: str, namespace: str, **options: bool) -> Any:
        response = await self._core.read_namespaced_persistent_volume_claim(
            claim, namespace, **options
        )
        name = (await _json(response))["spec"].get("volumeName", "")
        return await self._core.read_persistent_volume(name or "none", **options)

    async def write_status(self, pod: Object, status: Object) -> None:
        """Write a pod's status.

        Raises:
            GoneError: The pod is gone.
        """
        meta = pod["metadata"]
        body = {"metadata": {"uid": meta["uid"]}, "status": status}
        await _json(
            await self._core.patch_namespaced_pod_status(
                meta["name"], meta["namespace"], body, _content_type=_MERGE, _preload_content=False
            )
        )

    async def finalise(self, pod: Object) -> None:
        """Remove a pod of which nothing runs any more.

        Raises:
            GoneError: It is gone already.
        """
        meta = pod["metadata"]
        # In the body, since with a body the query's grace period is not looked at.
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
        await _json(
            await self._core.delete_namespaced_pod(
                meta["name"], meta["namespace"], body=body, _preload_content=False
            )
        )

    async def create_node(self, node: Object) -> None:
        """Register a node; one of that name is taken over."""
        try:
            await _json(await self._core.create_node(node, _preload_content=False))
        except GoneError:
            await self.patch_node(node["metadata"]["name"], node)

    async def patch_node(self, name: str, body: Object) -> None:
        """Change a node's labels, taints, or whether pods are put there."""
        await _json(
            await self._core.patch_node(name, body, _content_type=_MERGE, _preload_content=False)
        )

    async def write_node_status(self, name: str, status: Object) -> None:
        """Write a node's status."""
        await _json(
            await self._core.patch_node_status(
                name, {"status": status}, _content_type=_MERGE, _preload_content=False
            )
        )

    async def delete_node(self, name: str) -> None:
        """Remove a node and its lease.

        Raises:
            GoneError: There is none.
        """
        await _json(await self._core.delete_node(name, _preload_content=False))

    async def renew_lease(self, node: str, duration_s: int) -> None:
        """Say that the node lives."""
        renewed = stamp().replace("Z", ".000000Z")
        spec = {"holderIdentity": node, "leaseDurationSeconds": duration_s, "renewTime": renewed}
        lease = {"metadata": {"name": node, "namespace": LEASES}, "spec": spec}
        try:
            await _json(
                await self._leases.patch_namespaced_lease(
                    node, LEASES, lease, _content_type=_MERGE, _preload_content=False
                )
            )
        except GoneError:
            await _json(
                await self._leases.create_namespaced_lease(LEASES, lease, _preload_content=False)
            )


async def _json(response: aiohttp.ClientResponse) -> Any:
    """Return what the server has answered.

    Raises:
        GoneError: There is no such object, or it is not the one that was meant.
        ApiException: It has trouble, or wants less of us; it may be asked again.
        RefusedError: It will not have this.
    """
    async with response:
        body = await response.read()
        if response.status in (404, 409):
            raise GoneError(body.decode())
        if response.status >= 500 or response.status in (410, 429):
            raise client.ApiException(status=response.status, reason=body.decode())
        if response.status >= 400:
            raise RefusedError(response, body.decode())
        return json.loads(body)
