"""What the groups of a glob hold of a path that matches, and texts that are made of them.

The groups' texts are those that a backtracking matcher would find first: alternatives in their order,
repetitions as often as possible, the last round of a group that is repeated. They are found without
backtracking (Pike's machine): all ways to match so far are kept at once, in the order in which a
backtracking matcher would try them, and a way that comes to where a better one is already is dropped.
So the work for each character is bounded by the size of the pattern.

    Take     the next character must be one of these
    Switch   the next character decides where to go on
    Fork     both ways, the first one rather
    Mark     a group begins or ends here
    End      the pattern has matched
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trunkline.contracts import errors, glob_positions
from trunkline.contracts.glob_chars import Chars
from trunkline.contracts.glob_syntax import Choice, Group, Literal, Node, Other, Parsed, Repeat

KEY_MAX_CHARS = 1024
"""Of a text that is made of groups, before they are filled in."""

_REFERENCE = re.compile(r"\$(?:(\$)|(\d+)|\{(\d+)\})", re.ASCII)


@dataclass(slots=True)
class _Take:
    accepts: Callable[[str], bool]
    then: int


@dataclass(slots=True)
class _Switch:
    edges: list[tuple[Chars, int]]


@dataclass(slots=True)
class _Fork:
    rather: int
    other: int


@dataclass(slots=True)
class _Mark:
    slot: int
    then: int


@dataclass(slots=True)
class _End:
    pass


_Way = tuple[int, tuple[int, ...]]
"""Where in the program, and where in the path the groups began and ended; -1 if they did not."""


class Groups:
    """Finds the texts of a pattern's groups."""

    def __init__(self, parsed: Parsed) -> None:
        self.count = parsed.groups
        self._program: list[_Take | _Switch | _Fork | _Mark | _End] = [_End()]
        self._start = self._sequence(parsed.nodes, 0)

    def find(self, path: str) -> tuple[str, ...] | None:
        """Return the texts of all groups, empty where one has none; None if the path does not match."""
        nothing = (-1,) * (2 * self.count)
        ways = self._reach([(self._start, nothing)], 0)
        for at, char in enumerate(path):
            ways = self._reach(self._over(ways, char), at + 1)
            if not ways:
                return None
        for place, marks in ways:
            if isinstance(self._program[place], _End):
                pairs = zip(marks[::2], marks[1::2], strict=True)
                return tuple(path[begin:end] if end >= 0 else "" for begin, end in pairs)
        return None

    def _over(self, ways: list[_Way], char: str) -> list[_Way]:
        """Return the ways that go on over a character, the best one first."""
        found: list[_Way] = []
        for place, marks in ways:
            match self._program[place]:
                case _Take(accepts, then) if accepts(char):
                    found.append((then, marks))
                case _Switch(edges):
                    found += [(then, marks) for test, then in edges if test.accepts(char)]
                case _:
                    pass
        return found

    def _reach(self, ways: list[_Way], at: int) -> list[_Way]:
        """Return where the ways come to without taking a character, the best one first."""
        found: list[_Way] = []
        seen: set[int] = set()
        waiting = ways[::-1]
        while waiting:
            place, marks = waiting.pop()
            if place in seen:
                continue
            seen.add(place)
            match self._program[place]:
                case _Fork(rather, other):
                    waiting += ((other, marks), (rather, marks))
                case _Mark(slot, then):
                    waiting.append((then, (*marks[:slot], at, *marks[slot + 1 :])))
                case _:
                    found.append((place, marks))
        return found

    def _sequence(self, nodes: Sequence[Node], then: int) -> int:
        """Add the code of nodes that are followed by `then`; return where it begins."""
        for node in reversed(nodes):
            then = self._node(node, then)
        return then

    def _node(self, node: Node, then: int) -> int:
        match node:
            case Literal(char):
                return self._add(_Take(char.__eq__, then))
            case Chars():
                return self._add(_Take(node.accepts, then))
            case Group(number, inner):
                end = self._add(_Mark(2 * number - 1, then))
                return self._add(_Mark(2 * number - 2, self._node(inner, end)))
            case Choice(alternatives):
                starts = [self._sequence(each, then) for each in alternatives]
                rest = starts.pop()
                for start in reversed(starts):
                    rest = self._add(_Fork(start, rest))
                return rest
            case Repeat(inner, least):
                again = _Fork(then, then)
                fork = self._add(again)
                again.rather = self._node(inner, fork)
                return again.rather if least else fork
            case Other(inner):
                return self._other(glob_positions.opposite(inner), then)

    def _other(self, automaton: glob_positions.Opposite, then: int) -> int:
        switches = [_Switch([]) for _ in automaton.edges]
        starts: list[int] = []
        for switch, accepting in zip(switches, automaton.accepting, strict=True):
            place = self._add(switch)
            starts.append(self._add(_Fork(place, then)) if accepting else place)
        for switch, edges in zip(switches, automaton.edges, strict=True):
            switch.edges = [(test, starts[target]) for test, target in edges]
        return starts[0]

    def _add(self, step: _Take | _Switch | _Fork | _Mark | _End) -> int:
        self._program.append(step)
        return len(self._program) - 1


class Key:
    """A text such as `$1-$2`, to be filled in with the groups of a path; made by `parse_key`."""

    def __init__(self, pieces: Sequence[str | int]) -> None:
        self._pieces = pieces

    def of(self, path: str, groups: Sequence[str]) -> str:
        """Return the text for a path that matches, and its groups."""
        values = (path, *groups)
        return "".join(each if isinstance(each, str) else values[each] for each in self._pieces)


def parse_key(text: str, groups: int) -> Key:
    """Return a text in which `$1`, or `${1}`, stands for a group, `$0` for the path, `$$` for a dollar.

    Raises:
        InvalidKeyError: It names a group that the glob does not have, or is too long.
    """
    if len(text) > KEY_MAX_CHARS:
        raise errors.InvalidKeyError(text[:80] + "...", f"it has over {KEY_MAX_CHARS} characters")
    pieces: list[str | int] = []
    at = 0
    for found in _REFERENCE.finditer(text):
        pieces.append(text[at : found.start()])
        at = found.end()
        if found[1]:
            pieces.append("$")
            continue
        digits = found[2] or found[3]
        if len(digits) > len(str(groups)) or int(digits) > groups:
            has = f"{groups} groups" if groups != 1 else "1 group"
            reason = f"the glob has {has} in parentheses, no {found[0]}"
            raise errors.InvalidKeyError(text, reason)
        pieces.append(int(digits))
    pieces.append(text[at:])
    return Key(tuple(piece for piece in pieces if piece != ""))
