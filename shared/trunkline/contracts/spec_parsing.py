"""From the text of a spec to a `PipelineSpec`, or to every reason why not.

`spec_reading` reads the text; then other spellings become the structs' own, a walk beside the structs'
types collects what is unknown (with the nearest known name), missing or of the wrong type, and checks
add what no type can say. All problems are told at once, each with its JSON path, so that a user mends
a spec in one round; only after `_MOST_PROBLEMS` there is no point in more. A spec is hostile input:
nothing in it makes this raise anything but InvalidSpecError, take long, or answer at great length.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, TypeGuard, get_args, get_origin, get_type_hints

import msgspec

from trunkline.contracts import errors, globs, names, spec, spec_reading

Problems = list[tuple[str, str]]

_MOST_PROBLEMS = 100
_MOST_TEXT = 400
"""Characters of a problem's text; a name of megabytes is not repeated."""

MOST_WORKERS = 100_000
MOST_TIMEOUT_S = 365 * 24 * 3600.0
MOST_TRIES = 100
MOST_INPUTS = 64

_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(h|ms|m|s)", re.ASCII)
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def parse(data: bytes) -> spec.PipelineSpec:
    """Return the spec that JSON or YAML text holds, or raise InvalidSpecError with all problems."""
    return convert(load(data))


def load(data: bytes) -> Any:  # noqa: ANN401 - any document may come in; `convert` checks it
    """Return the document in a text of JSON or YAML, or raise InvalidSpecError."""
    return spec_reading.load(data)


def convert(document: Any) -> spec.PipelineSpec:  # noqa: ANN401 - see `load`
    """Return the spec that a document describes, or raise InvalidSpecError with all problems."""
    if not isinstance(document, Mapping):
        raise errors.InvalidSpecError([("$", f"expected an object, not {_kind(document)}")])
    problems: Problems = []
    _check_text(document, problems)
    raw = _normalised(dict(document), problems)
    _walk(raw, spec.PipelineSpec, "$", problems)
    for check in (_check_names, _check_parallelism, _check_transform, _check_input, _check_numbers):
        check(raw, problems)
    if problems:
        raise errors.InvalidSpecError(_told(problems, named_apart="pipeline" not in document))
    parsed = msgspec.convert(raw, spec.PipelineSpec)
    return msgspec.structs.replace(parsed, input=_named(parsed.input))


def _named(value: spec.Input) -> spec.Input:
    """Return the input with each leaf's name filled in."""
    pfs, cross, union = value.pfs, value.cross, value.union
    if pfs is not None:
        pfs = msgspec.structs.replace(pfs, name=pfs.name or pfs.repo)
    return spec.Input(
        pfs=pfs,
        cross=tuple(_named(each) for each in cross) if cross is not None else None,
        union=tuple(_named(each) for each in union) if union is not None else None,
    )


def _told(problems: Problems, *, named_apart: bool) -> Problems:
    """Return the problems as the user sees them: with the paths of the text, and none too long."""
    told = []
    for path, text in problems[:_MOST_PROBLEMS]:
        if path == "$.name" and not (named_apart and text != "is missing"):
            path = "$.pipeline.name"  # noqa: PLW2901
        told.append((_short(path), _short(text)))
    if len(problems) > _MOST_PROBLEMS:
        told.append(("$", f"and at least {len(problems) - _MOST_PROBLEMS} problems more"))
    return told


# --- other spellings ---------------------------------------------------------------------------


def _normalised(raw: dict[Any, Any], problems: Problems) -> dict[Any, Any]:
    """Return the document with Pachyderm's spellings turned into the structs' own."""
    raw.pop("$schema", None)
    _normalise_name(raw, problems)
    if "autoscaling" in raw:
        if "standby" in raw:
            problems.append(("$.autoscaling", "set only one of `standby` and `autoscaling`"))
        raw["standby"] = raw.pop("autoscaling")
    _normalise_timeout(raw, problems)
    if raw.get("parallelism_spec", 1) is None:
        del raw["parallelism_spec"]
    return raw


