"""What a spec's `pod_spec` and `pod_patch` may not make of a worker's pod.

Whoever writes a spec may shape what the user's code runs in, and may not come by what the agent has:
credentials of NATS and of the store. So the agent and the init step stay as they are; nobody else mounts
what they mount, names a Secret of ours, or leaves its own namespaces; and the pod stays ours to find.

The rules go by what a pod has in the end, never by the operations that led there.
"""

from collections.abc import Iterator
from typing import Any

from trunkline.scaler.kubernetes.patches import Json, PatchError

Part = dict[str, Any]

AGENT, USER, SHIM = "agent", "user", "shim"
"""The two containers and the init step."""
OURS = "trunkline-"
"""How the name of each Secret of ours begins."""
_SHARED = frozenset({"tools", "run", "home"})
"""Volumes that the user's container mounts, as we say; no further container does."""
_AGENTS = frozenset({"credentials", "store"})
"""Volumes that the agent alone mounts."""
_KEPT = (
    ("automountServiceAccountToken",),
    ("enableServiceLinks",),
    ("restartPolicy",),
    ("serviceAccount",),
    ("serviceAccountName",),
    ("securityContext", "fsGroup"),
    ("securityContext", "seccompProfile"),
)
_NEVER = frozenset(
    {
        "hostPath", "hostPID", "hostIPC", "hostNetwork", "hostAliases", "hostProcess", "hostPort", "privileged",
        "shareProcessNamespace", "serviceAccountToken", "dnsConfig", "dnsPolicy", "procMount",
        "ephemeralContainers", "volumeDevices",
    }
)  # fmt: skip
"""Fields that lead to the node, to the API, or the agent to another server."""
_USER_FIXED = (
    ("image",),
    ("command",),
    ("args",),
    ("workingDir",),
    ("lifecycle",),
    ("securityContext", "allowPrivilegeEscalation"),
    ("securityContext", "capabilities", "drop"),
    ("securityContext", "runAsNonRoot"),
)
_ADDABLE = frozenset({"NET_BIND_SERVICE"})


