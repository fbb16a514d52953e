"""The ConfigMaps to which all objects of a pipeline belong: `trunkline-<pipeline>`.

One is looked for at most every few seconds while pods are made: should somebody have deleted it, what
belonged to it goes, and what is made anew belongs to a new one.
"""

import asyncio

import msgspec

from trunkline.runtime.clock import Clock
from trunkline.scaler.kubernetes import object_names, pods
from trunkline.scaler.kubernetes.api import Api, ApiError
from trunkline.scaler.kubernetes.pods import Owner
from trunkline.scaler.kubernetes.reading import Object

_TRUSTED_S = 10.0


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """Of what an Event tells."""

    name: str
    uid: str = ""


class Owners:
    """Finds and makes them."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api, self._clock = api, clock
        self._known: dict[str, tuple[Owner, float]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._hashes: dict[str, str] = {}
        """Pipeline -> spec hash of the pod that was made last."""

    async def of(self, pipeline: str) -> Owner:
        """Return a pipeline's, made if there is none; raise ApiError."""
        async with self._locks.setdefault(pipeline, asyncio.Lock()):
            known = self._known.get(pipeline)
            now_s = self._clock.monotonic_s()
            if known is not None and now_s - known[1] < _TRUSTED_S:
                return known[0]
            name = object_names.owner_name(pipeline)
            try:
                found = await self._api.read_owner(name)
            except ApiError as error:
                if error.status != 404:
                    raise
                found = await self._make(name, pipeline)
            owner = Owner(name=name, uid=found["metadata"]["uid"])
            self._known[pipeline] = owner, now_s
            return owner

    async def note(self, pipeline: str, spec_hash: str) -> None:
        """Write down what pods are made by, if that has changed; raise ApiError."""
        if self._hashes.get(pipeline) != spec_hash:
            body = {"data": {"spec-hash": spec_hash}}
            self._hashes[pipeline] = spec_hash
            await self._api.patch_owner(object_names.owner_name(pipeline), body)

    async def remove(self, pipeline: str) -> None:
        """Delete a pipeline's; raise ApiError."""
        self._known.pop(pipeline, None)
        self._locks.pop(pipeline, None)
        self._hashes.pop(pipeline, None)
        try:
            await self._api.delete_owner(object_names.owner_name(pipeline))
        except ApiError as error:
            if error.status != 404:
                raise

    def reference(self, pipeline: str) -> Reference:
        """Return what Events of a pipeline are about."""
        known = self._known.get(pipeline)
        uid = known[0].uid if known else ""
        return Reference(name=object_names.owner_name(pipeline), uid=uid)

    async def _make(self, name: str, pipeline: str) -> Object:
        labels = {**pods.MANAGED_BY, pods.PIPELINE: object_names.label_value(pipeline)}
        body = {
            "metadata": {
                "name": name,
                "labels": labels,
                "annotations": {pods.PIPELINE: pipeline},
            },
            "data": {"pipeline": pipeline},
        }
        try:
            return await self._api.create_owner(body)
        except ApiError as error:
            if error.status != 409:
                raise
            return await self._api.read_owner(name)