def _normalise_name(raw: dict[Any, Any], problems: Problems) -> None:
    if "pipeline" not in raw:
        return
    pipeline = raw.pop("pipeline")
    if not isinstance(pipeline, Mapping):
        problems.append(("$.pipeline", f"expected an object, not {_kind(pipeline)}"))
        raw.setdefault("name", "unnamed")  # one problem is enough
        return
    if "name" in raw:
        problems.append(("$.name", "set only one of `pipeline.name` and `name`"))
        del raw["name"]
    for key, value in pipeline.items():
        if key == "name":
            raw["name"] = value
        else:
            problems.append((f"$.pipeline.{_short(key)}", _unknown(key, ["name"])))


def _normalise_timeout(raw: dict[Any, Any], problems: Problems) -> None:
    if "datum_timeout_s" in raw:
        problems.append(("$.datum_timeout_s", _unknown("datum_timeout_s", ["datum_timeout"])))
        del raw["datum_timeout_s"]
    value = raw.pop("datum_timeout", None)
    if value is None:
        return
    seconds = duration_s(value)
    if seconds is None:
        text = f"expected a duration such as 300s, 5m or 1h30m, not {_repr(value)}"
        problems.append(("$.datum_timeout", text))
    elif seconds > MOST_TIMEOUT_S:
        problems.append(("$.datum_timeout", "must be at most a year (8760h)"))
    else:
        raw["datum_timeout_s"] = seconds


