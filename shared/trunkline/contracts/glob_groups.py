"""What the groups of a glob hold of a path that matches, and texts that are made of them.

The groups' texts are those that a backtracking matcher would find first: alternatives in their order,
repetitions as often as possible, the last round of a group that is repeated. They are found without
backtracking (Pike's machine): all ways to match so far are kept at once, in the order in which a
backtracking matcher would try them, and a way that comes to where a better one is already is dropped.
So the work for each character is bounded by the size of the pattern. Which ways come from which over a
character is remembered, up to a bound, so that over usual paths a step is one look-up.

    Take     the next character must be one of these
    Switch   the next character decides where to go on
    Fork     both ways, the first one rather
    Mark     a group begins or ends here
    End      the pattern has matched
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from trunkline.contracts import errors, glob_positions
from trunkline.contracts.glob_chars import Chars
from trunkline.contracts.glob_syntax import Choice, Group, Literal, Node, Other, Parsed, Repeat

KEY_MAX_CHARS = 1024
"""Of a text that is made of groups, before they are filled in."""

_MOST_REMEMBERED = 20_000
"""Ways over characters that one glob keeps."""

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


_Move = tuple[int, tuple[int, ...]]
"""Which of the ways so far a way comes from, and which marks it sets where it is now."""


@dataclass(slots=True, eq=False)
class _State:
    """The places in the program that all ways have come to, the best one first."""

    places: tuple[int, ...]
    steps: "dict[str, tuple[_State, tuple[_Move, ...]]]" = field(default_factory=dict)
    """For each character: the next state, and where its ways come from."""


class Groups:
    """Finds the texts of a pattern's groups. It may be shared, also between threads."""

    def __init__(self, parsed: Parsed) -> None:
        self.count = parsed.groups
        self._program: list[_Take | _Switch | _Fork | _Mark | _End] = [_End()]
        self._states: dict[tuple[int, ...], _State] = {}
        self._remembered = 0
        self._start = self._reach([(self._sequence(parsed.nodes, 0), 0)])

    def find(self, path: str) -> tuple[str, ...] | None:
        """Return the texts of all groups, empty where one has none; None if the path does not match."""
        state, moves = self._start
        ways = [_marked((-1,) * (2 * self.count), slots, 0) for _, slots in moves]
        for at, char in enumerate(path, 1):
            state, moves = state.steps.get(char) or self._step(state, char)
            if not moves:
                return None
            ways = [
                _marked(ways[origin], slots, at) if slots else ways[origin]
                for origin, slots in moves
            ]
        for place, marks in zip(state.places, ways, strict=True):
            if isinstance(self._program[place], _End):
                pairs = zip(marks[::2], marks[1::2], strict=True)
                return tuple(path[begin:end] if end >= 0 else "" for begin, end in pairs)
        return None

    def _step(self, state: _State, char: str) -> tuple[_State, tuple[_Move, ...]]:
        """Return what a character leads to, and remember it."""
        ways: list[tuple[int, int]] = []
        for origin, place in enumerate(state.places):
            match self._program[place]:
                case _Take(accepts, then) if accepts(char):
                    ways.append((then, origin))
                case _Switch(edges):
                    ways += [(then, origin) for test, then in edges if test.accepts(char)]
                case _:
                    pass
        found = self._reach(ways)
        self._remembered += 1 + len(found[1])
        if self._remembered > _MOST_REMEMBERED:
            self._states, self._remembered = {}, 0
            state.steps.clear()
            self._start[0].steps.clear()
        else:
            state.steps[char] = found
        return found

    def _reach(self, ways: list[tuple[int, int]]) -> tuple[_State, tuple[_Move, ...]]:
        """Return where ways, each with its origin, come to without taking a character."""
        places: list[int] = []
        moves: list[_Move] = []
        seen: set[int] = set()
        waiting: list[tuple[int, int, tuple[int, ...]]] = [
            (place, origin, ()) for place, origin in reversed(ways)
        ]
        while waiting:
            place, origin, slots = waiting.pop()
            if place in seen:
                continue
            seen.add(place)
            match self._program[place]:
                case _Fork(rather, other):
                    waiting += ((other, origin, slots), (rather, origin, slots))
                case _Mark(slot, then):
                    waiting.append((then, origin, (*slots, slot)))
                case _:
                    places.append(place)
                    moves.append((origin, slots))
        key = tuple(places)
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = _State(key)
        return state, tuple(moves)

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


def _marked(marks: tuple[int, ...], slots: tuple[int, ...], at: int) -> tuple[int, ...]:
    changed = list(marks)
    for slot in slots:
        changed[slot] = at
    return tuple(changed)


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
