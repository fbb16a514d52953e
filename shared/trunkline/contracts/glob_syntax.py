r"""The grammar of globs: from a pattern's text to a tree of what it may match.

    pattern  = { element }
    element  = char | `\` char | `?` | `*` | `**` | class | braces | group
    class    = `[` [ `!` | `^` ] { char | char `-` char | `[:` [ `^` ] name `:]` } `]`
    braces   = `{` pattern { `,` pattern } `}`
    group    = [ `@` | `?` | `*` | `+` | `!` ] `(` pattern { `|` pattern } `)`

A group says how often one of its patterns must match, one after the other: once (`@`, or nothing), at
most once (`?`), any number of times (`*`), at least once (`+`); or that what is matched, inside of one
part of the path, is something else (`!`). Its text can be referred to, by the number of its parenthesis.
A `?` or star right before a parenthesis is the group's: `**(a)` is `*` and `*(a)`.

Every construct becomes one of a few nodes, and the automata are built from nodes alone.
"""

import re
from dataclasses import dataclass
from typing import NoReturn

from trunkline.contracts import errors, glob_chars
from trunkline.contracts.glob_chars import Chars

PATTERN_MAX_BYTES = 1024
"""A pattern is hostile input; paths are not longer either."""
GROUPS_MAX = 32

_MAX_DEPTH = 32
_MAX_STARS = 100


@dataclass(frozen=True, slots=True)
class Literal:
    """This character."""

    char: str


@dataclass(frozen=True, slots=True)
class Repeat:
    """The node any number of times, but at least so often; as often as possible, where it matters."""

    node: "Node"
    least: int = 0
    """0 or 1."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several sequences of nodes; the first one that will do, where it matters."""

    alternatives: "tuple[tuple[Node, ...], ...]"


@dataclass(frozen=True, slots=True)
class Group:
    """The node, whose text is that of the group with this number, from 1."""

    number: int
    node: "Node"


@dataclass(frozen=True, slots=True)
class Other:
    """What has no separator, and is not what the node matches; as much as possible."""

    node: "Node"


Node = Literal | Chars | Repeat | Choice | Group | Other


