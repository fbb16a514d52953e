"""How a table of fields reads an object of a spec, and what becomes of each field.

`spec_tables` holds the tables; this module is what they are made of. A field is known by its name in
snake_case, by the same in camelCase, and by those it has elsewhere (`autoscaling` is `standby`); an
object may mix them. `null` is a field that is not there, and so is an empty string where nothing needs
to be. What a field is for decides its `Effect`: nothing that a user writes is passed over in silence.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

import msgspec

from trunkline.contracts.spec_findings import Findings, kind_of, short
from trunkline.contracts.spec_kinds import INVALID, Flag, Kind, Later, ListOf, Text


class Effect(Enum):
    """What becomes of a field."""

    TAKEN = "takes effect"
    KUBERNETES = "takes effect on Kubernetes only; a warning tells so elsewhere"
    UNUSED = "is accepted and has no effect; a warning tells so"
    REFUSED = "is refused"


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of an object."""

    name: str
    """In snake_case, as the older dialects have it."""
    kind: Kind
    about: str
    """What it is for, in a line."""
    effect: Effect = Effect.TAKEN
    why: str = ""
    """What is said of one that is refused or has no effect: why, and what to do instead."""
    also: tuple[str, ...] = ()
    """Other names of the same field."""
    to: str | None = ""
    """The struct's name of it, where that differs; None for one that `spec_parsing` looks after."""
    required: bool = False

    @property
    def attribute(self) -> str | None:
        """What the struct calls it."""
        return self.name if self.to == "" else self.to

    @property
    def spellings(self) -> tuple[str, ...]:
        """All names under which it is known."""
        names = (self.name, *self.also)
        return tuple(dict.fromkeys((*names, *map(camel, names))))

    def says_nothing(self, value: object) -> bool:
        """Whether a value is what would hold without it: `"s3_out": false` refuses nothing."""
        if value is None or (value == "" and isinstance(self.kind, Text) and not self.required):
            return True
        return value is False and isinstance(self.kind, Flag) and self.effect is not Effect.TAKEN


class Node(dict[str, Any]):
    """An object that was read: values (or INVALID) by the fields' names."""

    def __init__(self, section: "Section", at: str) -> None:
        super().__init__()
        self.section, self.at = section, at
        self.spelled: dict[str, str] = {}

    def path(self, name: str) -> str:
        """Return the JSON path of a field as the user wrote it."""
        return f"{self.at}.{self.spelled.get(name, name)}"


@dataclass(frozen=True)
class Section:
    """A kind of object: its fields, and what no single field can say."""

    name: str
    """What messages and the docs call it; `pfs.glob` is a field of the section `pfs`."""
    about: str
    fields: tuple[Field, ...]
    check: Callable[[Node, Findings], None] | None = field(default=None, repr=False)
    guard: Callable[[object], str] | None = field(default=None, repr=False)
    """Says what keeps an object, as it stands in the text, from being read at all; "" if nothing."""

    @property
    def said(self) -> str:
        """See Kind."""
        return "an object"

    @cached_property
    def known(self) -> dict[str, Field]:
        """The fields by all of their names."""
        return {name: each for each in self.fields for name in each.spellings}

    def read(self, value: object, at: str, found: Findings) -> Any:  # noqa: ANN401 - see Kind
        """See Kind: return a Node, also if some of its fields cannot be used."""
        if not isinstance(value, Mapping):
            found.wrong(at, f"expected an object, not {kind_of(value)}")
            return INVALID
        if self.guard is not None and (text := self.guard(value)):
            found.wrong(at, text)
            return INVALID
        node = Node(self, at)
        for key, inner in value.items():
            if found.full:
                return INVALID
            if isinstance(key, str):  # `spec_reading.faults` tells of others
                self._take(node, key, inner, found)
        for each in self.fields:
            if each.required and each.name not in node:
                found.wrong(f"{at}.{each.name}", "is missing")
        if self.check is not None:
            self.check(node, found)
        return node

    def _take(self, node: Node, key: str, inner: object, found: Findings) -> None:
        at, known = f"{node.at}.{short(key)}", self.known.get(key)
        if known is None:
            found.wrong(at, self._unknown(key))
            return
        if known.says_nothing(inner):
            return
        if known.effect is Effect.REFUSED:
            found.wrong(at, f"is refused: {known.why}")
            node[known.name] = INVALID
            return
        value = known.kind.read(inner, at, found)
        if known.effect is Effect.UNUSED:
            found.unused.append(at.removeprefix("$."))
            return
        if known.name in node and node[known.name] != value:
            found.wrong(at, f"set only one of `{node.spelled[known.name]}` and `{key}`")
        node[known.name] = value
        node.spelled[known.name] = key

    def _unknown(self, key: str) -> str:
        """Return what is said of an unknown field, with the nearest known name in its spelling."""
        camels = key != key.lower() and "_" not in key
        snakes = (name for each in self.fields for name in (each.name, *each.also))
        known = [camel(name) if camels else name for name in snakes]
        near = difflib.get_close_matches(short(key), known, n=1)
        if near:
            return f"unknown field; did you mean {near[0]!r}?"
        names = sorted(each.name for each in self.fields if each.effect is not Effect.REFUSED)
        return f"unknown field; known are {', '.join(names)}"


@dataclass(frozen=True)
class Used:
    """A field of a spec that is set to something else than its default."""

    path: str
    """In the structs' spelling, without the `$.`."""
    key: str
    """Section and name: `pfs.glob`; the name alone at the top."""
    field: Field


def camel(name: str) -> str:
    """Return a name as the newer dialects spell it."""
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def plain(value: object) -> Any:  # noqa: ANN401 - whatever it is
    """Return what was read as `msgspec.convert` takes it, under the structs' names."""
    if isinstance(value, Node):
        attributes = {each.name: each.attribute for each in value.section.fields}
        return {
            attribute: plain(inner)
            for name, inner in value.items()
            if (attribute := attributes[name]) is not None
        }
    return [plain(each) for each in value] if isinstance(value, list) else value


def used(value: msgspec.Struct, section: Section, at: str = "") -> Iterator[Used]:
    """Yield each field of a struct, and of those in it, that is not as it would be without it."""
    defaults = {each.name: each.default for each in msgspec.structs.fields(value)}
    for each in section.fields:
        if each.attribute not in defaults:
            continue
        inner = getattr(value, each.attribute)
        if inner == defaults[each.attribute] or inner in ((), {}):
            continue
        key = f"{section.name}.{each.name}" if at else each.name
        yield Used(at + each.name, key, each)
        below = section_of(each.kind)
        if below is not None and isinstance(inner, msgspec.Struct):
            yield from used(inner, below, f"{at}{each.name}.")
        elif below is not None:
            for position, item in enumerate(inner):
                yield from used(item, below, f"{at}{each.name}[{position}].")


def section_of(kind: Kind) -> Section | None:
    """Return the section that a kind's values, or their items, are objects of."""
    match kind:
        case Section():
            return kind
        case ListOf():
            return section_of(kind.item)
        case Later():
            return section_of(kind.get())
        case _:
            return None
