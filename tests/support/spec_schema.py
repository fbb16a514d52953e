"""The JSON Schema of specs, made from `contracts/spec_tables.py`: for editors, in all dialects.

It says what shape a spec has, not all that a spec must be: whatever the parser takes fits the schema,
and what has an unknown field, a missing one or one of the wrong type does not.
"""

from collections.abc import Iterator
from typing import Any

from trunkline.contracts import spec_kinds as kinds
from trunkline.contracts import spec_tables
from trunkline.contracts.spec_sections import Effect, Field, Section, section_of

Schema = dict[str, Any]

_DIGITS = "^[-+]?[0-9]+$"
_DECIMAL = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"
_DURATION = r"^(([0-9]+\.?[0-9]*|\.[0-9]+)(h|ms|m|s))+$"
_QUANTITY = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?[A-Za-z]{0,3}$"


def schema() -> Schema:
    """Return the schema: one spec, or an array of them."""
    one: Schema = {"$ref": f"#/definitions/{spec_tables.SPEC.name}"}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Pipeline spec",
        "anyOf": [one, {"type": "array", "minItems": 1, "items": one}],
        "definitions": {each.name: _object(each) for each in sections()},
    }


def sections() -> list[Section]:
    """Return all sections, in the order in which they come up."""
    found: dict[str, Section] = {}

    def look(section: Section) -> None:
        if section.name not in found:
            found[section.name] = section
            for below in _below(section):
                look(below)

    look(spec_tables.SPEC)
    return list(found.values())


def _below(section: Section) -> Iterator[Section]:
    for each in section.fields:
        if (below := section_of(each.kind)) is not None:
            yield below


def _object(section: Section) -> Schema:
    required = [each for each in section.fields if each.required]
    assert all(each.spellings == (each.name,) for each in required)
    made: Schema = {
        "type": "object",
        "description": section.about,
        "properties": {name: _field(each) for each in section.fields for name in each.spellings},
        "additionalProperties": False,
    }
    if required:
        made["required"] = [each.name for each in required]
    if section is spec_tables.SPEC:
        made["anyOf"] = [{"required": ["pipeline"]}, {"required": ["name"]}]
    return made


def _field(field: Field) -> Schema:
    if field.effect is Effect.REFUSED:
        nothing = {kinds.Flag: [None, False], kinds.Text: [None, ""]}.get(type(field.kind), [None])
        return {"description": f"Refused: {field.why}.", "enum": nothing}
    about = f"No effect: {field.why}." if field.effect is Effect.UNUSED else f"{field.about}."
    value = of_kind(field.kind)
    if not field.required:
        value = _or_null(value)
    return {"description": about[:1].upper() + about[1:], **value}


def _or_null(value: Schema) -> Schema:
    if not value:
        return value
    if isinstance(value.get("type"), str):
        return {**value, "type": [value["type"], "null"]}
    if "enum" in value:
        return {"enum": [*value["enum"], None]}
    return {"anyOf": [*value.get("anyOf", [value]), {"type": "null"}]}


def of_kind(kind: kinds.Kind) -> Schema:
    """Return what a value of a kind looks like, null aside."""
    match kind:
        case Section():
            return {"$ref": f"#/definitions/{kind.name}"}
        case kinds.Later():
            return of_kind(kind.get())
        case kinds.ListOf():
            return {"type": "array", "items": of_kind(kind.item)}
        case kinds.MapOf():
            return {"type": "object", "additionalProperties": of_kind(kind.item)}
        case kinds.OneOf():
            return {"enum": list(kind.words)}
        case kinds.Flag():
            return {"type": "boolean"}
        case kinds.Anything():
            return {}
        case _:
            return _scalar(kind)


def _scalar(kind: kinds.Kind) -> Schema:
    match kind:
        case kinds.Whole():
            number = {"type": "integer", "minimum": kind.least, "maximum": kind.most}
            return {"anyOf": [number, {"type": "string", "pattern": _DIGITS}]}
        case kinds.Number():
            number = {"type": "number", "exclusiveMinimum": kind.over, "maximum": kind.most}
            return {"anyOf": [number, {"type": "string", "pattern": _DECIMAL}]}
        case kinds.Quantity():
            number = {"type": "number", "minimum": 0, "maximum": kind.most}
            return {"anyOf": [number, {"type": "string", "pattern": _QUANTITY}]}
        case kinds.Duration():
            return {"type": "string", "pattern": _DURATION}
        case kinds.Text() | kinds.Moment() | kinds.JsonText():
            return {"type": "string"}
        case _:
            raise AssertionError(kind)
