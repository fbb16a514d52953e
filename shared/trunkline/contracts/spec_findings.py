"""What is found wrong in a spec, and how it is told: bounded, however hostile the spec is.

All problems are told at once, each with the JSON path that the user wrote, so that a spec is mended in
one round; only after `MOST` of them there is no point in more, and whoever collects stops.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

MOST = 100
"""Problems of one spec that are told."""

MOST_TEXT = 400
"""Characters of a path or of a text; a name of megabytes is not repeated."""


class Problem(NamedTuple):
    """Something that is wrong, as records hold it: two texts on the wire, named where programs are told of it."""

    path: str
    """JSON path; empty where it is the whole."""
    text: str


Problems = list[tuple[str, str]]
"""(JSON path, text) pairs."""


class Findings:
    """Collects what is wrong, and what is understood but has no effect."""

    def __init__(self, problems: Iterable[tuple[str, str]] = ()) -> None:
        self.problems: Problems = []
        self.unused: list[str] = []
        """Paths, without the `$.`, of fields that have no effect anywhere."""
        for at, text in problems:
            self.wrong(at, text)

    @property
    def full(self) -> bool:
        """Whether there is no point in looking on."""
        return len(self.problems) > MOST

    def wrong(self, at: str, text: str) -> None:
        """Note a problem."""
        self.problems.append((short(at), short(text)))

    def told(self) -> Problems:
        """Return the problems as the user sees them."""
        if not self.full:
            return self.problems
        return [*self.problems[:MOST], ("$", "and at least one problem more")]


def short(value: object) -> str:
    """Return a text that fits into an answer, and that can be encoded."""
    text = value if isinstance(value, str) else shown(value)
    text = text[: MOST_TEXT + 1].encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + "..."


def shown(value: object) -> str:
    """Return a value as a message repeats it."""
    match value:
        case bool():
            return "true" if value else "false"
        case None | list() | Mapping():
            return kind_of(value)
        case str():
            return repr(value if len(value) <= MOST_TEXT else value[:MOST_TEXT] + "...")
        case _:
            try:
                return short(repr(value))
            except ValueError:  # an integer of thousands of digits
                return "a number of that size"


def kind_of(value: object) -> str:
    """Return what a value is in the language of JSON."""
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
