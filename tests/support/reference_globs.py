"""Globs matched by trying everything, as the plainest reading of their meaning; and patterns to try."""

from collections.abc import Iterator

from hypothesis import reject
from hypothesis import strategies as st

from trunkline.contracts import glob_syntax
from trunkline.contracts.glob_chars import Chars
from trunkline.contracts.glob_syntax import Choice, Group, Literal, Node, Other, Repeat

Marks = dict[int, tuple[int, int]]
"""Where each group begins and ends."""

_TRIES_MAX = 50_000
"""Trying everything may take for ever: an example that asks for more is passed over."""


def matches(pattern: str, path: str) -> bool:
    """Whether a path matches."""
    return groups(pattern, path) is not None


def groups(pattern: str, path: str) -> tuple[str, ...] | None:
    """Return what a backtracking matcher finds first in the groups; None if there is no match."""
    cleaned = glob_syntax.clean(pattern)
    parsed = glob_syntax.parse(cleaned)
    if path == "/" or cleaned == "/":
        return () if path == cleaned else None
    for end, marks in _Trying().ways(parsed.nodes, path, 0, {}):
        if end == len(path):
            spans = (marks.get(number + 1, (0, 0)) for number in range(parsed.groups))
            return tuple(path[first:last] for first, last in spans)
    return None


class _Trying:
    """One search, which is given up after so many tries."""

    def __init__(self) -> None:
        self._left = _TRIES_MAX

    def ways(
        self, nodes: tuple[Node, ...], text: str, at: int, marks: Marks
    ) -> Iterator[tuple[int, Marks]]:
        """Yield where the nodes may end, in the order in which they are tried."""
        if not nodes:
            yield at, marks
            return
        for end, some in self._node(nodes[0], text, at, marks):
            yield from self.ways(nodes[1:], text, end, some)

    def _node(self, node: Node, text: str, at: int, marks: Marks) -> Iterator[tuple[int, Marks]]:
        self._left -= 1
        if self._left < 0:
            reject()
        match node:
            case Literal(char):
                yield from _char(text[at : at + 1] == char, at, marks)
            case Chars():
                yield from _char(at < len(text) and node.accepts(text[at]), at, marks)
            case Choice(alternatives):
                for each in alternatives:
                    yield from self.ways(each, text, at, marks)
            case Group(number, inner):
                for end, some in self._node(inner, text, at, marks):
                    yield end, {**some, number: (at, end)}
            case Repeat():
                yield from self._repeated(node, text, at, marks)
            case Other(inner):
                yield from self._other(inner, text, at, marks)

    def _repeated(
        self, node: Repeat, text: str, at: int, marks: Marks
    ) -> Iterator[tuple[int, Marks]]:
        for end, some in self._node(node.node, text, at, marks):
            if end > at:  # a round that takes nothing is none
                yield from self._repeated(Repeat(node.node), text, end, some)
            elif node.least:
                yield end, some
        if not node.least:
            yield at, marks

    def _other(self, inner: Node, text: str, at: int, marks: Marks) -> Iterator[tuple[int, Marks]]:
        part = text[at:].partition("/")[0]
        for end in range(at + len(part), at - 1, -1):
            if all(stop != end for stop, _ in self._node(inner, text[:end], at, {})):
                yield end, marks


def _char(matches: bool, at: int, marks: Marks) -> Iterator[tuple[int, Marks]]:
    if matches:
        yield at + 1, marks


patterns = st.recursive(
    st.sampled_from(["a", "b", "/", "?", "*", "**", "[ab]", "[!a]", "[^b]", "\\*", "é", "ab"]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(st.one_of(st.just(""), inner), min_size=1, max_size=3).map(
            lambda parts: "{" + ",".join(parts) + "}"
        ),
        st.tuples(
            st.sampled_from(["", "@", "?", "*", "+", "!"]),
            st.lists(st.one_of(st.just(""), inner), min_size=1, max_size=3),
        ).map(lambda made: f"{made[0]}({'|'.join(made[1])})"),
    ),
    max_leaves=8,
)
parts = st.text(alphabet="ab*é-", min_size=1, max_size=4)
file_paths = st.lists(parts, min_size=1, max_size=4).map(lambda each: "/" + "/".join(each))
