"""Sets of characters: what `?`, `*`, a class of a glob, or a named class in one, accepts.

A set is the code points of some ranges, sorted and apart. So it can be turned into its opposite and put
together with others, and a set of sets says which characters none of them tells apart (`atoms`): that is
what lets an automaton over all of Unicode be made in finitely many steps.
"""

import bisect
import itertools
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

Range = tuple[int, int]
"""First and last code point."""

_LAST = sys.maxunicode
_SEPARATOR = ord("/")


@dataclass(frozen=True, slots=True)
class Chars:
    """Any one character of a set."""

    ranges: tuple[Range, ...]
    _firsts: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_firsts", tuple(first for first, _ in self.ranges))

    def accepts(self, char: str) -> bool:
        """Return whether the character is in the set."""
        code = ord(char)
        at = bisect.bisect_right(self._firsts, code) - 1
        return at >= 0 and code <= self.ranges[at][1]

    def others(self) -> "Chars":
        """Return all characters that are not in the set."""
        found: list[Range] = []
        start = 0
        for first, last in self.ranges:
            if start < first:
                found.append((start, first - 1))
            start = last + 1
        if start <= _LAST:
            found.append((start, _LAST))
        return Chars(tuple(found))

    def inside_part(self) -> "Chars":
        """Return the set without the separator."""
        return union([self.others(), _SLASH]).others()


def union(sets: Iterable[Chars]) -> Chars:
    """Return the characters of all of these."""
    return of(each for some in sets for each in some.ranges)


def of(ranges: Iterable[Range]) -> Chars:
    """Return the set of the characters in these ranges, which may overlap."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return Chars(tuple(found))


def one(char: str) -> Chars:
    """Return the set of one character."""
    return Chars(((ord(char), ord(char)),))


def atoms(sets: Iterable[Chars]) -> list[Range]:
    """Return ranges that hold all characters, such that none of the sets holds one of them in part."""
    cuts = {0, _LAST + 1}
    for each in sets:
        for first, last in each.ranges:
            cuts |= {first, last + 1}
    ordered = sorted(cuts)
    return [(first, end - 1) for first, end in itertools.pairwise(ordered)]


_SLASH = one("/")
ANY = Chars(((0, _LAST),))
INSIDE_PART = Chars(((0, _SEPARATOR - 1), (_SEPARATOR + 1, _LAST)))


def _texts(*ranges: str) -> Chars:
    return of((ord(each[0]), ord(each[-1])) for each in ranges)


NAMED: dict[str, Chars] = {
    "alnum": _texts("09", "AZ", "az"),
    "alpha": _texts("AZ", "az"),
    "ascii": _texts("\x00\x7f"),
    "blank": _texts(" ", "\t"),
    "cntrl": _texts("\x00\x1f", "\x7f"),
    "digit": _texts("09"),
    "graph": _texts("!~"),
    "lower": _texts("az"),
    "print": _texts(" ~"),
    "punct": _texts("!/", ":@", "[`", "{~"),
    "space": _texts("\t\r", " "),
    "upper": _texts("AZ"),
    "word": _texts("09", "AZ", "az", "_"),
    "xdigit": _texts("09", "AF", "af"),
}
"""What may stand in `[[:name:]]`, as in POSIX."""
