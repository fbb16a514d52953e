"""From the text of a spec to a `PipelineSpec`, or to every reason why not.

One pass reads JSON or YAML, a second walks what was read beside the structs' own types and collects
problems (unknown fields, with the nearest known name; wrong types; missing fields), a third checks
what no type can say. All problems are told at once, each with its JSON path, so that a user mends a
spec in one round.
"""

import difflib
import math
import re
from collections.abc import Mapping
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import yaml

from trunkline.contracts import errors, globs, names, spec

Problems = list[tuple[str, str]]

SPEC_MAX_BYTES = 512 * 1024
"""A spec is hostile input; 512 KiB hold any that a person writes, and fit into a NATS message."""

_MAX_DEPTH = 20
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?|\.\d+)(h|ms|m|s))")
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def parse(data: bytes) -> spec.PipelineSpec:
    """Return the spec that JSON or YAML text holds, or raise InvalidSpecError with all problems."""
    return convert(load(data))


def load(data: bytes) -> Any:  # noqa: ANN401 - any document may come in; `convert` checks it
    """Return the document in a text of JSON or YAML, or raise InvalidSpecError."""
    if len(data) > SPEC_MAX_BYTES:
        raise errors.InvalidSpecError([("$", f"it has over {SPEC_MAX_BYTES} bytes")])
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        not_json = str(error)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise errors.InvalidSpecError([("$", "it is neither JSON nor YAML: not UTF-8")]) from None
    if text.lstrip().startswith(("{", "[")) and not text.rstrip().endswith(("}", "]")):
        raise errors.InvalidSpecError([("$", f"it is no JSON: {not_json}")])
    try:
        for token in yaml.scan(text):
            if isinstance(token, yaml.AliasToken):
                raise errors.InvalidSpecError([("$", "YAML aliases are not allowed")])
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise errors.InvalidSpecError([("$", f"it is neither JSON nor YAML: {reason}")]) from error
    if not isinstance(document, (dict, list)):
        raise errors.InvalidSpecError([("$", "it is neither a JSON nor a YAML object")])
    return document


def convert(document: Any) -> spec.PipelineSpec:  # noqa: ANN401 - see `load`
    """Return the spec that a document describes, or raise InvalidSpecError with all problems."""
    problems: Problems = []
    if not isinstance(document, Mapping):
        raise errors.InvalidSpecError([("$", f"expected an object, not {_kind(document)}")])
    raw = _normalised(dict(document), problems)
    _walk(raw, spec.PipelineSpec, "$", problems, 0)
    _check_names(raw, problems)
    _check_parallelism(raw, problems)
    _check_transform(raw, problems)
    _check_input(raw, problems)
    _check_numbers(raw, problems)
    if problems:
        raise errors.InvalidSpecError(problems)
    parsed = msgspec.convert(raw, spec.PipelineSpec)
    pfs = parsed.input.pfs
    named = msgspec.structs.replace(pfs, name=pfs.name or pfs.repo)
    return msgspec.structs.replace(parsed, input=spec.Input(pfs=named))


def _normalised(raw: dict[Any, Any], problems: Problems) -> dict[Any, Any]:
    """Return the document with Pachyderm's spellings turned into the structs' own."""
    raw.pop("$schema", None)
    pipeline = raw.pop("pipeline", None)
    if isinstance(pipeline, Mapping):
        for key in pipeline:
            if key != "name":
                problems.append((f"$.pipeline.{key}", _unknown(str(key), ["name"])))
        if "name" in pipeline:
            raw["name"] = pipeline["name"]
    elif pipeline is not None:
        problems.append(("$.pipeline", f"expected an object, not {_kind(pipeline)}"))
    if "autoscaling" in raw:
        if "standby" in raw:
            problems.append(("$.autoscaling", "set only one of `standby` and `autoscaling`"))
        raw["standby"] = raw.pop("autoscaling")
    if "datum_timeout" in raw:
        value = raw.pop("datum_timeout")
        seconds = duration_s(value)
        if seconds is None:
            text = f"expected a duration such as 300s, 5m or 1h30m, not {value!r}"
            problems.append(("$.datum_timeout", text))
        else:
            raw["datum_timeout_s"] = seconds
    elif "datum_timeout_s" in raw:
        problems.append(("$.datum_timeout_s", _unknown("datum_timeout_s", ["datum_timeout"])))
        del raw["datum_timeout_s"]
    if raw.get("parallelism_spec", 1) is None:
        del raw["parallelism_spec"]
    return raw


