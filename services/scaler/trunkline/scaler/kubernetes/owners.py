"""The ConfigMaps to which all objects of a pipeline belong: `trunkline-<pipeline>`.

One is looked for at most every few seconds while pods are made: should somebody have deleted it, what
belonged to it goes, and what is made anew belongs to a new one. Who keeps things that belong to it is told.

One is deleted as the very one that was read: a deletion that comes late, when the pipeline is there again, takes
nothing of its successor's.
"""

from collections.abc import Callable

import msgspec

from trunkline.runtime.clock import Clock
from trunkline.runtime.turns import Turns
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
        self._turns = Turns()
        self._hashes: dict[str, str] = {}
        """Pipeline -> spec hash of the pod that was made last."""
        self._when_new: Callable[[str], None] = lambda _: None

    def when_new(self, call: Callable[[str], None]) -> None:
        """Call this with a pipeline's name when it has another owner, to which nothing belongs yet."""
        self._when_new = call

    async def of(self, pipeline: str) -> Owner:
        """Return a pipeline's, made if there is none; raise ApiError."""
        async with self._turns.of(pipeline):
            known = self._known.get(pipeline)
            now_s = self._clock.monotonic_s()
            if known is not None and now_s - known[1] < _TRUSTED_S:
                return known[0]
            name = object_names.owner_name(pipeline)
            found = await self._read(name)
            made = found is None
            if found is None:
                found = await self._make(name, pipeline)
            owner = Owner(name=name, uid=found["metadata"]["uid"])
            self._known[pipeline] = owner, now_s
            if made or (known is not None and known[0] != owner):
                self._hashes.pop(pipeline, None)
                self._when_new(pipeline)
            return owner

    async def note(self, pipeline: str, spec_hash: str) -> None:
        """Write down what pods are made by, if that has changed; raise ApiError."""
        async with self._turns.of(pipeline):
            if self._hashes.get(pipeline) != spec_hash:
                body = {"data": {"spec-hash": spec_hash}}
                await self._api.patch_owner(object_names.owner_name(pipeline), body)
                self._hashes[pipeline] = spec_hash

    async def listed(self) -> list[Object]:
        """Return the metadata of all that stay; raise ApiError."""
        found = await self._api.list_owners(pods.OURS)
        metas = [each["metadata"] for each in found["items"]]
        return [each for each in metas if not each.get("deletionTimestamp")]

    async def remove(self, pipeline: str) -> None:
        """Delete a pipeline's; raise ApiError."""
        self._known.pop(pipeline, None)
        self._hashes.pop(pipeline, None)
        name = object_names.owner_name(pipeline)
        found = await self._read(name)
        if found is None:
            return
        try:
            await self._api.delete_owner(name, found["metadata"]["uid"])
        except ApiError as error:
            if error.status not in (404, 409):  # gone, or another's name by now
                raise

    def reference(self, pipeline: str) -> Reference:
        """Return what Events of a pipeline are about."""
        known = self._known.get(pipeline)
        uid = known[0].uid if known else ""
        return Reference(name=object_names.owner_name(pipeline), uid=uid)

    async def _read(self, name: str) -> Object | None:
        try:
            return await self._api.read_owner(name)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

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
