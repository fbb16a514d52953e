"""What is asked of the API server; objects are plain dictionaries, errors are ours.

Nothing waits for ever: each request has a limit, and a watch ends by the server's clock and, if that is
not heard (a connection that leads nowhere any more), by ours.
"""

import functools
import json
from collections.abc import Callable
from typing import Any

import aiohttp
from kubernetes_asyncio import client

from trunkline.contracts import errors
from trunkline.runtime.leading import Fence
from trunkline.runtime.metric_names import KUBERNETES_REQUESTS
from trunkline.runtime.metrics import Meter
from trunkline.scaler.kubernetes import answers
from trunkline.scaler.kubernetes.reading import Object

Told = Callable[[Object], None]

TIMEOUT_S = 30.0
_SLACK_S = 10.0
"""For which a watch may outlive what the server was told."""
PAGE = 500
RETRY_MOST_S = 30.0
"""For which a server's word keeps us from asking again at most: by one word of a proxy we were blind for a day."""


class ApiError(errors.TrunklineError):
    """The API server did not do what it was asked.

    Attributes:
        status: Of HTTP; 0: it could not be asked, and it is unknown whether it was done.
        retry_after_s: Before which it does not want to be asked again; RETRY_MOST_S at most.
    """

    def __init__(self, what: str, status: int, text: str, retry_after_s: float = 0.0) -> None:
        super().__init__(f"{what}: {status or 'no answer'}: {text}")
        self.what, self.status, self.text = what, status, text
        self.retry_after_s = retry_after_s


