"""Whether a value fits a JSON Schema, as far as `spec_schema` uses the language."""

import re
from collections.abc import Callable
from typing import Any

_TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "integer": lambda value: (
        not isinstance(value, bool)
        and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
}


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Return whether a value is what a schema says; every word that is not known here is an error."""
    return all(
        _WORDS[word](value, meant, schema, root)
        for word, meant in schema.items()
        if word not in ("$schema", "title", "description", "definitions")
    )


def _of_type(value: Any, meant: Any, *_: Any) -> bool:
    return any(_TYPES[each](value) for each in ([meant] if isinstance(meant, str) else meant))


def _reference(value: Any, meant: str, _: Any, root: dict[str, Any]) -> bool:
    return fits(value, root["definitions"][meant.removeprefix("#/definitions/")], root)


def _properties(value: Any, meant: dict[str, Any], _: Any, root: dict[str, Any]) -> bool:
    known = meant.items() if isinstance(value, dict) else ()
    return all(fits(value[name], each, root) for name, each in known if name in value)


def _others(value: Any, meant: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    if not isinstance(value, dict):
        return True
    others = [value[name] for name in value if name not in schema.get("properties", {})]
    return not others if meant is False else all(fits(each, meant, root) for each in others)


def _limit(holds: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    return lambda value, meant, *_: not _TYPES["number"](value) or holds(value, meant)


_WORDS: dict[str, Callable[..., bool]] = {
    "type": _of_type,
    "$ref": _reference,
    "properties": _properties,
    "additionalProperties": _others,
    "required": lambda value, meant, *_: not isinstance(value, dict) or set(meant) <= value.keys(),
    "items": lambda value, meant, _, root: (
        not isinstance(value, list) or all(fits(each, meant, root) for each in value)
    ),
    "minItems": lambda value, meant, *_: not isinstance(value, list) or len(value) >= meant,
    "anyOf": lambda value, meant, _, root: any(fits(value, each, root) for each in meant),
    "enum": lambda value, meant, *_: any(
        type(value) is type(each) and value == each for each in meant
    ),
    "pattern": lambda value, meant, *_: not isinstance(value, str) or bool(re.search(meant, value)),
    "minimum": _limit(lambda value, least: value >= least),
    "maximum": _limit(lambda value, most: value <= most),
    "exclusiveMinimum": _limit(lambda value, over: value > over),
}
