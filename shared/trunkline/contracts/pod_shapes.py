"""The types of those fields of a pod that we read: what a spec brings along is held to them.

All of them may be missing, and null counts as missing, as the API has it: so the same holds for what is merged into
a pod (`pod_spec`), when it is applied, and for the whole pod, before it is made. Fields that we do not read are the
API server's to judge.
"""

from typing import Any

import msgspec

from trunkline.contracts.json_bounds import JsonUnfitError

MOST_OPERATIONS = 100


class _Shape(msgspec.Struct, rename="camel"):
    pass


class _Requirement(_Shape):
    key: str
    operator: str
    values: list[str] | None = None


class _Term(_Shape):
    match_expressions: list[_Requirement] | None = None
    match_fields: list[_Requirement] | None = None


class _NodeSelector(_Shape):
    node_selector_terms: list[_Term] | None = None


class _NodeAffinity(_Shape):
    required_during_scheduling_ignored_during_execution: _NodeSelector | None = None


class _Affinity(_Shape):
    node_affinity: _NodeAffinity | None = None


class _Toleration(_Shape):
    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None


class _Mount(_Shape):
    name: str
    mount_path: str


class _Capabilities(_Shape):
    add: list[str] | None = None
    drop: list[str] | None = None


class _SecurityContext(_Shape):
    capabilities: _Capabilities | None = None


class _Container(_Shape):
    name: str
    volume_mounts: list[_Mount] | None = None
    security_context: _SecurityContext | None = None


class _Volume(_Shape):
    name: str


class _Pod(_Shape):
    node_selector: dict[str, str] | None = None
    affinity: _Affinity | None = None
    tolerations: list[_Toleration] | None = None
    priority_class_name: str | None = None
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None
    volumes: list[_Volume] | None = None


class _Operation(msgspec.Struct):
    op: str
    path: str


def check(spec: Any) -> None:  # noqa: ANN401
    """Raise JsonUnfitError, which names the field, if what we read of a pod's spec is of another type."""
    _convert(spec, _Pod)


def check_operations(operations: Any) -> None:  # noqa: ANN401
    """Raise JsonUnfitError if a patch has too many operations, or if one is none."""
    if isinstance(operations, list) and len(operations) > MOST_OPERATIONS:
        message = f"it has {len(operations)} operations, more than {MOST_OPERATIONS}"
        raise JsonUnfitError(message)
    _convert(operations, list[_Operation])


def _convert(value: Any, shape: Any) -> None:  # noqa: ANN401
    try:
        msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise JsonUnfitError(str(error)) from None
