"""What workers have sent, for people and their programs: handed on only if whoever gets it can read it, and it is of whom it says.

A worker may publish any bytes where its lines and events go, as many as the stream takes (`topology.SAID_MAX_BYTES`). What is
handed on is read again by the client, by its YAML, by a program in a pipe, each with less room than we have; so it is no
deeper than what we write ourselves.
"""

from typing import Any, TypeVar

import msgspec

from trunkline.contracts import errors, messages, names, subjects
from trunkline.contracts.wards import Ward

T = TypeVar("T")

_SERVICES = (subjects.COORDINATOR, subjects.SCALER)
_TOLD = frozenset({"attempt"})
"""The kinds of events that workers tell; all others, such as a worker's own end, are a service's."""

MOST_LEVELS = 16
"""Of lists and objects within each other, in an event's facts."""


def line(subject: str, data: bytes) -> messages.LogLine | None:
    """Return the line that a message holds; None: nobody can read it, or it stands under another one's subject.

    So what is shown of a line beside its text (whose it is, and which stream's) is made of checked tokens.
    """
    found = _decoded(data, messages.LogLine)
    if found is None:
        return None
    _, _, pipeline, ward, job, *_ = subject.split(".")
    try:
        right = subjects.logs(Ward(pipeline, ward), job, found.index, found.worker, found.stream)
    except errors.InvalidNameError:
        return None
    return found if right == subject else None


def event(subject: str, data: bytes) -> messages.Event | None:
    """Return the event that a message holds; None: nobody can read it, or it speaks of another pipeline."""
    found = _decoded(data, messages.Event)
    if found is None or found.pipeline != subject.split(".")[2]:
        return None
    if not found.facts:
        return found
    facts = _decoded(data, dict[str, Any])  # raw parts are not looked into by the first reading
    return found if facts is not None and _is_flat(facts, MOST_LEVELS) else None


def worker_event(subject: str, data: bytes) -> messages.Event | None:
    """Return the event that a message of the workers' stream holds; None: as above, or it is none of a worker's.

    It is shown as said by the worker that it is about, and so looks like no service's.
    """
    found = event(subject, data)
    if found is None or found.kind not in _TOLD or found.kind != subject.split(".")[4]:
        return None
    try:
        named = names.worker(found.source)
    except errors.InvalidNameError:
        return None
    return found if named == found.worker and named.casefold() not in _SERVICES else None


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
