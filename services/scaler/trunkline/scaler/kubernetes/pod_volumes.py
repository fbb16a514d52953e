"""Which volumes a spec may add to a worker's pod, and where they may be mounted.

What matters is where a volume leads, not its name: whoever could mount the store a second time, by whatever
name, would read and write all of it. So only kinds are taken that we know, and where the store is a volume
itself, none that could lead there by another way: the server of a network file system has several names.
"""

import posixpath
from collections.abc import Iterator
from typing import Any

Part = dict[str, Any]

ALLOWED = frozenset(
    "configMap downwardAPI emptyDir ephemeral image persistentVolumeClaim projected secret".split()  # noqa: SIM905
)
BESIDE_A_BUCKET = frozenset({"csi", "nfs"})
"""Allowed as well where the store is none of the pod's volumes."""
_KEPT_CLEAR = ("/trunkline", "/run/trunkline", "/var/run/trunkline", "/pfs")
"""Nothing is mounted there, below, or on the way to it."""


def unfit(volumes: list[Part], ours: dict[str, Part]) -> Iterator[str]:
    """Say what is wrong with the volumes that are not of our making.

    Args:
        volumes: All of the pod's.
        ours: Those that we have made, by name; `store` among them where the store is a volume.
    """
    store = ours.get("store")
    allowed = ALLOWED if store else ALLOWED | BESIDE_A_BUCKET
    for volume in volumes:
        name = volume["name"]
        if volume == ours.get(name):
            continue
        kinds = sorted(key for key, value in volume.items() if key != "name" and value is not None)
        if len(kinds) > 1 or not allowed.issuperset(kinds):
            yield (
                f"the volume {name!r} may not be set to {', '.join(kinds)}: "
                f"it must be one of {', '.join(sorted(allowed))}"
            )
        claim = volume.get("persistentVolumeClaim")
        if store and claim is not None and _claim(claim) in ("", _claim_of(store)):
            yield f"the volume {name!r} is the store, which is for agents only"


def unfit_mounts(mounts: list[Part], reserved: frozenset[str]) -> Iterator[str]:
    """Say what is wrong with mounts that are not of our making.

    Args:
        mounts: Of one container.
        reserved: Volumes that only we mount.
    """
    for mount in mounts:
        name, path = mount["name"], mount["mountPath"]
        if name in reserved:
            yield f"the volume {name!r} cannot be mounted elsewhere"
        if any(_meets(_normal(path), place) for place in _KEPT_CLEAR):
            yield f"nothing can be mounted at {path!r}"


def _claim_of(volume: Part) -> str:
    found = volume.get("persistentVolumeClaim")
    return "" if found is None else _claim(found)


def _claim(claim: Any) -> str:  # noqa: ANN401
    name = claim.get("claimName") if isinstance(claim, dict) else None
    return name if isinstance(name, str) else ""


def _normal(path: str) -> str:
    """Return where a runtime mounts a path: below the root, without dots and double slashes."""
    return posixpath.normpath(f"/{path.lstrip('/')}")


def _meets(path: str, place: str) -> bool:
    above, below = f"{path.rstrip('/')}/", f"{place}/"
    return above.startswith(below) or below.startswith(above)
