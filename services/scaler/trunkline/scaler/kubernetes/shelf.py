"""Workers' credentials in Secrets, one for each pipeline, which belong to the pipeline's ConfigMap.

What is known of a credential beside its text stands in annotations, so whoever starts reads no secret to
know what is due. Removing goes by the ConfigMap: all that belongs to it goes, too, but only some time later. So
a Secret is disowned then: a pipeline of the same name that comes before it is gone is not held to have one. A
death before that leaves it as if it were held, and it is removed again.

A ConfigMap without a Secret (a death between the two, a quota) counts as a credential that nobody has issued: it is
made anew while its pipeline is there, and removed with it. So does a Secret whose ConfigMap somebody has deleted, since
it is about to go.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping

from trunkline.contracts import errors, names
from trunkline.contracts.wards import Wards
from trunkline.scaler.kubernetes import object_names, pods
from trunkline.scaler.kubernetes.api import Api, ApiError
from trunkline.scaler.kubernetes.owners import Owners
from trunkline.scaler.kubernetes.reading import Object
from trunkline.scaler.ports import ClusterUnavailableError, Credentials, Held

_SECRETS = "secrets of workers"
_NOBODYS = Held(issued_at=0)
"""Is made anew."""
_ISSUED, _EXPIRES, _ISSUER = (
    f"{pods.PREFIX}/{name}" for name in ("issued-at", "expires-at", "issuer")
)


class SecretShelf:
    """See `credentials.CredentialShelf`."""

    def __init__(self, api: Api, owners: Owners, wards: Wards) -> None:
        self._api, self._owners, self._wards = api, owners, wards

    async def held(self) -> Mapping[str, Held]:
        """Return what our Secrets say of themselves, and whose are missing."""
        try:
            listed = await self._api.list_secrets(pods.OURS)
            owners = await self._owners.listed()
        except ApiError as error:
            raise ClusterUnavailableError(_SECRETS, str(error)) from error
        there = {each["uid"] for each in owners}
        secrets = _by_pipeline(
            (each["metadata"] for each in listed["items"]), object_names.credentials_name
        )
        held = dict.fromkeys(_by_pipeline(owners, object_names.owner_name), _NOBODYS)
        return held | {pipeline: _held(meta, there) for pipeline, meta in secrets.items()}

    async def put(self, pipeline: str, made: Credentials) -> None:
        """Put a pipeline's into its Secret."""
        try:
            await self._put(pipeline, made)
        except ApiError as error:
            raise ClusterUnavailableError(_SECRETS, str(error)) from error

    async def remove(self, pipeline: str) -> None:
        """Delete a pipeline's ConfigMap, and with it its Secret."""
        name = object_names.credentials_name(pipeline)
        try:
            await self._owners.remove(pipeline)
            await self._api.patch_secret(name, {"metadata": {"annotations": {pods.PIPELINE: None}}})
        except ApiError as error:
            if error.status != 404:
                raise ClusterUnavailableError(_SECRETS, str(error)) from error

    async def _put(self, pipeline: str, made: Credentials) -> None:
        owner = await self._owners.of(pipeline)
        held, name = made.held, object_names.credentials_name(pipeline)
        expires = {} if held.expires_at is None else {_EXPIRES: str(held.expires_at)}
        says = {pods.PIPELINE: pipeline, _ISSUED: str(held.issued_at), _ISSUER: held.issuer}
        body = {
            "metadata": {
                "name": name,
                "labels": pods.MANAGED_BY,
                "annotations": {**says, **expires},
                "ownerReferences": [pods.owned_by(owner)],
            },
            "stringData": pods.credentials_data(made.text, self._wards.of(pipeline).token),
        }
        try:
            await self._api.create_secret(body)
        except ApiError as error:
            if error.status != 409:
                raise
            await self._replace(name, body)

    async def _replace(self, name: str, body: Object) -> None:
        try:
            await self._api.patch_secret(name, body)
        except ApiError as error:
            if error.status not in (404, 422):
                raise
            # it belongs to an owner that is gone, and goes with it; two owners the server does not take
            raise ClusterUnavailableError(_SECRETS, f"the last {name} is not gone yet") from error


def _by_pipeline(metas: Iterable[Object], name_of: Callable[[str], str]) -> dict[str, Object]:
    """Return pipeline -> metadata of what is ours: who may write objects may annotate them with anything."""
    found = {}
    for meta in metas:
        try:
            pipeline = names.pipeline((meta.get("annotations") or {}).get(pods.PIPELINE, ""))
        except errors.InvalidNameError:
            continue
        if meta["name"] == name_of(pipeline):  # by this name it is put, and removed
            found[pipeline] = meta
    return found


def _held(meta: Object, owners: Collection[str]) -> Held:
    says: Mapping[str, str] = meta.get("annotations") or {}
    expires = says.get(_EXPIRES)
    try:
        times = [float(text) for text in (says.get(_ISSUED, "0"), expires or "0")]
    except ValueError:
        times = []
    if not times or not all(map(math.isfinite, times)):
        return _NOBODYS
    issued_at, expires_at = times
    if not any(each.get("uid") in owners for each in meta.get("ownerReferences") or ()):
        return Held(issued_at=issued_at)
    return Held(
        issued_at=issued_at,
        expires_at=expires_at if expires else None,
        issuer=says.get(_ISSUER, ""),
    )