class Api:
    """The objects that a scaler has to do with.

    Args:
        connection: To the API server.
        namespace: Of pods and all that belongs to them.
        selector: Labels by which pods are ours.
        holds: Whether this process leads at this instant: nothing is changed otherwise.
        meter: Counts the requests.
    """

    def __init__(
        self,
        connection: client.ApiClient,
        namespace: str,
        selector: str,
        *,
        holds: Fence = lambda: True,
        meter: Meter | None = None,
    ) -> None:
        # Any: its signatures know neither plain dictionaries nor raw responses.
        self._core: Any = client.CoreV1Api(connection)
        self.namespace, self._holds = namespace, holds
        self._meter = meter or Meter()
        self._our_pods = functools.partial(
            self._core.list_namespaced_pod, namespace, label_selector=selector
        )

    async def list_nodes(self, after: str = "") -> Object:
        """Return a page of nodes, the first one or that after another."""
        return await self._list("list nodes", self._core.list_node, **_page(after))

    async def list_pods(self, after: str = "") -> Object:
        """Return a page of our pods."""
        return await self._list("list pods", self._our_pods, **_page(after))

    async def watch_nodes(self, version: str, limit_s: int, told: Told) -> None:
        """Hand on each event of nodes until the watch ends."""
        await self._watch("watch nodes", self._core.list_node, version, limit_s, told)

    async def watch_pods(self, version: str, limit_s: int, told: Told) -> None:
        """Hand on each event of our pods until the watch ends."""
        await self._watch("watch pods", self._our_pods, version, limit_s, told)

    async def read_node(self, name: str) -> Object:
        """Return a node."""
        return await self._ask("read a node", self._core.read_node, name)

    async def read_pod(self, name: str) -> Object:
        """Return a pod."""
        return await self._ask("read a pod", self._core.read_namespaced_pod, name, self.namespace)

    async def create_pod(self, pod: Object) -> Object:
        """Create a pod."""
        made = self._core.create_namespaced_pod
        return await self._change("create a pod", made, self.namespace, pod)

    async def delete_pod(self, name: str, uid: str, grace_s: int | None) -> Object:
        """Delete that very pod; None: with the grace that it has."""
        # in the body, since with a body the query's grace is not looked at
        body: dict[str, Any] = {"preconditions": {"uid": uid}}
        if grace_s is not None:
            body["gracePeriodSeconds"] = grace_s
        gone = self._core.delete_namespaced_pod
        return await self._change("delete a pod", gone, name, self.namespace, body=body)

    async def read_owner(self, name: str) -> Object:
        """Return a ConfigMap."""
        read = self._core.read_namespaced_config_map
        return await self._ask("read a configmap", read, name, self.namespace)

    async def create_owner(self, body: Object) -> Object:
        """Create a ConfigMap."""
        made = self._core.create_namespaced_config_map
        return await self._change("create a configmap", made, self.namespace, body)

    async def patch_owner(self, name: str, body: Object) -> Object:
        """Merge something into a ConfigMap."""
        patch = self._core.patch_namespaced_config_map
        return await self._change("patch a configmap", patch, name, self.namespace, body)

    async def delete_owner(self, name: str, uid: str) -> Object:
        """Delete that very ConfigMap; what belongs to it goes, too."""
        gone, body = self._core.delete_namespaced_config_map, {"preconditions": {"uid": uid}}
        return await self._change("delete a configmap", gone, name, self.namespace, body=body)

    async def list_owners(self, selector: str) -> Object:
        """Return our ConfigMaps."""
        listing = self._core.list_namespaced_config_map
        return await self._ask("list configmaps", listing, self.namespace, label_selector=selector)

    async def list_secrets(self, selector: str) -> Object:
        """Return our Secrets."""
        listing = self._core.list_namespaced_secret
        return await self._list("list secrets", listing, self.namespace, label_selector=selector)

    async def create_secret(self, body: Object) -> Object:
        """Create a Secret."""
        made = self._core.create_namespaced_secret
        return await self._change("create a secret", made, self.namespace, body)

    async def patch_secret(self, name: str, body: Object) -> Object:
        """Merge something into a Secret."""
        patch = self._core.patch_namespaced_secret
        return await self._change("patch a secret", patch, name, self.namespace, body)

    async def create_event(self, body: Object) -> Object:
        """Create an Event."""
        made = self._core.create_namespaced_event
        return await self._change("create an event", made, self.namespace, body)

    async def _list(
        self, what: str, call: Callable[..., Any], *args: object, **more: object
    ) -> Object:
        found = await self._ask(what, call, *args, **more)
        try:
            return answers.listed(found)
        except answers.NoAnswerError as error:
            raise _unanswered(what, error) from error

    async def _change(
        self, what: str, call: Callable[..., Any], *args: object, **more: object
    ) -> Object:
        if not self._holds():
            raise ApiError(what, 0, "this scaler does not lead right now")
        return await self._ask(what, call, *args, **more)

    async def _ask(
        self, what: str, call: Callable[..., Any], *args: object, **more: object
    ) -> Object:
        try:
            response = await call(*args, **more, _preload_content=False, _request_timeout=TIMEOUT_S)
            async with response:
                body = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._count(what, 0)
            raise _unanswered(what, error) from error
        self._count(what, response.status)
        if response.status >= 400:
            raise _refused(what, response, body)
        try:
            return answers.whole(body)
        except answers.NoAnswerError as error:
            raise _unanswered(what, error) from error

    def _count(self, what: str, status: int) -> None:
        verb = what.partition(" ")[0]
        self._meter.add(KUBERNETES_REQUESTS, _VERBS.get(verb, verb), str(status))

    async def _watch(
        self,
        what: str,
        call: Callable[..., Any],
        version: str,
        limit_s: int,
        told: Told,
    ) -> None:
        try:
            response = await call(
                watch=True,
                resource_version=version,
                allow_watch_bookmarks=True,
                timeout_seconds=limit_s,
                _preload_content=False,
                _request_timeout=limit_s + _SLACK_S,
            )
            async with response:
                self._count(what, response.status)
                if response.status >= 400:
                    raise _refused(what, response, await response.read())
                async for line in response.content:
                    told(answers.event(line))
        except answers.WatchEndedError as error:
            raise ApiError(what, error.status, error.text) from error
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise _unanswered(what, error) from error


_VERBS = {"read": "get"}
"""What the API server calls what we do; the others have its names."""


def _page(after: str) -> dict[str, Any]:
    return {"limit": PAGE, **({"_continue": after} if after else {})}


def _unanswered(what: str, error: Exception) -> ApiError:
    return ApiError(what, 0, str(error) or type(error).__name__)


def _refused(what: str, response: aiohttp.ClientResponse, body: bytes) -> ApiError:
    try:
        said = json.loads(body)
        text = str(said.get("message", "")) if isinstance(said, dict) else body.decode()
    except ValueError:
        text = answers.shown(body)
    after = response.headers.get("Retry-After", "")
    after_s = min(float(after), RETRY_MOST_S) if after.isdecimal() else 0.0
    return ApiError(what, response.status, text, after_s)
