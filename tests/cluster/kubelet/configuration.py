"""What a container's environment, command and user are to be, from its pod's spec; decided without I/O.

Secrets and config maps are handed in, as far as there are any: `Known` says of each that the pod refers to
what it holds. A reference to one that is missing is an error, unless the reference is optional.
"""

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

from tests.cluster.kubelet.images import Image
from tests.cluster.kubelet.statuses import Object

Known = Mapping[tuple[str, str], Mapping[str, bytes]]
"""(`secret`, `configmap`, `token` or `claim`, name) -> key -> bytes."""

CLAIM = "claim"
"""Stands for the volume of a claim among what a pod refers to; its one key is where it lies."""
TOKEN = "token"
"""Stands for a service account's token among what a pod refers to; its one key is called so, too."""
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_UNITS = {
    "": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip


class ConfigurationError(Exception):
    """A container cannot be configured; a kubelet would say CreateContainerConfigError."""


class MissingError(ConfigurationError):
    """A pod refers to a secret or a config map, or to a key in one, that is not there."""

    def __init__(self, kind: str, name: str, key: str = "") -> None:
        absent = f"couldn't find key {key} in {kind} {name}"
        super().__init__(absent if key else f'{kind} "{name}" not found')


def contents(kind: str, thing: Object) -> dict[str, bytes]:
    """Return what a secret, a config map, or a fresh token of the API holds."""
    if kind == TOKEN:
        return {TOKEN: thing["status"]["token"].encode()}
    if kind == CLAIM:
        return {CLAIM: thing["spec"]["local"]["path"].encode()}
    data: dict[str, str] = thing.get("data") or {}
    binary: dict[str, str] = thing.get("binaryData") or {}
    if kind == "secret":
        data, binary = {}, data
    text = {key: value.encode() for key, value in data.items()}
    return text | {key: b64decode(value) for key, value in binary.items()}


def references(pod: Object) -> set[tuple[str, str]]:
    """Return all secrets and config maps to which a pod refers."""
    found = set[tuple[str, str]]()
    for volume in pod["spec"].get("volumes", []):
        for source in (volume, *volume.get("projected", {}).get("sources", [])):
            found |= _held_by_source(source, pod)
    for container in (*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]):
        for kind, reference in _references(container):
            found.add((kind, reference["name"]))
    return found


def environment(
    container: Object, pod: Object, base: Mapping[str, str], known: Known
) -> dict[str, str]:
    """Return a container's whole environment; `base` is the image's.

    Raises:
        ConfigurationError: Something to which it refers is missing.
    """
    env = dict(base)
    for source in container.get("envFrom", []):
        for kind, key in (("secret", "secretRef"), ("configmap", "configMapRef")):
            if key in source:
                prefix, held = source.get("prefix", ""), _held(kind, source[key], known)
                env |= {prefix + name: value.decode() for name, value in held.items()}
    for entry in container.get("env", []):
        value = _value(entry, container, pod, known)
        if value is not None:
            env[entry["name"]] = expand(value, env)
    return env


def expand(text: str, env: Mapping[str, str]) -> str:
    """Return a text with `$(NAME)` replaced, as far as the name is known; `$$` is a dollar."""
    return _REFERENCE.sub(
        lambda found: "$" if found[0] == "$$" else env.get(found[1], found[0]), text
    )


def command(container: Object, image: Image, env: Mapping[str, str]) -> list[str]:
    """Return the words to run.

    Raises:
        ConfigurationError: There are none.
    """
    words = [*(container.get("command") or image.entrypoint), *container.get("args", [])]
    if not words:
        raise ConfigurationError("no command specified")
    return [expand(word, env) for word in words]


def security(container: Object, pod: Object) -> Object:
    """Return the security context of a container: its own over its pod's."""
    return {
        **(pod["spec"].get("securityContext") or {}),
        **(container.get("securityContext") or {}),
    }


def user(container: Object, pod: Object, image: Image) -> int:
    """Return the user id that a container runs under.

    Raises:
        ConfigurationError: It would be root, and must not.
    """
    context = security(container, pod)
    uid: int = context.get("runAsUser", image.user)
    if context.get("runAsNonRoot") and uid == 0:
        raise ConfigurationError("container has runAsNonRoot and image will run as root")
    return uid


def memory_limit(container: Object) -> int | None:
    """Return the most bytes that a container may use, None for as many as there are."""
    limit = (container.get("resources", {}).get("limits") or {}).get("memory")
    return None if limit is None else int(quantity(limit))


def quantity(text: str) -> float:
    """Return the number that a quantity of the API stands for: `100m`, `64Mi`, `2`."""
    number = text.rstrip("".join(_UNITS))
    return float(number) * _UNITS[text[len(number) :]]


def _held_by_source(source: Object, pod: Object) -> set[tuple[str, str]]:
    """Return to what a volume, or a part of a projected one, refers."""
    if "secret" in source:
        return {("secret", source["secret"].get("secretName") or source["secret"]["name"])}
    if "configMap" in source:
        return {("configmap", source["configMap"]["name"])}
    if "serviceAccountToken" in source:
        return {(TOKEN, account(pod))}
    if "persistentVolumeClaim" in source:
        return {(CLAIM, source["persistentVolumeClaim"]["claimName"])}
    return set()


def account(pod: Object) -> str:
    """Return the service account that a pod runs under."""
    return str(pod["spec"].get("serviceAccountName") or "default")


def _references(container: Object) -> Iterator[tuple[str, Object]]:
    for entry in container.get("env", []):
        source = entry.get("valueFrom", {})
        if "secretKeyRef" in source:
            yield "secret", source["secretKeyRef"]
        if "configMapKeyRef" in source:
            yield "configmap", source["configMapKeyRef"]
    for source in container.get("envFrom", []):
        if "secretRef" in source:
            yield "secret", source["secretRef"]
        if "configMapRef" in source:
            yield "configmap", source["configMapRef"]


def _value(entry: Object, container: Object, pod: Object, known: Known) -> str | None:
    source = entry.get("valueFrom")
    if source is None:
        return str(entry.get("value", ""))
    if "fieldRef" in source:
        return field(source["fieldRef"]["fieldPath"], pod)
    if "resourceFieldRef" in source:
        return _resource(source["resourceFieldRef"], container)
    kind, reference = (
        ("secret", source["secretKeyRef"])
        if "secretKeyRef" in source
        else ("configmap", source["configMapKeyRef"])
    )
    held, key = _held(kind, reference, known), reference["key"]
    if key in held:
        return held[key].decode()
    if reference.get("optional"):
        return None
    raise MissingError(kind, reference["name"], key)


def _held(kind: str, reference: Object, known: Known) -> Mapping[str, bytes]:
    held = known.get((kind, reference["name"]))
    if held is None and not reference.get("optional"):
        raise MissingError(kind, reference["name"])
    return held or {}


def field(path: str, pod: Object) -> str:
    """Return a field of the pod, as the downward API would."""
    if subscript := _SUBSCRIPT.fullmatch(path):
        return str((pod["metadata"].get(subscript[1]) or {}).get(subscript[2], ""))
    value: Any = pod
    for step in path.split("."):
        value = value.get(step, "") if isinstance(value, dict) else ""
    return str(value)


def _resource(reference: Object, container: Object) -> str:
    held: Any = container.get("resources", {})
    for step in reference["resource"].split("."):
        held = held.get(step) or {}
    amount = quantity(held) if held else 0.0
    return str(ceil(amount / quantity(str(reference.get("divisor") or "1") or "1")))
