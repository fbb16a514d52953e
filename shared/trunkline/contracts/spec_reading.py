"""Read a text of JSON or YAML that anybody may have sent, in bounded time and memory.

A text holds one spec or several: an array of them, JSON objects one after the other, or YAML documents.
JSON is tried first. Of YAML only what JSON can say is taken: no aliases (a few lines of them make
gigabytes), no tags, no merge keys, and plain scalars mean what they mean in YAML 1.2 (`no` and
`2024-01-01` are text), as in Pachyderm. Nodes are made into values here, not by PyYAML's constructors.

`documents` raises for what cannot be read at all; `faults` tells, with their paths, what can be read and
cannot be meant: a key twice, a key that is no text, NaN, NUL, what is no UTF-8, and nesting without end.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

import yaml

from trunkline.contracts import errors
from trunkline.contracts.spec_findings import MOST, Problems, short

SPEC_MAX_BYTES = 512 * 1024
"""512 KiB hold any spec that a person writes, and fit into a NATS message."""

YAML_MAX_BYTES = 128 * 1024
"""YAML is read some hundred times slower than JSON."""

MOST_DEPTH = 50
MOST_SPECS = 200
_MOST_DIGITS = 40
"""Digits of a whole number; a longer one is known by its magnitude alone, which is too large."""

_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)

_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF", "-.inf"), math.nan),
}
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)", re.ASCII)
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", re.ASCII)
_SPACE = re.compile(r"[ \t\r\n]*")


class Object(dict[Any, Any]):
    """An object of a text; `twice` names the keys that it holds more than once."""

    twice: tuple[str, ...] = ()


def documents(data: bytes) -> list[Any]:
    """Return the specs that a text holds, unchecked; raise InvalidSpecError if it cannot be read."""
    if len(data) > SPEC_MAX_BYTES:
        _refuse(f"it has over {SPEC_MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        _refuse("it is neither JSON nor YAML: it is not UTF-8")
    try:
        read = _json(text)
    except RecursionError:
        _refuse("it is nested too deeply")
    except ValueError as error:
        read = _yaml(text, str(error))
    found = [each for one in read for each in (one if isinstance(one, list) else [one])]
    if not found:
        _refuse("it holds no spec")
    if len(found) > MOST_SPECS:
        _refuse(f"it holds {len(found)} specs; {MOST_SPECS} at the most, please")
    return found


def faults(document: object) -> Problems:
    """Return what a document holds that no field of a spec can mean."""
    found: Problems = []
    waiting: list[tuple[str, object, int]] = [("$", document, 0)]
    while waiting and len(found) <= MOST:
        at, value, depth = waiting.pop()
        if depth > MOST_DEPTH:
            return [("$", f"it is nested deeper than {MOST_DEPTH} levels")]
        match value:
            case Mapping():
                found += _faults_of_keys(at, value)
                inner = ((f"{at}.{short(key)}", each, depth + 1) for key, each in value.items())
                waiting += inner
            case list():
                waiting += ((f"{at}[{n}]", each, depth + 1) for n, each in enumerate(value))
            case str():
                found += ((at, text) for text in _faults_of_text(value))
            case float() if not math.isfinite(value):
                found.append((at, "is not a finite number"))
            case _:
                pass
    return found


def _faults_of_keys(at: str, value: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    for key in value.twice if isinstance(value, Object) else ():
        yield f"{at}.{short(key)}", "is given more than once"
    for key in value:
        if isinstance(key, str):
            yield from ((f"{at}.{short(key)}", text) for text in _faults_of_text(key))
        else:
            yield f"{at}.{short(key)}", "this key is no string: quote it"


def _faults_of_text(value: str) -> Iterator[str]:
    """Yield what keeps text from being stored or passed on to a process."""
    if "\0" in value:
        yield "holds a NUL byte"
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        yield "holds a character that is not UTF-8"


def _json(text: str) -> list[Any]:
    """Return the values that stand one after the other, or raise ValueError."""
    decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole)
    found: list[Any] = []
    at = _after_space(text, 0)
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        found.append(value)
        at = _after_space(text, at)
    return found


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _object(pairs: Iterable[tuple[Any, Any]]) -> Object:
    made, twice = Object(), []
    for key, value in pairs:
        if key in made:
            twice.append(key)
        made[key] = value
    if twice:
        made.twice = tuple(twice)
    return made


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _yaml(text: str, not_json: str) -> list[Any]:
    if len(text) > YAML_MAX_BYTES:
        _refuse(f"it is no JSON ({not_json}), and over {YAML_MAX_BYTES} bytes, too long for YAML")
    try:
        _check_tokens(text)
        return [_value(node) for node in yaml.compose_all(text, Loader=_LOADER) if _holds(node)]
    except (yaml.YAMLError, RecursionError) as error:
        if text.lstrip().startswith(("{", "[")):
            _refuse(f"it is no JSON: {not_json}")
        _refuse(f"it is neither JSON nor YAML: {' '.join(str(error).split())}")


def _holds(node: yaml.Node) -> bool:
    """Whether there is anything in a document: what stands between two `---` may be nothing."""
    return not (isinstance(node, yaml.ScalarNode) and node.value == "")


def _check_tokens(text: str) -> None:
    depth = 0
    for token in yaml.scan(text, Loader=_LOADER):
        if isinstance(token, yaml.AliasToken):
            _refuse("YAML aliases are not allowed")
        if isinstance(token, yaml.TagToken):
            _refuse("YAML tags are not allowed; quote what is text")
        depth += isinstance(token, _OPENING)
        depth -= isinstance(token, _CLOSING)
        if depth > MOST_DEPTH:
            _refuse(f"it is nested deeper than {MOST_DEPTH} levels")


def _value(node: yaml.Node) -> Any:  # noqa: ANN401 - whatever it is
    """Return what a node says; its depth is bounded by now."""
    match node:
        case yaml.MappingNode():
            return _object((_key(key), _value(value)) for key, value in node.value)
        case yaml.SequenceNode():
            return [_value(each) for each in node.value]
        case yaml.ScalarNode():
            return _scalar(node)
        case _:
            raise AssertionError(node)


def _key(node: yaml.Node) -> Any:  # noqa: ANN401 - `faults` tells what is no text
    if not isinstance(node, yaml.ScalarNode):
        _refuse(f"line {node.start_mark.line + 1}: a key must be text")
    if node.value == "<<" and not node.style:
        _refuse(f"line {node.start_mark.line + 1}: YAML merge keys (`<<`) are not allowed")
    return _scalar(node)


def _scalar(node: yaml.ScalarNode) -> object:
    text: str = node.value
    if node.style:  # quoted, or a block
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return _whole(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def _refuse(reason: str) -> NoReturn:
    raise errors.InvalidSpecError([("$", short(reason))]) from None
