"""What the bootstrap job makes, in Secrets: all of it in one, and for each process the part that it needs.

Written is the whole first, then the parts, each by the version that was read: of two jobs at once, one is
refused and begins again. A death in between leaves parts that are missing or old; the next run sees that
they differ, and writes them. A Secret that has been written is never wrong for long and never half.
"""

import base64
from collections.abc import Mapping
from typing import Any, Final

from kubernetes_asyncio import client

from trunkline.bus import bootstrap

ROOT: Final = "trunkline-root"
"""All of it. No pod has it but the job's."""
PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "trunkline-nats": (bootstrap.RESOLVER,),
    "trunkline-coordinator": (
        bootstrap.creds_of("coordinator"),
        bootstrap.creds_of("coordinator-data"),
        bootstrap.DATA_KEY,
    ),
    "trunkline-scaler": (
        bootstrap.creds_of("scaler"),
        bootstrap.creds_of("scaler-data"),
        bootstrap.creds_of("issuer"),
        bootstrap.seed_of(bootstrap.WORKERS),
        bootstrap.seed_of(bootstrap.REVOKING),
        bootstrap.claims_of("DATA"),
        bootstrap.DATA_KEY,
    ),
    "trunkline-user": (bootstrap.creds_of("user"),),
    "trunkline-auditor": (bootstrap.creds_of("auditor"), bootstrap.creds_of("auditor-data")),
}
REVOCATION: Final = (bootstrap.seed_of(bootstrap.REVOKING), bootstrap.creds_of("issuer"))
"""By what the scaler has workers' credentials ended; without, they end when they expire."""
_LABELS = {"app.kubernetes.io/part-of": "trunkline"}


class Texts(dict[str, str]):
    """See `bootstrap.Shelf`; written nowhere yet."""

    def read(self, name: str) -> str | None:
        """Return a text, or None."""
        return self.get(name)

    def write(self, name: str, text: str) -> None:
        """Put a text there."""
        self[name] = text


class Secrets:
    """The Secrets of a namespace."""

    def __init__(self, connection: client.ApiClient, namespace: str) -> None:
        self._core: Any = client.CoreV1Api(connection)  # Any: it takes dictionaries, too
        self._namespace = namespace

    async def read(self, name: str) -> tuple[Texts, str | None]:
        """Return a Secret's texts and its version; None: there is none."""
        try:
            found = await self._core.read_namespaced_secret(name, self._namespace)
        except client.ApiException as error:
            if error.status != 404:
                raise
            return Texts(), None
        data = {key: base64.b64decode(text).decode() for key, text in (found.data or {}).items()}
        return Texts(data), found.metadata.resource_version

    async def write(self, name: str, texts: Mapping[str, str], version: str | None) -> None:
        """Write a Secret as a whole, if it still has that version."""
        metadata: dict[str, object] = {"name": name, "labels": _LABELS}
        body = {"metadata": metadata, "type": "Opaque", "stringData": dict(texts)}
        if version is None:
            await self._core.create_namespaced_secret(self._namespace, body)
        else:
            metadata["resourceVersion"] = version
            await self._core.replace_namespaced_secret(name, self._namespace, body)

    async def distribute(self, root: Mapping[str, str], *, revocation: bool = True) -> list[str]:
        """Give each process its part; return the names of Secrets that were written."""
        written = []
        kept_back = () if revocation else REVOCATION
        for name, keys in PARTS.items():
            present, version = await self.read(name)
            wanted = {key: root[key] for key in keys if key not in kept_back}
            if present != wanted:
                await self.write(name, wanted, version)
                written.append(name)
        return written