class PodRefusedError(PatchError):
    """A pod would be something that it may not be."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"such a pod is not made: {reason}")


def check(made: Part, wanted: Part, *, store_secret: str) -> None:
    """Raise PodRefusedError if a pod's spec as it is wanted breaks a rule; the first one is named.

    Args:
        made: The pod's spec as we have made it.
        wanted: The same after the changes that the pipeline's spec brings along.
        store_secret: The Secret that lets agents into the store; empty: there is none.
    """
    for reason in _problems(made, wanted, store_secret):
        raise PodRefusedError(reason)


def _problems(made: Part, wanted: Part, store_secret: str) -> Iterator[str]:
    yield from _shape(wanted)  # the first one ends it, so the others may rest on this
    yield from _kept(made, wanted)
    yield from _containers(made, wanted)
    yield from _volumes(made, wanted)
    yield from _fields(made, wanted)
    yield from _secrets(wanted, store_secret)


def _shape(wanted: Part) -> Iterator[str]:
    for name in ("initContainers", "containers", "volumes"):
        each = wanted.get(name)
        if not isinstance(each, list) or not all(isinstance(one, dict) for one in each):
            yield f"{name} must stay an array of objects"
        elif len({str(one.get("name")) for one in each}) < len(each):
            yield f"two of {name} have one name"
    for kind in ("initContainers", "containers"):
        for each in wanted.get(kind) or []:
            mounts = each.get("volumeMounts", [])
            if not isinstance(mounts, list) or not all(isinstance(one, dict) for one in mounts):
                yield f"volumeMounts in {kind} must be arrays of objects"


def _kept(made: Part, wanted: Part) -> Iterator[str]:
    for path in _KEPT:
        if _at(made, path) != _at(wanted, path):
            yield f"{'.'.join(path)} must stay as it is"
    grace = "terminationGracePeriodSeconds"
    least, most = made[grace], wanted.get(grace)
    if not isinstance(most, int) or most < least:
        yield f"{grace} must be at least {least}, which is what a draining worker takes"


def _containers(made: Part, wanted: Part) -> Iterator[str]:
    before, after = _by_name(made, "containers"), _by_name(wanted, "containers")
    steps, steps_after = _by_name(made, "initContainers"), _by_name(wanted, "initContainers")
    if steps_after.get(SHIM) != steps[SHIM]:
        yield f"the init step {SHIM!r} must stay as it is"
    if USER not in after or AGENT not in after:
        yield f"the containers {USER!r} and {AGENT!r} must stay"
        return
    if {**after[AGENT], "resources": 0} != {**before[AGENT], "resources": 0}:
        yield f"of the container {AGENT!r} only resources may change"
    yield from _user(after[USER], before[USER])
    others = [each for name, each in after.items() if name not in (USER, AGENT)]
    others += [each for name, each in steps_after.items() if name != SHIM]
    for each in others:
        yield from _mounts(each.get("volumeMounts", []))


def _user(user: Part, own: Part) -> Iterator[str]:
    for path in _USER_FIXED:
        if _at(user, path) != _at(own, path):
            yield f"{'.'.join(path)} of the container {USER!r} must stay: see `transform`"
    mounts = user.get("volumeMounts", [])
    if any(each not in mounts for each in own["volumeMounts"]):
        yield f"the mounts of the container {USER!r} must stay; others may be added"
    yield from _mounts([each for each in mounts if each not in own["volumeMounts"]])


def _mounts(more: list[Part]) -> Iterator[str]:
    """Say what is wrong with mounts that are not of our making."""
    for mount in more:
        name, path = mount.get("name"), mount.get("mountPath")
        if name in _AGENTS or name in _SHARED:
            yield f"the volume {name!r} cannot be mounted elsewhere"
        if _is_below(path, "/trunkline", "/run/trunkline"):
            yield f"nothing can be mounted at {path!r}"


def _volumes(made: Part, wanted: Part) -> Iterator[str]:
    after = _by_name(wanted, "volumes")
    for name, volume in _by_name(made, "volumes").items():
        if name == "home":
            if "emptyDir" not in after.get(name, {}) and "ephemeral" not in after.get(name, {}):
                yield "the volume 'home' must stay an emptyDir or become ephemeral"
        elif after.get(name) != volume:
            yield f"the volume {name!r} must stay as it is"


def _fields(made: Part, wanted: Part) -> Iterator[str]:
    for path, key, value in _walk(wanted, made["volumes"]):
        if key in _NEVER and value not in (None, False, []):
            yield f"{path}{key} may not be set"
        if key == "capabilities" and isinstance(value, dict):
            added = {str(each) for each in value.get("add") or ()} - _ADDABLE
            if added:
                yield f"{path}{key} may not add {', '.join(sorted(added))}"


def _secrets(wanted: Part, store_secret: str) -> Iterator[str]:
    """Say who names a Secret of ours, in whatever kind of volume or variable."""
    agent = [each for each in wanted["containers"] if each["name"] == AGENT]
    held = [each for each in wanted["volumes"] if each["name"] == "credentials"]
    for path, key, value in _walk(wanted, [*agent, *held]):
        for name in _named(key, value):
            if name.startswith(OURS) or name == store_secret:
                yield f"{path}{key} names the Secret {name!r}, which is for agents only"


def _named(key: str, value: Json) -> Iterator[str]:
    if key == "secretName" and isinstance(value, str):
        yield value
    referring = key.lower().endswith("secretref") or key in ("secretKeyRef", "secret")
    if referring and isinstance(value, dict) and isinstance(value.get("name"), str):
        yield value["name"]


def _walk(value: Json, without: list[Json], path: str = "") -> Iterator[tuple[str, str, Json]]:
    """Yield the path, key and value of all that is in a value, but for some parts of it."""
    if any(value == each for each in without):
        return
    if isinstance(value, dict):
        for key, each in value.items():
            yield path, key, each
            yield from _walk(each, without, f"{path}{key}.")
    elif isinstance(value, list):
        for position, each in enumerate(value):
            yield from _walk(each, without, f"{path.removesuffix('.')}[{position}].")


def _by_name(spec: Part, kind: str) -> dict[str, Part]:
    return {str(each.get("name")): each for each in spec.get(kind) or []}


def _at(value: Json, path: tuple[str, ...]) -> Json:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _is_below(path: Json, *places: str) -> bool:
    return isinstance(path, str) and any(f"{path.rstrip('/')}/".startswith(f"{p}/") for p in places)
