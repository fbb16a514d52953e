"""What workers have sent, for people and their programs: handed on only if whoever gets it can read it.

A worker may publish any bytes where its lines and events go, as many as the stream takes (`topology.SAID_MAX_BYTES`). What is
handed on is read again by the client, by its YAML, by a program in a pipe, each with less room than we have; so it is no
deeper than what we write ourselves.
"""

from typing import Any, TypeVar

import msgspec

from trunkline.contracts import messages

T = TypeVar("T")

MOST_LEVELS = 16
"""Of lists and objects within each other, in an event's facts."""


def line(data: bytes) -> messages.LogLine | None:
    """Return the line that a message holds; None: nobody can read it."""
    return _decoded(data, messages.LogLine)


def event(data: bytes) -> messages.Event | None:
    """Return the event that a message holds; None: nobody can read it."""
    found = _decoded(data, messages.Event)
    if found is None or not found.facts:
        return found
    facts = _decoded(data, dict[str, Any])  # raw parts are not looked into by the first reading
    return found if facts is not None and _is_flat(facts, MOST_LEVELS) else None


def _decoded(data: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _is_flat(plain: object, levels: int) -> bool:
    """Return whether nothing is nested deeper than so many levels."""
    match plain:
        case dict():
            inner = list(plain.values())
        case list():
            inner = plain
        case _:
            return True
    return levels > 0 and all(_is_flat(each, levels - 1) for each in inner)
