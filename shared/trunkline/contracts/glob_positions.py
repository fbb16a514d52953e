"""A glob as a position automaton (Glushkov's): each node that takes a character is a bit.

A set of positions is an integer. A step from a set goes to all that may follow its members and accept
the character; bit 0 is the start. Most positions are followed by the next one or by themselves, which
shifts do for all of them at once; only the others are looked at one by one. So a step costs at most one
operation on integers for each position.

What a node must *not* match has no positions as such. It is made into a deterministic automaton of its
own (`_opposite`), whose transitions then are positions like others: `!(*.js)` costs matching nothing
that `*.js` would not. Such an automaton can grow large, so positions are counted, and a pattern that
asks for too many is refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from trunkline.contracts import errors, glob_chars
from trunkline.contracts.glob_chars import Chars
from trunkline.contracts.glob_syntax import Choice, Group, Literal, Node, Other, Repeat

MOST = 4096
"""Positions of one pattern: more than any pattern of letters and stars has."""

_REMEMBERED = 20_000
"""Characters whose positions are remembered."""


class TooManyError(Exception):
    """The pattern asks for more than MOST positions."""


@dataclass(frozen=True)
class Fragment:
    """Some nodes in sequence: whether they match nothing, too; where they begin and end."""

    nullable: bool
    first: int
    last: int


@dataclass(frozen=True)
class Opposite:
    """A deterministic automaton for what a node does not match inside a part; it begins in state 0."""

    accepting: tuple[bool, ...]
    edges: tuple[tuple[tuple[Chars, int], ...], ...]
    """For each state, which characters lead to which state: each one but the separator to just one."""


class Positions:
    """The automaton of some nodes."""

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self._follow: list[int] = [0]
        self._tests: list[tuple[int, Chars]] = []
        self._literals: dict[str, int] = {}
        whole = self._sequence(nodes)
        self._link(1, whole.first)
        self.last = whole.last | (1 if whole.nullable else 0)
        """Those at which a match may end."""
        inside = (glob_chars.ANY, glob_chars.INSIDE_PART)
        self._inside_part = sum(bit for bit, test in self._tests if test in inside)
        """Those that accept whatever may stand inside a part."""
        self._to_next = self._to_self = self._elsewhere = 0
        for position, follow in enumerate(self._follow):
            bit = 1 << position
            if follow & (bit << 1):
                self._to_next |= bit
            if follow & bit:
                self._to_self |= bit
            if follow & ~(bit | bit << 1):
                self._elsewhere |= bit
        self._accepting: dict[str, int] = {}

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._follow)

    def after(self, positions: int, char: str) -> int:
        """Return the set that a step over the character leads to; 0 when nothing matches any more."""
        return self.reached(positions) & self.accept(char)

    def are_steady(self, positions: int) -> bool:
        """Return whether each character but the separator leads from a set to itself."""
        reached = self.reached(positions) & ~self._literals.get("/", 0)
        return reached == positions and not positions & ~self._inside_part

    def reached(self, positions: int) -> int:
        """Return all positions that may follow one of a set."""
        reached = ((positions & self._to_next) << 1) | (positions & self._to_self)
        rest = positions & self._elsewhere
        while rest:
            low = rest & -rest
            reached |= self._follow[low.bit_length() - 1]
            rest ^= low
        return reached

    def accept(self, char: str) -> int:
        """Return all positions that accept a character."""
        mask = self._accepting.get(char)
        if mask is None:
            mask = self._literals.get(char, 0)
            for bit, test in self._tests:
                if test.accepts(char):
                    mask |= bit
            if len(self._accepting) >= _REMEMBERED:
                self._accepting.clear()
            self._accepting[char] = mask
        return mask

    def sets(self) -> Iterable[Chars]:
        """Yield the sets of characters that it tells apart."""
        yield from map(glob_chars.one, self._literals)
        yield from (test for _, test in self._tests)

    def _sequence(self, nodes: tuple[Node, ...]) -> Fragment:
        """Add the nodes one after the other."""
        nullable, first, last = True, 0, 0
        for node in nodes:
            inner = self._node(node)
            self._link(last, inner.first)
            first |= inner.first if nullable else 0
            last = inner.last | (last if inner.nullable else 0)
            nullable = nullable and inner.nullable
        return Fragment(nullable, first, last)

    def _node(self, node: Node) -> Fragment:
        match node:
            case Literal(char):
                bit = self._position()
                self._literals[char] = self._literals.get(char, 0) | bit
                return Fragment(nullable=False, first=bit, last=bit)
            case Chars():
                bit = self._test(node)
                return Fragment(nullable=False, first=bit, last=bit)
            case Repeat(inner, least):
                found = self._node(inner)
                self._link(found.last, found.first)
                return Fragment(found.nullable or not least, found.first, found.last)
            case Group(_, inner):
                return self._node(inner)
            case Choice(alternatives):
                parts = [self._sequence(each) for each in alternatives]
                first = last = 0
                for part in parts:
                    first, last = first | part.first, last | part.last
                return Fragment(any(part.nullable for part in parts), first, last)
            case Other(inner):
                return self._other(opposite(inner))

    def _other(self, automaton: Opposite) -> Fragment:
        """Add a position for each transition, which follows those into the state that it leaves."""
        leaving = [0] * len(automaton.edges)
        entering = [0] * len(automaton.edges)
        for state, edges in enumerate(automaton.edges):
            for test, target in edges:
                bit = self._test(test)
                leaving[state] |= bit
                entering[target] |= bit
        last = 0
        for state, accepting in enumerate(automaton.accepting):
            self._link(entering[state], leaving[state])
            last |= entering[state] if accepting else 0
        return Fragment(automaton.accepting[0], leaving[0], last)

    def _test(self, chars: Chars) -> int:
        bit = self._position()
        self._tests.append((bit, chars))
        return bit

    def _position(self) -> int:
        if len(self._follow) >= MOST:
            raise TooManyError
        self._follow.append(0)
        return 1 << (len(self._follow) - 1)

    def _link(self, last: int, first: int) -> None:
        while last:
            low = last & -last
            self._follow[low.bit_length() - 1] |= first
            last ^= low


def compiled(pattern: str, nodes: tuple[Node, ...]) -> Positions:
    """Return the automaton of a pattern, or raise InvalidGlobError if it is too large."""
    try:
        return Positions(nodes)
    except TooManyError as error:
        reason = "what its `!( )` excludes is too complicated"
        raise errors.InvalidGlobError(pattern, reason) from error


def opposite(node: Node) -> Opposite:
    """Return what does not match a node, inside a part; raise TooManyError if it is too much."""
    inner = Positions((node,))
    chars_of: dict[int, list[glob_chars.Range]] = {}
    for each in glob_chars.atoms([*inner.sets(), glob_chars.INSIDE_PART]):
        if glob_chars.INSIDE_PART.accepts(chr(each[0])):
            chars_of.setdefault(inner.accept(chr(each[0])), []).append(each)
    start = inner.reached(1), bool(inner.last & 1)
    numbers = {start: 0}
    waiting = [start]
    edges: list[tuple[tuple[Chars, int], ...]] = []
    made = 0
    while waiting:
        reached, _ = waiting.pop(0)
        ranges: dict[tuple[int, bool], list[glob_chars.Range]] = {}
        for accepting, some in chars_of.items():
            positions = reached & accepting
            # what may follow, and whether the end may, is all that tells two sets apart from now on
            target = inner.reached(positions), bool(positions & inner.last)
            ranges.setdefault(target, []).extend(some)
        for target in ranges:
            if target not in numbers:
                numbers[target] = len(numbers)
                waiting.append(target)
        edges.append(tuple((glob_chars.of(some), numbers[to]) for to, some in ranges.items()))
        made += len(ranges)
        if made > MOST:
            raise TooManyError
    return Opposite(tuple(not matches for _, matches in numbers), tuple(edges))