def duration_s(value: object) -> float | None:
    """Return the positive seconds in `5m`, `300s`, `1h30m` or `0.5s`; None for anything else."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    total, position = 0.0, 0
    for match in _DURATION.finditer(value):
        if match.start() != position:
            return None
        total += float(match[1]) * _UNIT_S[match[2]]
        position = match.end()
    return total if position == len(value) and 0 < total < math.inf else None


# --- types -------------------------------------------------------------------------------------


def _check_text(document: object, problems: Problems) -> None:
    """Refuse text that cannot be stored or passed on to a process: NUL, and what is no UTF-8."""
    waiting: list[tuple[str, object]] = [("$", document)]
    while waiting and len(problems) < _MOST_PROBLEMS:
        path, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += ((f"{path}.{_short(key)}", inner) for key, inner in value.items())
            waiting += ((f"{path}.{_short(key)}", key) for key in value)
        elif isinstance(value, list):
            waiting += ((f"{path}[{at}]", inner) for at, inner in enumerate(value))
        elif isinstance(value, str) and "\0" in value:
            problems.append((path, "holds a NUL byte"))
        elif isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
            problems.append((path, "holds a character that is not UTF-8"))


def _walk(value: object, kind: Any, path: str, problems: Problems) -> None:  # noqa: ANN401
    """Collect what keeps `value` from being a `kind`, all of it."""
    if get_origin(kind) is UnionType:
        kind = _what_else(kind, value)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        _walk_struct(value, kind, path, problems)
    elif get_origin(kind) is tuple:
        _walk_list(value, get_args(kind)[0], path, problems)
    elif get_origin(kind) is dict:
        _walk_dict(value, get_args(kind)[1], path, problems)
    else:
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            problems.append((path, str(error).replace("`", "")))


def _what_else(kind: Any, value: object) -> Any:  # noqa: ANN401
    """Return what an optional struct or list must be if it is not null; other types as they are."""
    inner = [each for each in get_args(kind) if each is not NoneType]
    nested = get_origin(inner[0]) is tuple or hasattr(inner[0], "__struct_fields__")
    return inner[0] if value is not None and len(inner) == 1 and nested else kind


def _walk_struct(value: object, kind: type[msgspec.Struct], path: str, problems: Problems) -> None:
    if not isinstance(value, Mapping):
        problems.append((path, f"expected an object, not {_kind(value)}"))
        return
    hints = get_type_hints(kind)
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for key, inner in value.items():
        if len(problems) > _MOST_PROBLEMS:
            return
        if key in fields:
            _walk(inner, hints[key], f"{path}.{key}", problems)
        else:
            problems.append((f"{path}.{_short(key)}", _unknown(key, list(fields))))
    for name, field in fields.items():
        if field.required and name not in value:
            problems.append((f"{path}.{name}", "is missing"))


def _walk_list(value: object, item: Any, path: str, problems: Problems) -> None:  # noqa: ANN401
    if not isinstance(value, list):
        problems.append((path, f"expected an array, not {_kind(value)}"))
        return
    for position, inner in enumerate(value):
        if len(problems) > _MOST_PROBLEMS:
            return
        _walk(inner, item, f"{path}[{position}]", problems)


def _walk_dict(value: object, item: Any, path: str, problems: Problems) -> None:  # noqa: ANN401
    if not isinstance(value, Mapping):
        problems.append((path, f"expected an object, not {_kind(value)}"))
        return
    for key, inner in value.items():
        if len(problems) > _MOST_PROBLEMS:
            return
        if not isinstance(key, str):
            problems.append((f"{path}.{_short(key)}", "this key is no string: quote it"))
        _walk(inner, item, f"{path}.{_short(key)}", problems)


# --- what no type can say ----------------------------------------------------------------------


def _check_names(raw: Mapping[str, Any], problems: Problems) -> None:
    _collect(problems, "$.name", names.pipeline, raw.get("name"))
    _collect(problems, "$.output_branch", names.branch, raw.get("output_branch"))


def _check_parallelism(raw: Mapping[str, Any], problems: Problems) -> None:
    value = raw.get("parallelism_spec")
    if not isinstance(value, Mapping):
        return
    path = "$.parallelism_spec"
    constant, coefficient = value.get("constant"), value.get("coefficient")
    if (constant is None) == (coefficient is None):
        how = "neither" if constant is None else "both"
        problems.append((path, f"set exactly one of `constant` and `coefficient`, not {how}"))
    if _is_int(constant) and not 1 <= constant <= MOST_WORKERS:
        text = f"must be from 1 to {MOST_WORKERS}, not {_repr(constant)}"
        problems.append((f"{path}.constant", text))
    if _is_number(coefficient) and not 0 < coefficient <= MOST_WORKERS:
        text = f"must be over 0 and at most {MOST_WORKERS}, not {_repr(coefficient)}"
        problems.append((f"{path}.coefficient", text))


def _check_transform(raw: Mapping[str, Any], problems: Problems) -> None:
    value = raw.get("transform")
    if not isinstance(value, Mapping):
        return
    path = "$.transform"
    cmd = value.get("cmd")
    if isinstance(cmd, list) and (not cmd or cmd[0] == ""):
        problems.append((f"{path}.cmd", "nothing to run: it is empty"))
    env = value.get("env")
    for key in env if isinstance(env, Mapping) else ():
        if isinstance(key, str) and (not key or "=" in key):
            problems.append((f"{path}.env.{_short(key)}", "is no name of an environment variable"))
    codes = value.get("accept_return_code")
    for position, code in enumerate(codes if isinstance(codes, list) else ()):
        if _is_int(code) and not 0 <= code <= 255:
            text = f"must be from 0 to 255, not {_repr(code)}"
            problems.append((f"{path}.accept_return_code[{position}]", text))


def _check_input(raw: Mapping[str, Any], problems: Problems) -> None:
    if isinstance(raw.get("input"), Mapping):
        _check_node(raw["input"], "$.input", problems)
        if sum(1 for _ in _kinds(raw["input"])) > MOST_INPUTS:
            problems.append(("$.input", f"has over {MOST_INPUTS} parts"))


def _kinds(value: object) -> Iterator[object]:
    """Yield an input and all below it, a few more than are allowed at the most."""
    waiting, seen = [value], 0
    while waiting and seen <= MOST_INPUTS:
        node = waiting.pop()
        seen += 1
        yield node
        for kind in ("cross", "union"):
            children = node.get(kind) if isinstance(node, Mapping) else None
            waiting += children if isinstance(children, list) else ()


def _check_node(value: object, path: str, problems: Problems) -> set[str]:
    """Check one input and those below it; return the names that a datum of it has."""
    if not isinstance(value, Mapping) or len(problems) > _MOST_PROBLEMS:
        return set()
    kinds = [kind for kind in ("pfs", "cross", "union") if value.get(kind) is not None]
    if len(kinds) != 1:
        told = " and ".join(f"`{kind}`" for kind in kinds) or "none"
        problems.append((path, f"set exactly one of `pfs`, `cross` and `union`, not {told}"))
    found: set[str] = set()
    for kind in kinds:
        inner, at = value[kind], f"{path}.{kind}"
        if kind == "pfs":
            found |= _check_pfs(inner, at, problems)
        else:
            found |= _check_children(inner, at, problems, apart=kind == "cross")
    return found


def _check_children(value: object, path: str, problems: Problems, *, apart: bool) -> set[str]:
    """Check the parts of a cross or union; those of a cross must have names of their own."""
    found: set[str] = set()
    if isinstance(value, list) and not value:
        problems.append((path, "needs at least one input"))
    for position, child in enumerate(value if isinstance(value, list) else ()):
        own = _check_node(child, f"{path}[{position}]", problems)
        if apart and (twice := sorted(found & own)):
            text = f"name {twice[0]!r} was used more than once; give the inputs a `name` each"
            problems.append((f"{path}[{position}]", text))
        found |= own
    return found


def _check_pfs(pfs: object, path: str, problems: Problems) -> set[str]:
    if not isinstance(pfs, Mapping):
        return set()
    _collect(problems, f"{path}.repo", names.repo, pfs.get("repo"))
    _collect(problems, f"{path}.branch", names.branch, pfs.get("branch"))
    _collect(problems, f"{path}.glob", globs.compile, pfs.get("glob"))
    name = pfs.get("name")
    if name in ("out", ".env"):
        problems.append((f"{path}.name", f"an input cannot be named {name!r}"))
    elif name:
        _collect(problems, f"{path}.name", names.branch, name)
    elif pfs.get("repo") == "out":
        problems.append((f"{path}.name", "an input of a repo named 'out' must have a name"))
    chosen = name or pfs.get("repo")
    return {chosen} if isinstance(chosen, str) else set()


def _check_numbers(raw: Mapping[str, Any], problems: Problems) -> None:
    tries = raw.get("datum_tries")
    if _is_int(tries) and not 1 <= tries <= MOST_TRIES:
        text = f"must be from 1 to {MOST_TRIES}, not {_repr(tries)}"
        problems.append(("$.datum_tries", text))


def _collect(problems: Problems, path: str, check: Callable[[str], object], value: object) -> None:
    """Add what a check has against a string; what is no string is a matter of types."""
    if not isinstance(value, str):
        return
    try:
        check(value)
    except errors.TrunklineError as error:
        problems.append((path, str(error)))


# --- words -------------------------------------------------------------------------------------


def _unknown(key: object, known: list[str]) -> str:
    near = difflib.get_close_matches(_short(key), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"
    return "unknown field" + hint


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[float]:
    return _is_int(value) or isinstance(value, float)


def _repr(value: object) -> str:
    try:
        return _short(repr(value))
    except ValueError:  # an integer of thousands of digits
        return "a number of that size"


def _short(value: object) -> str:
    """Return a text that fits into an answer, and that can be encoded."""
    text = value if isinstance(value, str) else _repr(value)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _MOST_TEXT else text[:_MOST_TEXT] + "..."


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case Mapping():
            return "an object"
        case list():
            return "an array"
        case str():
            return "a string"
        case int() | float():
            return "a number"
        case _:
            return type(value).__name__
