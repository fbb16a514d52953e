"""How large and how deep JSON may be that a spec brings along as a text, and what may stand in it.

It is read in one go, copied, walked and hashed by a process that serves all pipelines: whoever writes a spec must
not hold that up, nor end it. The bounds are far above what a pod needs, whose largest fields are lists of variables.
"""

import math
from typing import Any

import msgspec

from trunkline.contracts import errors

MOST_TEXT = 64 * 1024
"""Characters."""
MOST_WEIGHT = 128 * 1024
"""Of all that comes of it: characters of texts, and 4 for each value and key. It takes some milliseconds to walk."""
MOST_DEPTH = 40
"""Of arrays and objects in each other; Python takes some hundreds."""
_EACH = 4


class JsonUnfitError(errors.TrunklineError):
    """JSON in a spec is not what it must be."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


def read(text: str) -> Any:  # noqa: ANN401
    """Return what a text holds; raise JsonUnfitError."""
    if len(text) > MOST_TEXT:
        message = f"it has {len(text)} characters, more than {MOST_TEXT}"
        raise JsonUnfitError(message)
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise JsonUnfitError(str(error)) from None
    check(found)
    return found


def check(value: Any) -> None:  # noqa: ANN401
    """Raise JsonUnfitError if a value is too large or too deep, or holds what no JSON can."""
    left = [(value, 0)]
    weight = 0
    while left:
        each, depth = left.pop()
        if depth > MOST_DEPTH:
            message = f"it is more than {MOST_DEPTH} levels deep"
            raise JsonUnfitError(message)
        weight += _EACH
        if isinstance(each, str):
            weight += len(each)
            _text(each)
        elif isinstance(each, dict):
            left.extend((part, depth + 1) for pair in each.items() for part in pair)
        elif isinstance(each, list):
            left.extend((part, depth + 1) for part in each)
        elif isinstance(each, float) and not math.isfinite(each):
            message = "it holds a number that is none"
            raise JsonUnfitError(message)
        if weight + _EACH * len(left) > MOST_WEIGHT:
            message = f"it is larger than {MOST_WEIGHT} bytes"
            raise JsonUnfitError(message)


def _text(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        message = "it holds half a character"
        raise JsonUnfitError(message) from None
