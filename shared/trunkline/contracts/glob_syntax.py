r"""The grammar of globs: from a pattern's text to a tree of what it may match.

    pattern  = { element }
    element  = char | `\` char | `?` | `*` | `**` | class | `{` pattern { `,` pattern } `}`
    class    = `[` [ `!` | `^` ] { char | char `-` char | `[:` [ `^` ] name `:]` } `]`

Every construct becomes one of four nodes, and an automaton is built from nodes alone: a group of the
extended globs is a `Repeat` around a `Choice`, so that `@( )`, `*( )`, `+( )` and `?( )` need a rule
here and no more. Until then an unescaped parenthesis is refused, since its meaning is taken.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from trunkline.contracts import errors

PATTERN_MAX_BYTES = 1024
"""A pattern is hostile input; paths are not longer either."""

_MAX_DEPTH = 32
_MAX_STARS = 100

_CLASSES: dict[str, Callable[[str], bool]] = {
    "alnum": lambda char: char.isascii() and char.isalnum(),
    "alpha": lambda char: char.isascii() and char.isalpha(),
    "ascii": str.isascii,
    "blank": lambda char: char in " \t",
    "cntrl": lambda char: ord(char) < 32 or ord(char) == 127,
    "digit": lambda char: "0" <= char <= "9",
    "graph": lambda char: "!" <= char <= "~",
    "lower": lambda char: "a" <= char <= "z",
    "print": lambda char: " " <= char <= "~",
    "punct": lambda char: "!" <= char <= "~" and not char.isalnum(),
    "space": lambda char: char in " \t\n\r\v\f",
    "upper": lambda char: "A" <= char <= "Z",
    "word": lambda char: char.isascii() and (char.isalnum() or char == "_"),
    "xdigit": lambda char: char in "0123456789abcdefABCDEF",
}


@dataclass(frozen=True, slots=True)
class Literal:
    """This character."""

    char: str


@dataclass(frozen=True, slots=True)
class Chars:
    """Any one character that the test accepts."""

    accepts: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Repeat:
    """The node any number of times, also not at all."""

    node: "Node"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several sequences of nodes."""

    alternatives: "tuple[tuple[Node, ...], ...]"


Node = Literal | Chars | Repeat | Choice


def _any(_char: str) -> bool:
    return True


def _inside_part(char: str) -> bool:
    return char != "/"


ANY = Chars(_any)
INSIDE_PART = Chars(_inside_part)


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


def parse(pattern: str) -> tuple[Node, ...]:
    """Return what a cleaned pattern may match, in sequence, or raise InvalidGlobError."""
    parser = _Parser(pattern)
    nodes = parser.sequence(depth=0)
    assert parser.at == len(pattern)
    return nodes


class _Parser:
    """Recursive descent over the pattern; `at` is the next character."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.stars = 0

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

    def sequence(self, depth: int) -> tuple[Node, ...]:
        """Read up to the end, or inside braces up to the comma or brace that ends it."""
        nodes: list[Node] = []
        while char := self.peek():
            if depth and char in ",}":
                break
            self.at += 1
            nodes.append(self.element(char, depth))
        return tuple(nodes)

    def element(self, char: str, depth: int) -> Node:
        if char in "()":
            self.fail(f"groups in parentheses are not supported; escape it: `\\{char}`")
        match char:
            case "\\":
                return Literal(self.take("it ends in a backslash"))
            case "?":
                return INSIDE_PART
            case "*":
                return self.star()
            case "[":
                return self.char_class()
            case "{":
                return self.choice(depth + 1)
            case _:
                return Literal(char)

    def star(self) -> Node:
        """Read `*` (inside a part) or `**` (across parts); three and more are two."""
        crosses = self.peek() == "*"
        while self.peek() == "*":
            self.at += 1
        self.stars += 1
        if self.stars > _MAX_STARS:
            self.fail(f"it has over {_MAX_STARS} stars")
        return Repeat(ANY if crosses else INSIDE_PART)

    def choice(self, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            self.fail(f"its braces are nested deeper than {_MAX_DEPTH} levels")
        alternatives = []
        while True:
            alternatives.append(self.sequence(depth))
            if self.take("a `{` is never closed") == "}":
                return Choice(tuple(alternatives))

    def char_class(self) -> Node:
        """Read the rest of `[...]`; it never accepts the separator."""
        unclosed = "a `[` is never closed"
        negated = self.peek() in ("!", "^") and bool(self.peek())
        self.at += negated
        singles: set[str] = set()
        ranges: list[tuple[str, str]] = []
        named: list[tuple[Callable[[str], bool], bool]] = []
        begun = False
        while (char := self.take(unclosed)) != "]" or not begun:
            begun = True
            if char == "[" and self.peek() == ":":
                named.append(self.named_class())
                continue
            low = self.class_char(char, unclosed)
            if self.peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high = self.class_char(self.take(unclosed), unclosed)
                if high < low:
                    self.fail(f"the range `{low}-{high}` is the wrong way round")
                ranges.append((low, high))
            else:
                singles.add(low)

        def accepts(char: str) -> bool:
            found = (
                char in singles
                or any(low <= char <= high for low, high in ranges)
                or any(test(char) != inverse for test, inverse in named)
            )
            return found != negated and char != "/"

        return Chars(accepts)

    def class_char(self, char: str, unclosed: str) -> str:
        if char == "\\":
            char = self.take(unclosed)
        if char == "/":
            self.fail("a class cannot hold the separator `/`")
        return char

    def named_class(self) -> tuple[Callable[[str], bool], bool]:
        """Read the rest of `[:name:]` or `[:^name:]`; return the test, and whether to invert it."""
        end = self.pattern.find(":]", self.at + 1)
        if end < 0:
            self.fail("a `[:` is never closed")
        name = self.pattern[self.at + 1 : end]
        self.at = end + 2
        inverse = name.startswith("^")
        test = _CLASSES.get(name.removeprefix("^"))
        if test is None:
            known = ", ".join(sorted(_CLASSES))
            self.fail(f"`[:{name}:]` is no class of characters; known are {known}")
        return test, inverse
