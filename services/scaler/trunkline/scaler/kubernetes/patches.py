"""Changes of a JSON document that a spec brings along: RFC 7386 (merge) and RFC 6902 (patch).

Both leave the document that they are given as it is. Whoever wrote the change may mean harm: a document that copies
itself doubles with each operation, so what comes of it is measured after each one.
"""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from trunkline.contracts import errors, json_bounds, pod_shapes

Json: TypeAlias = Any
"""What may stand in a JSON document."""


class PatchError(errors.TrunklineError):
    """A change cannot be made, or may not be made."""


class PatchFailedError(PatchError):
    """An operation of a patch does not fit what is there."""

    def __init__(self, position: int, operation: object, reason: str) -> None:
        super().__init__(f"pod_patch[{position}] {json.dumps(operation)[:200]}: {reason[:200]}")


class UnfitError(PatchError):
    """A change, or what comes of it, is too large, or of another type than it must be."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}")


@contextmanager
def fitting(what: str) -> Iterator[None]:
    """Raise UnfitError for what does not fit."""
    try:
        yield
    except json_bounds.JsonUnfitError as error:
        raise UnfitError(what, str(error)) from None


class _DoesNotFitError(Exception):
    """Why an operation cannot be done."""


def merged(document: dict[str, Any], change: str) -> dict[str, Any]:
    """Return a document with an object (as text; empty: none) merged into it.

    Raises:
        UnfitError: it is none, or too large.
    """
    with fitting("pod_spec"):
        found = _merged(copy.deepcopy(document), json_bounds.read(change or "{}"))
    if not isinstance(found, dict):
        raise UnfitError("pod_spec", "it is no object")
    return found


def _merged(target: Json, change: Json) -> Json:
    if not isinstance(change, dict):
        return change
    if not isinstance(target, dict):
        target = {}
    for key, value in change.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = _merged(target.get(key), value)
    return target


def patched(document: dict[str, Any], operations: str) -> dict[str, Any]:
    """Return a document after a list of operations (as text; empty: none).

    Raises:
        PatchFailedError: one of them does not fit.
        UnfitError: they are none, or too many.
    """
    holder: dict[str, Any] = {"": copy.deepcopy(document)}
    with fitting("pod_patch"):
        each = json_bounds.read(operations or "[]")
        pod_shapes.check_operations(each)
    for position, operation in enumerate(each):
        try:
            _apply(holder, operation)
            json_bounds.check(holder)
        except (_DoesNotFitError, json_bounds.JsonUnfitError) as error:
            raise PatchFailedError(position, operation, str(error)) from None
        if not isinstance(holder.get(""), dict):
            raise PatchFailedError(position, operation, "it leaves no object")
    found: dict[str, Any] = holder[""]
    return found


def _apply(holder: dict[str, Any], operation: dict[str, Any]) -> None:
    kind, path = operation.get("op"), _steps(operation, "path")
    match kind:
        case "add":
            _add(holder, path, _value(operation))
        case "remove":
            _remove(holder, path)
        case "replace":
            _remove(holder, path)
            _add(holder, path, _value(operation))
        case "move":
            origin = _steps(operation, "from")
            if path[: len(origin)] == origin and path != origin:
                raise _DoesNotFitError("it moves something into itself")
            _add(holder, path, _remove(holder, origin))
        case "copy":
            _add(holder, path, copy.deepcopy(_get(holder, _steps(operation, "from"))))
        case "test":
            if not _same(_get(holder, path), _value(operation)):
                raise _DoesNotFitError("what is there is something else")
        case _:
            message = f"`op` is {kind!r}, not one of add, remove, replace, move, copy, test"
            raise _DoesNotFitError(message)


def _steps(operation: dict[str, Any], name: str) -> list[str]:
    text = operation.get(name)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        message = f"`{name}` must be a path that begins with a slash"
        raise _DoesNotFitError(message)
    # the document itself lies below the empty key, so that it has a parent, too
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")]


def _value(operation: dict[str, Any]) -> Json:
    if "value" not in operation:
        raise _DoesNotFitError("`value` is missing")
    return operation["value"]


def _get(holder: Json, path: list[str]) -> Json:
    for step in path:
        if isinstance(holder, list):
            holder = holder[_index(step, len(holder) - 1)]
        elif isinstance(holder, dict) and step in holder:
            holder = holder[step]
        else:
            message = f"there is no {step!r}"
            raise _DoesNotFitError(message)
    return holder


def _add(holder: Json, path: list[str], value: Json) -> None:
    parent, last = _get(holder, path[:-1]), path[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(last, len(parent)), value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise _DoesNotFitError("its parent is neither an object nor an array")


def _remove(holder: Json, path: list[str]) -> Json:
    found = _get(holder, path)
    parent, last = _get(holder, path[:-1]), path[-1]
    del parent[int(last) if isinstance(parent, list) else last]
    return found


def _index(step: str, most: int) -> int:
    short = step.isascii() and step.isdigit() and len(step) <= len(str(most))
    if not (short and str(int(step)) == step and int(step) <= most):
        message = f"{step[:40]!r} is no position up to {most}"
        raise _DoesNotFitError(message)
    return int(step)


def _same(one: Json, other: Json) -> bool:
    """Return whether two values are the same in JSON, where 1 and true are not."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
