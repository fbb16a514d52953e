"""Workers' credentials in Secrets, one for each pipeline, which belong to the pipeline's ConfigMap.

What is known of a credential beside its text stands in annotations, so whoever starts reads no secret to
know what is due. Removing goes by the ConfigMap: all that belongs to it goes, too, but only some time later. So
a Secret is disowned then: a pipeline of the same name that comes before it is gone is not held to have one. A
death before that leaves it as if it were held, and it is removed again.
"""

import math
from collections.abc import Mapping

from trunkline.contracts import errors, names
from trunkline.contracts.wards import Wards
from trunkline.scaler.kubernetes import object_names, pods
from trunkline.scaler.kubernetes.api import Api, ApiError
from trunkline.scaler.kubernetes.owners import Owners
from trunkline.scaler.kubernetes.reading import Object
from trunkline.scaler.ports import ClusterUnavailableError, Credentials, Held

_SELECTOR = ",".join(f"{key}={value}" for key, value in pods.MANAGED_BY.items())
_SECRETS = "secrets of workers"
_ISSUED, _EXPIRES, _ISSUER = (
    f"{pods.PREFIX}/{name}" for name in ("issued-at", "expires-at", "issuer")
)


class SecretShelf:
    """See `credentials.CredentialShelf`."""

    def __init__(self, api: Api, owners: Owners, wards: Wards) -> None:
        self._api, self._owners, self._wards = api, owners, wards

    async def held(self) -> Mapping[str, Held]:
        """Return what our Secrets say of themselves."""
        try:
            listed = await self._api.list_secrets(_SELECTOR)
        except ApiError as error:
            raise ClusterUnavailableError(_SECRETS, str(error)) from error
        says = [each["metadata"].get("annotations") or {} for each in listed["items"]]
        return {each[pods.PIPELINE]: _held(each) for each in says if _names_a_pipeline(each)}

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


def _names_a_pipeline(says: Mapping[str, str]) -> bool:
    """Say whether it is one of ours: who may write Secrets may write anything into their annotations."""
    try:
        names.pipeline(says.get(pods.PIPELINE, ""))
    except errors.InvalidNameError:
        return False
    return True


def _held(says: Mapping[str, str]) -> Held:
    expires = says.get(_EXPIRES)
    try:
        times = [float(text) for text in (says.get(_ISSUED, "0"), expires or "0")]
    except ValueError:
        times = []
    if not times or not all(map(math.isfinite, times)):
        return Held(issued_at=0)  # nobody's word: it is made anew
    issued_at, expires_at = times
    return Held(
        issued_at=issued_at,
        expires_at=expires_at if expires else None,
        issuer=says.get(_ISSUER, ""),
    )
