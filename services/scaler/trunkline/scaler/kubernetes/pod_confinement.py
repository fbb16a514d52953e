"""What keeps user code inside its container, whatever a spec says and whether the namespace enforces it or not.

These are the rules of the restricted security standard as far as a spec reaches them. A container that a spec adds and
that says nothing about itself is confined as the user's is; one that says otherwise is refused.
"""

from collections.abc import Iterator
from typing import Any

Part = dict[str, Any]

_PROFILES = frozenset({None, "RuntimeDefault", "Localhost"})
_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
_UNCONFINING = (
    "container.apparmor.security.beta.kubernetes.io/",
    "container.seccomp.security.alpha.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
)
_SCRAPING = "prometheus.io/"
"""By these Prometheus is led: to a page of the user's, whose series could have any name, or to another server."""


def confined(containers: list[Part], ours: frozenset[str], *, allow_root: bool) -> list[Part]:
    """Return containers, those that are not ours confined as far as they say nothing else."""
    return [
        each if each["name"] in ours else {**each, "securityContext": _context(each, allow_root)}
        for each in containers
    ]


def _context(container: Part, allow_root: bool) -> Part:
    given = container.get("securityContext") or {}
    return {
        "allowPrivilegeEscalation": False,
        **({} if allow_root else {"runAsNonRoot": True}),
        **given,
        "capabilities": {"drop": ["ALL"], **(given.get("capabilities") or {})},
    }


def unfit_others(containers: list[Part], *, allow_root: bool) -> Iterator[str]:
    """Say what is wrong with containers and init steps that a spec has added."""
    for each in containers:
        name, context = each["name"], each["securityContext"]
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"allowPrivilegeEscalation of {name!r} must be false"
        if "ALL" not in (context["capabilities"].get("drop") or ()):
            yield f"capabilities.drop of {name!r} must hold ALL"
        if not allow_root and (
            context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0
        ):
            yield f"{name!r} may not run as root"


def unfit_user(user: Part) -> Iterator[str]:
    """Say by what the user's container would run code before the shim has taken the agent's socket."""
    for name in _PROBES:
        probe = user.get(name)
        if isinstance(probe, dict) and probe.get("exec") is not None:
            yield f"{name} of the user's container may not be an exec: it would run beside the shim"


def unfit_field(key: str, value: Any) -> str:  # noqa: ANN401
    """Return what is wrong with one field of whatever part; empty if nothing is."""
    if key in ("seccompProfile", "appArmorProfile") and value is not None:
        kind = value.get("type") if isinstance(value, dict) else value
        return "" if kind in _PROFILES else "may only be RuntimeDefault or Localhost"
    if key == "seLinuxOptions" and value is not None:
        only = isinstance(value, dict) and value.keys() <= {"level"}
        return "" if only else "may only say a level"
    return ""


def unfit_annotation(key: str) -> str:
    """Return what is wrong with an annotation that a spec gives; empty if nothing is."""
    if key.startswith(_UNCONFINING):
        return f"the annotation {key!r} may not be set: use securityContext"
    if key.startswith(_SCRAPING):
        return f"the annotation {key!r} may not be set: it says where the agent's metrics are read"
    return ""