def duration_s(value: object) -> float | None:
    """Return the positive seconds in `5m`, `300s`, `1h30m` or `0.5s`; None for anything else."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    total, position = 0.0, 0
    for match in _DURATION.finditer(value):
        if match.start() != position:
            return None
        total += float(match.group(1)) * _UNIT_S[match.group(2)]
        position = match.end()
    return total if position == len(value) and 0 < total < math.inf else None


def _walk(value: object, kind: Any, path: str, problems: Problems, depth: int) -> None:  # noqa: ANN401
    """Collect what keeps `value` from being a `kind`, all of it."""
    if depth > _MAX_DEPTH:
        problems.append((path, f"nested deeper than {_MAX_DEPTH} levels"))
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        _walk_struct(value, kind, path, problems, depth)
    elif get_origin(kind) is tuple:
        _walk_list(value, get_args(kind)[0], path, problems, depth)
    else:
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            text, _, inner = str(error).partition(" - at `$")
            problems.append((path + inner.rstrip("`"), text.replace("`", "")))


def _walk_struct(
    value: object, kind: type[msgspec.Struct], path: str, problems: Problems, depth: int
) -> None:
    if not isinstance(value, Mapping):
        problems.append((path, f"expected an object, not {_kind(value)}"))
        return
    hints = get_type_hints(kind)
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for key, inner in value.items():
        if key in fields:
            _walk(inner, hints[key], f"{path}.{key}", problems, depth + 1)
        else:
            problems.append((f"{path}.{key}", _unknown(str(key), list(fields))))
    for name, field in fields.items():
        if field.required and name not in value:
            problems.append((f"{path}.{name}", "is missing"))


def _walk_list(value: object, item: Any, path: str, problems: Problems, depth: int) -> None:  # noqa: ANN401
    if not isinstance(value, list):
        problems.append((path, f"expected an array, not {_kind(value)}"))
        return
    for position, inner in enumerate(value):
        _walk(inner, item, f"{path}[{position}]", problems, depth + 1)


def _check_names(raw: Mapping[str, Any], problems: Problems) -> None:
    name = raw.get("name")
    if isinstance(name, str):
        _collect(problems, "$.pipeline.name", names.pipeline, name)
    branch = raw.get("output_branch")
    if isinstance(branch, str):
        _collect(problems, "$.output_branch", names.branch, branch)


def _check_parallelism(raw: Mapping[str, Any], problems: Problems) -> None:
    value = raw.get("parallelism_spec")
    if not isinstance(value, Mapping):
        return
    path = "$.parallelism_spec"
    constant, coefficient = value.get("constant"), value.get("coefficient")
    if (constant is None) == (coefficient is None):
        how = "neither" if constant is None else "both"
        problems.append((path, f"set exactly one of `constant` and `coefficient`, not {how}"))
    if isinstance(constant, int) and not isinstance(constant, bool) and constant < 1:
        problems.append((f"{path}.constant", f"must be at least 1, not {constant}"))
    if isinstance(coefficient, (int, float)) and not 0 < coefficient < math.inf:
        problems.append((f"{path}.coefficient", f"must be over 0, not {coefficient}"))


def _check_transform(raw: Mapping[str, Any], problems: Problems) -> None:
    value = raw.get("transform")
    if not isinstance(value, Mapping):
        return
    cmd = value.get("cmd")
    if isinstance(cmd, list) and (not cmd or cmd[0] == ""):
        problems.append(("$.transform.cmd", "nothing to run: it is empty"))
    strings = [("cmd", cmd), ("stdin", value.get("stdin"))]
    for field, lines in strings:
        for position, line in enumerate(lines if isinstance(lines, list) else ()):
            if isinstance(line, str) and "\0" in line:
                problems.append((f"$.transform.{field}[{position}]", "holds a NUL byte"))
    env = value.get("env")
    for key, text in env.items() if isinstance(env, Mapping) else ():
        if not isinstance(key, str) or not key or "=" in key or "\0" in f"{key}{text}":
            problems.append((f"$.transform.env.{key}", "is no name of an environment variable"))


def _check_input(raw: Mapping[str, Any], problems: Problems) -> None:
    value = raw.get("input")
    pfs = value.get("pfs") if isinstance(value, Mapping) else None
    if not isinstance(pfs, Mapping):
        return
    path = "$.input.pfs"
    if isinstance(pfs.get("repo"), str):
        _collect(problems, f"{path}.repo", names.repo, pfs["repo"])
    if isinstance(pfs.get("branch"), str):
        _collect(problems, f"{path}.branch", names.branch, pfs["branch"])
    name = pfs.get("name")
    if isinstance(name, str) and name:
        if name in ("out", ".env"):
            problems.append((f"{path}.name", f"an input cannot be named {name!r}"))
        _collect(problems, f"{path}.name", names.branch, name)
    elif pfs.get("repo") == "out":
        problems.append((f"{path}.name", "an input of a repo named 'out' must have a name"))
    if isinstance(pfs.get("glob"), str):
        _collect(problems, f"{path}.glob", globs.compile, pfs["glob"])


def _check_numbers(raw: Mapping[str, Any], problems: Problems) -> None:
    tries = raw.get("datum_tries")
    if isinstance(tries, int) and not isinstance(tries, bool) and not 1 <= tries <= 100:
        problems.append(("$.datum_tries", f"must be from 1 to 100, not {tries}"))


def _collect(problems: Problems, path: str, check: Any, value: str) -> None:  # noqa: ANN401
    try:
        check(value)
    except errors.TrunklineError as error:
        problems.append((path, str(error)))


def _unknown(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"
    return "unknown field" + hint


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
