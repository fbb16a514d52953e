"""What a value in a spec may be, in whichever way a dialect writes it.

A kind takes a value of a document and returns what goes into the structs; or it notes what is wrong and
returns INVALID, which stands for a value that is there but cannot be used. A number may be text
(`"constant": "1"`), as in Pachyderm. `said` is what a message and the docs call the kind.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Protocol

from trunkline.contracts import errors, json_bounds, quantities
from trunkline.contracts.spec_findings import Findings, kind_of, short, shown


class _Invalid(Enum):
    INVALID = "invalid"


INVALID = _Invalid.INVALID

Check = Callable[[str], object]
"""Raises one of our errors if a text will not do; what it returns does not matter."""

_DIGITS = re.compile(r"[-+]?[0-9]{1,40}", re.ASCII)
_DECIMAL = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?", re.ASCII)


class Kind(Protocol):
    """See above."""

    @property
    def said(self) -> str:
        """What it is called, with an article."""
        ...

    def read(self, value: object, at: str, found: Findings) -> Any:  # noqa: ANN401 - by kind
        """Return the value for the struct, or INVALID after telling `found` what is wrong."""
        ...


@dataclass(frozen=True)
class Flag:
    """True or false."""

    said: str = "true or false"

    def read(self, value: object, at: str, found: Findings) -> Any:  # noqa: ANN401
        """See Kind."""
        return value if isinstance(value, bool) else _unlike(self, value, at, found)


@dataclass(frozen=True)
class Text:
    """Text that passes a check."""

    check: Check | None = None
    said: str = "a string"

    def read(self, value: object, at: str, found: Findings) -> Any:  # noqa: ANN401
        """See Kind."""
        if not isinstance(value, str):
            hint = ": quote it" if isinstance(value, (int, float)) else ""
            return _unlike(self, value, at, found, hint)
        try:
            if self.check is not None:
                self.check(value)
        except errors.TrunklineError as error:
            return _wrong(at, str(error), found)
        return value


@dataclass(frozen=True)
class Whole:
    """A whole number from `least` to `most`."""

    least: int
    most: int

    @property
    def said(self) -> str:
        """See Kind."""
        return f"a whole number from {self.least} to {self.most}"

    def read(self, value: object, at: str, found: Findings) -> Any:  # noqa: ANN401
        """See Kind."""
        number = _whole(value)
        if number is None or not self.least <= number <= self.most:
            return _unlike(self, value, at, found)
        return number


@dataclass(frozen=True)
class Number:
    """A number over `over` and at most `most`."""

    over: float
    most: float

    @property
    def said(self) -> str:
        """See Kind."""
        return f"a number over {self.over:g} and at most {self.most:.12g}"

    def read(self, value: object, at: str, found: Findings) -> Any:  # noqa: ANN401
        """See Kind."""
        if isinstance(value, str) and len(value) <= 40 and _DECIMAL.fullmatch(value):
            value = float(value)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return _unlike(self, value, at, found)
        return float(value) if self.over < value <= self.most else _unlike(self, value, at, found)


@dataclass(frozen=True)
class Duration:
    """A positive duration; the struct holds seconds."""

    most_s: float
    said: str = "a duration such as 300s, 5m or 1h30m"

    def read(self, value: object, at: str, found: Findings) -> Any:  # noqa: ANN401
        """See Kind."""
        seconds = quantities.duration_s(value) if isinstance(value, str) else None
        if seconds is None:
            return _unlike(self, value, at, found)
        if seconds > self.most_s:
            return _wrong(at, f"must be at most {self.most_s / 3600:g}h", found)
        return seconds


@dataclass(frozen=True)
class Quantity:
    """A quantity as Kubernetes writes it, as text or as a number."""

    parse: Callable[[str], float | None]
    said: str
    most: float

    def read(self, value: object, at: str, found: Findings) -> Any:  # noqa: ANN401
        """See Kind."""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value) if abs(value) <= self.most else None
        number = self.parse(value) if isinstance(value, str) else None
        if number is None or number > self.most:
            return _unlike(self, value, at, found)
        return number


@dataclass(frozen=True)
class OneOf:
    """One of some words; the struct holds what the word stands for."""

    words: Mapping[str, str]

    @property
    def said(self) -> str:
        """See Kind."""
        return " or ".join(f"`{word}`" for word in self.words)

    def read(self, value: object, at: str, found: Findings) -> Any:  # noqa: ANN401
        """See Kind."""
        if not isinstance(value, str) or value not in self.words:
            return _unlike(self, value, at, found)
        return self.words[value]


@dataclass(frozen=True)
class Moment:
    """A point in time."""

    said: str = "a time as in RFC 3339, such as 2024-01-31T12:00:00Z"

    def read(self, value: object, at: str, found: Findings) -> Any:  # noqa: ANN401
        """See Kind."""
        try:
            moment = datetime.fromisoformat(value[:60]) if isinstance(value, str) else None
            moment = moment.astimezone(UTC) if moment is not None and moment.tzinfo else None
        except (ValueError, OverflowError):
            moment = None
        return _unlike(self, value, at, found) if moment is None else moment


@dataclass(frozen=True)
class JsonText:
    """A string that holds JSON, which is an object or an array."""

    holds: type[dict[str, Any]] | type[list[Any]]
    said: str
    check: Callable[[Any], None]
    """Raises JsonUnfitError if what it holds has not the right shape."""

    def read(self, value: object, at: str, found: Findings) -> Any:  # noqa: ANN401
        """See Kind."""
        if not isinstance(value, str):
            return _unlike(self, value, at, found)
        try:
            inner = json_bounds.read(value)
            if not isinstance(inner, self.holds):
                return _unlike(self, inner, at, found)
            self.check(inner)
        except json_bounds.JsonUnfitError as error:
            return _wrong(at, f"expected {self.said}: {error}", found)
        return value


@dataclass(frozen=True)
class ListOf:
    """An array."""

    item: Kind

    @property
    def said(self) -> str:
        """See Kind."""
        return f"an array, each item {self.item.said}"

    def read(self, value: object, at: str, found: Findings) -> Any:  # noqa: ANN401
        """See Kind."""
        if not isinstance(value, list):
            return _wrong(at, f"expected an array, not {kind_of(value)}", found)
        read: list[Any] = []
        for position, each in enumerate(value):
            if found.full:
                return INVALID
            read.append(self.item.read(each, f"{at}[{position}]", found))
        return INVALID if INVALID in read else read


@dataclass(frozen=True)
class MapOf:
    """An object from names that pass a check to values."""

    item: Kind
    key: Check

    @property
    def said(self) -> str:
        """See Kind."""
        return f"an object, each value {self.item.said}"

    def read(self, value: object, at: str, found: Findings) -> Any:  # noqa: ANN401
        """See Kind."""
        if not isinstance(value, Mapping):
            return _wrong(at, f"expected an object, not {kind_of(value)}", found)
        read: dict[Any, Any] = {}
        for key, each in value.items():
            if found.full:
                return INVALID
            path = f"{at}.{short(key)}"
            try:
                self.key(key if isinstance(key, str) else "")
            except errors.TrunklineError as error:
                found.wrong(path, str(error))
            read[key] = self.item.read(each, path, found)
        return INVALID if INVALID in read.values() else read


@dataclass(frozen=True)
class Anything:
    """Whatever: it is refused, or has no effect, in any case."""

    said: str = "anything"

    def read(self, value: object, at: str, found: Findings) -> Any:  # noqa: ANN401, ARG002
        """See Kind."""
        return value


@dataclass(frozen=True)
class Later:
    """A kind that is not made yet where it is named: an input holds inputs."""

    get: Callable[[], Kind] = field(repr=False)
    said: str = "an input"

    def read(self, value: object, at: str, found: Findings) -> Any:  # noqa: ANN401
        """See Kind."""
        return self.get().read(value, at, found)


def _whole(value: object) -> int | None:
    match value:
        case bool():
            return None
        case int():
            return value
        case float() if value.is_integer():
            return int(value)
        case str() if _DIGITS.fullmatch(value):
            return int(value)
        case _:
            return None


def _unlike(kind: Kind, value: object, at: str, found: Findings, hint: str = "") -> Any:  # noqa: ANN401
    return _wrong(at, f"expected {kind.said}, not {shown(value)}{hint}", found)


def _wrong(at: str, text: str, found: Findings) -> Any:  # noqa: ANN401
    found.wrong(at, text)
    return INVALID