def clean(pattern: str) -> str:
    """Return the pattern in its one form: a leading slash, no trailing one, no empty or `.` parts.

    Raises:
        InvalidGlobError: It is empty, too long, has a part `..`, a control character, or no UTF-8.
    """
    try:
        size = len(pattern.encode())
    except UnicodeEncodeError as error:
        raise errors.InvalidGlobError(pattern, "it is not UTF-8") from error
    if size > PATTERN_MAX_BYTES:
        reason = f"it has over {PATTERN_MAX_BYTES} bytes"
        raise errors.InvalidGlobError(pattern[:80] + "...", reason)
    if not pattern:
        raise errors.InvalidGlobError(pattern, "it is empty; `/` means the whole repo")
    if any(ord(char) < 32 or ord(char) == 127 for char in pattern):
        raise errors.InvalidGlobError(pattern, "it has a control character")
    unescaped = re.sub(r"\\(.)", lambda m: "/" if m[1] == "/" else m[0], pattern)
    parts = [part for part in unescaped.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise errors.InvalidGlobError(pattern, "it has a part `..`")
    return "/" + "/".join(parts)


@dataclass(frozen=True)
class Parsed:
    """A pattern, taken apart."""

    nodes: tuple[Node, ...]
    groups: int
    """How many there are."""


def parse(pattern: str) -> Parsed:
    """Return what a cleaned pattern may match, in sequence, or raise InvalidGlobError."""
    parser = _Parser(pattern)
    nodes = parser.sequence("", depth=0)
    assert parser.at == len(pattern)
    return Parsed(nodes, parser.groups)


class _Parser:
    """Recursive descent over the pattern; `at` is the next character."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.stars = 0
        self.groups = 0

    def fail(self, reason: str) -> NoReturn:
        raise errors.InvalidGlobError(self.pattern, reason)

    def peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def take(self, missing: str) -> str:
        char = self.peek()
        if not char:
            self.fail(missing)
        self.at += 1
        return char

    def sequence(self, ends: str, depth: int) -> tuple[Node, ...]:
        """Read up to the end, or to one of the characters that end it."""
        nodes: list[Node] = []
        while (char := self.peek()) and char not in ends:
            self.at += 1
            nodes.append(self.element(char, depth))
        return tuple(nodes)

    def element(self, char: str, depth: int) -> Node:
        if char in "@?*+!" and self.peek() == "(":
            self.at += 1
            return self.group(char, depth + 1)
        match char:
            case "(":
                return self.group("@", depth + 1)
            case "\\":
                return Literal(self.take("it ends in a backslash"))
            case "?":
                return glob_chars.INSIDE_PART
            case "*":
                return self.star()
            case "[":
                return self.char_class()
            case "{":
                return self.choice(",}", "a `{` is never closed", depth + 1)
            case _:
                return Literal(char)

    def star(self) -> Node:
        """Read `*` (inside a part) or `**` (across parts); three and more are two."""
        crosses = False
        while self.peek() == "*" and self.pattern[self.at + 1 : self.at + 2] != "(":
            crosses = True
            self.at += 1
        self.count_star()
        return Repeat(glob_chars.ANY if crosses else glob_chars.INSIDE_PART)

    def count_star(self) -> None:
        self.stars += 1
        if self.stars > _MAX_STARS:
            self.fail(f"it has over {_MAX_STARS} stars")

    def group(self, kind: str, depth: int) -> Node:
        """Read the rest of a group, after its parenthesis."""
        self.groups += 1
        if self.groups > GROUPS_MAX:
            self.fail(f"it has over {GROUPS_MAX} groups")
        number = self.groups
        inner = self.choice("|)", "a `(` is never closed", depth)
        match kind:
            case "*" | "+":
                self.count_star()
                return Group(number, Repeat(inner, least=0 if kind == "*" else 1))
            case "?":
                return Group(number, Choice((*inner.alternatives, ())))
            case "!":
                return Group(number, Other(inner))
            case _:
                return Group(number, inner)

    def choice(self, ends: str, unclosed: str, depth: int) -> Choice:
        """Read alternatives, up to the second of two characters; the first one parts them."""
        if depth > _MAX_DEPTH:
            self.fail(f"its braces and parentheses are nested deeper than {_MAX_DEPTH} levels")
        alternatives = []
        while True:
            alternatives.append(self.sequence(ends, depth))
            if self.take(unclosed) == ends[1]:
                return Choice(tuple(alternatives))

    def char_class(self) -> Chars:
        """Read the rest of `[...]`; it never accepts the separator."""
        unclosed = "a `[` is never closed"
        negated = self.peek() in ("!", "^") and bool(self.peek())
        self.at += negated
        sets: list[Chars] = []
        while (char := self.take(unclosed)) != "]" or not sets:
            if char == "[" and self.peek() == ":":
                sets.append(self.named_class())
                continue
            low = high = self.class_char(char, unclosed)
            if self.peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high = self.class_char(self.take(unclosed), unclosed)
                if high < low:
                    self.fail(f"the range `{low}-{high}` is the wrong way round")
            sets.append(Chars(((ord(low), ord(high)),)))
        found = glob_chars.union(sets)
        return (found.others() if negated else found).inside_part()

    def class_char(self, char: str, unclosed: str) -> str:
        if char == "\\":
            char = self.take(unclosed)
        if char == "/":
            self.fail("a class cannot hold the separator `/`")
        return char

    def named_class(self) -> Chars:
        """Read the rest of `[:name:]` or `[:^name:]`."""
        end = self.pattern.find(":]", self.at + 1)
        if end < 0:
            self.fail("a `[:` is never closed")
        name = self.pattern[self.at + 1 : end]
        self.at = end + 2
        found = glob_chars.NAMED.get(name.removeprefix("^"))
        if found is None:
            known = ", ".join(sorted(glob_chars.NAMED))
            self.fail(f"`[:{name}:]` is no class of characters; known are {known}")
        return found.others() if name.startswith("^") else found
