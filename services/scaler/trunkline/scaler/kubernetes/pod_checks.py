"""What a spec's `pod_spec` and `pod_patch` may not make of a worker's pod.

Whoever writes a spec may shape what the user's code runs in, and may not come by what the agent has:
credentials of NATS and of the store. So the agent and the init step stay as they are; nobody else mounts
what they mount, names a Secret of ours, or leaves its own namespaces; and the pod stays ours to find.

The rules go by what a pod has in the end, never by the operations that led there.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from trunkline.scaler.kubernetes import pod_confinement, pod_volumes
from trunkline.scaler.kubernetes.patches import Json, PatchError
from trunkline.scaler.kubernetes.pod_settings import PodSettings

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
    ("nodeName",),
    ("securityContext", "sysctls"),
    ("securityContext", "windowsOptions"),
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
        "ephemeralContainers", "volumeDevices", "dataSource", "dataSourceRef",
    }
)  # fmt: skip
"""Fields that lead to the node, to the API, the agent to another server, or to a copy of the store."""
_USER_FIXED = (
    ("image",),
    ("command",),
    ("args",),
    ("workingDir",),
    ("lifecycle",),
    ("terminationMessagePath",),
    ("securityContext", "allowPrivilegeEscalation"),
    ("securityContext", "capabilities", "drop"),
    ("securityContext", "runAsNonRoot"),
)
_ADDABLE = frozenset({"NET_BIND_SERVICE"})


class PodRefusedError(PatchError):
    """A pod would be something that it may not be."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"such a pod is not made: {reason}")


def check(made: Part, wanted: Part, settings: PodSettings) -> None:
    """Raise PodRefusedError if a pod's spec as it is wanted breaks a rule; the first one is named.

    Args:
        made: The pod's spec as we have made it.
        wanted: The same after the changes that the pipeline's spec brings along.
        settings: What the installation says.
    """
    for reason in _problems(made, wanted, settings):
        raise PodRefusedError(reason)


def check_annotations(given: Iterable[str]) -> None:
    """Raise PodRefusedError if annotations of a spec undo what a pod's fields say, or say what only we say."""
    for key in given:
        reason = pod_confinement.unfit_annotation(key)
        if reason:
            raise PodRefusedError(reason)


def confined(wanted: Part, settings: PodSettings) -> Part:
    """Return a pod's spec with the containers confined that a spec has added; see `pod_confinement`."""
    ours = frozenset({AGENT, USER, SHIM})
    return wanted | {
        kind: pod_confinement.confined(wanted[kind], ours, allow_root=settings.allow_root)
        for kind in ("initContainers", "containers")
        if wanted.get(kind)
    }


def _problems(made: Part, wanted: Part, settings: PodSettings) -> Iterator[str]:
    yield from _shape(wanted)  # the first one ends it, so the others may rest on this
    yield from _kept(made, wanted)
    yield from _containers(made, wanted, settings)
    yield from _volumes(made, wanted)
    yield from _fields(made, wanted)
    yield from _secrets(wanted, settings.store_secret)
    yield from _priority(wanted, settings)


def _shape(wanted: Part) -> Iterator[str]:
    for name in ("initContainers", "containers", "volumes"):
        each = wanted.get(name)
        if not isinstance(each, list) or not all(isinstance(one, dict) for one in each):
            yield f"{name} must stay an array of objects"
        elif len({str(one.get("name")) for one in each}) < len(each):
            yield f"two of {name} have one name"


def _kept(made: Part, wanted: Part) -> Iterator[str]:
    for path in _KEPT:
        if _at(made, path) != _at(wanted, path):
            yield f"{'.'.join(path)} must stay as it is"
    grace = "terminationGracePeriodSeconds"
    least, most = made[grace], wanted.get(grace)
    if not isinstance(most, int) or most < least:
        yield f"{grace} must be at least {least}, which is what a draining worker takes"


def _priority(wanted: Part, settings: PodSettings) -> Iterator[str]:
    name = wanted.get("priorityClassName") or ""
    if name.startswith("system-") and name != settings.default_priority_class:
        yield f"the priority class {name!r} is for the cluster's own pods"


def _containers(made: Part, wanted: Part, settings: PodSettings) -> Iterator[str]:
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
        yield from pod_volumes.unfit_mounts(each.get("volumeMounts") or [], _AGENTS | _SHARED)
    yield from pod_confinement.unfit_others(others, allow_root=settings.allow_root)


def _user(user: Part, own: Part) -> Iterator[str]:
    for path in _USER_FIXED:
        if _at(user, path) != _at(own, path):
            yield f"{'.'.join(path)} of the container {USER!r} must stay: see `transform`"
    mounts, fixed = user.get("volumeMounts") or [], own["volumeMounts"]
    if any(each not in mounts for each in fixed):
        yield f"the mounts of the container {USER!r} must stay; others may be added"
    # a Secret of the spec's is mounted by us, but where the spec says
    more = [each for each in mounts if each["name"] not in _SHARED or each not in fixed]
    yield from pod_volumes.unfit_mounts(more, _AGENTS | _SHARED)
    yield from pod_confinement.unfit_user(user)


def _volumes(made: Part, wanted: Part) -> Iterator[str]:
    after = _by_name(wanted, "volumes")
    for name, volume in _by_name(made, "volumes").items():
        if name == "home":
            if "emptyDir" not in after.get(name, {}) and "ephemeral" not in after.get(name, {}):
                yield "the volume 'home' must stay an emptyDir or become ephemeral"
        elif after.get(name) != volume:
            yield f"the volume {name!r} must stay as it is"
    yield from pod_volumes.unfit(wanted["volumes"], _by_name(made, "volumes"))


def _fields(made: Part, wanted: Part) -> Iterator[str]:
    for path, key, value in _walk(wanted, made["volumes"]):
        if key in _NEVER and value not in (None, False, []):
            yield f"{path}{key} may not be set"
        unfit = pod_confinement.unfit_field(key, value)
        if unfit:
            yield f"{path}{key} {unfit}"
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
