"""An explanation: how a thing stands, why, and what can be done about it.

It rests on records and on stored events, never on what a service remembers: so it is the same whoever leads,
and after a restart. The reasons come with the most likely cause first. A reason's `kind` is a word
that programs may rely on; its sentences are for people.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from trunkline.contracts import messages

QUOTED_CHARS = 200
"""Of a line that others have printed."""


class Reason(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One cause, and the remedy."""

    kind: str
    """Such as `no-node`, `behind-job`, `oom`, `quarantined`, `scaled-down`, `upstream-failed`."""
    why: str
    remedy: str = ""


class Explanation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why something is as it is."""

    what: str
    """`pipeline`, `job`, `datum` or `worker`."""
    name: str
    standing: str
    """One sentence: how it stands."""
    reasons: tuple[Reason, ...] = ()
    details: tuple[str, ...] = ()
    """What the last decision was made of, line by line."""
    events: tuple[messages.Event, ...] = ()
    """The stored events that speak of it, oldest first."""


def last_line(text: str) -> str:
    """Return the last line of what a command printed, or of what may be that, in quotes: it reads as nobody else's words.

    Empty where there is none; cut at QUOTED_CHARS.
    """
    lines = text.strip().splitlines()
    if not lines:
        return ""
    line = lines[-1]
    return repr(line if len(line) <= QUOTED_CHARS else f"{line[:QUOTED_CHARS]}...")


def facts(event: messages.Event) -> dict[str, Any]:
    """Return what an event was made of; nothing where its sender has put there what is no JSON."""
    try:
        return {key: msgspec.json.decode(raw) for key, raw in event.facts.items()}
    except msgspec.DecodeError:
        return {}


def strings(value: object) -> list[str]:
    """Return a fact that is a list of names; an empty one where it is none."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def named(names: Iterable[str], most: int = 5) -> str:
    """Return some names, and how many there are beside them."""
    found = list(names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more


def span(seconds: float) -> str:
    """Return a duration as people say it: 0.3s, 42s, 5m, 3h, 2d."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f}s"
    for unit, size, most in (("s", 1, 120), ("m", 60, 7200), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds / 86_400:.0f}d"


def since(at_ns: int, now_ns: int) -> str:
    """Return how long ago something was."""
    return span((now_ns - at_ns) / 1e9)
