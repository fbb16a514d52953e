"""Globs over the files of a repo: which paths a pattern matches, in time linear in the path.

The language is Pachyderm's: the pattern is cleaned (`urls/*` is `/urls/*`, `/urls/` is `/urls`), `/`
separates, `*` and `?` stay inside a part, `**` crosses parts, `[a-c]`, `[!x]`, `[^x]` and
`[[:alpha:]]` are classes (none of them accepts the separator), `{a,b}` are alternatives, `(a|b)`,
`@(a|b)`, `?(a)`, `*(a)`, `+(a)` and `!(a)` are groups, and a backslash takes the next character as it is.
The pattern `/` alone matches the root, and nothing else does. A match is a file or a directory; a
directory stands for all files below it.

Matching simulates a position automaton (`glob_positions`). Nothing ever backtracks. Sets of positions
that come up are remembered as the states of a deterministic automaton, up to a bound, so that a step over
usual paths is one look-up. What the groups hold of a path that matches, another machine finds
(`glob_groups`), and only where it is asked for.

In one point this is not Pachyderm's: `!(a)` excludes what `a` matches, as in a shell, whatever follows.
There, something that follows makes it exclude what begins with `a`, so `/!(a)/*` leaves out `/ab/x`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from trunkline.contracts import glob_groups, glob_positions, glob_syntax
from trunkline.contracts.glob_groups import Groups
from trunkline.contracts.glob_syntax import Literal, Node

_MAX_REMEMBERED = 20_000
"""Steps of the deterministic automaton that one glob keeps; a usual glob needs some hundred."""


@dataclass(slots=True, eq=False)
class State:
    """Where a match stands after some prefix of a path; opaque to all but the glob that made it."""

    positions: int
    accepting: bool
    steady: bool
    """Whether the rest of a path's part, whatever it is, leads back here."""
    steps: "dict[str, State]" = field(default_factory=dict)


class Glob:
    """A compiled pattern; made by `compile`. It may be shared, also between threads."""

    def __init__(self, pattern: str) -> None:
        self.pattern = glob_syntax.clean(pattern)
        self._parsed = glob_syntax.parse(self.pattern)
        self.literal_prefix = _literal_prefix(self._parsed.nodes)
        """What every match begins with: a listing may start there and end where it ends."""
        self.is_plain = all(isinstance(node, Literal) for node in self._parsed.nodes)
        """Whether nothing in it has a meaning but the characters themselves."""
        self.is_root = self.pattern == "/"
        self._positions = glob_positions.compiled(self.pattern, self._parsed.nodes)
        self._groups: Groups | None = None
        self._states: dict[int, State] = {}
        self._remembered = 0
        self.start = State(positions=1, accepting=False, steady=False)
        """The state before the first character."""

    def __repr__(self) -> str:
        return f"Glob({self.pattern!r})"

    def matches(self, path: str) -> bool:
        """Return whether this path of a file or directory (`/a/b`, or `/` for the root) matches."""
        if path == "/" or self.is_root:
            return path == "/" and self.is_root
        return self.step(self.start, path).accepting

    def groups(self, path: str) -> tuple[str, ...]:
        """Return the texts of the pattern's groups in a path that matches."""
        if self._groups is None:
            self._groups = Groups(self._parsed)
        return self._groups.find(path) or ("",) * self._parsed.groups

    def key(self, text: str) -> Callable[[str], str]:
        """Return what makes of a path that matches its key, by a text such as `$1-$2`.

        Raises:
            InvalidKeyError: It names a group that the pattern does not have.
        """
        key = glob_groups.parse_key(text, self._parsed.groups)
        return lambda path: key.of(path, self.groups(path))

    def step(self, state: State, text: str) -> State:
        """Return where the match stands after more text: what `matches` does in one go.

        Of the root's special case it knows nothing; `Walk` and `matches` see to that.
        """
        for char in text:
            state = state.steps.get(char) or self._advance(state, char)
            if not state.positions:
                break
        return state

    def step_in(self, state: State, text: str) -> State:
        """Return the same as `step` for text without a separator; a `*` takes all of it at once."""
        for char in text:
            if state.steady:
                break
            state = state.steps.get(char) or self._advance(state, char)
        return state

    def _advance(self, state: State, char: str) -> State:
        positions = self._positions.after(state.positions, char)
        found = self._states.get(positions)
        if found is None:
            accepting = bool(positions & self._positions.last)
            found = State(positions, accepting, self._positions.are_steady(positions))
            self._states[positions] = found
        self._remembered += 1
        if self._remembered > _MAX_REMEMBERED:
            for each in self._states.values():
                each.steps.clear()
            self.start.steps.clear()
            self._states.clear()
            self._remembered = 0
        else:
            state.steps[char] = found
        return found


def compile(pattern: str) -> Glob:  # noqa: A001 - reads as `globs.compile`, like `re.compile`
    """Return the glob of a pattern, or raise InvalidGlobError saying what is wrong with it."""
    return Glob(pattern)


def _literal_prefix(nodes: tuple[Node, ...]) -> str:
    prefix = []
    for node in nodes:
        if not isinstance(node, Literal):
            break
        prefix.append(node.char)
    return "".join(prefix)


@dataclass(slots=True)
class Match:
    """What a glob matched: a file, or a directory with `count` files from position `first` on."""

    path: str
    first: int
    count: int


@dataclass(slots=True)
class _Directory:
    name: str
    state: State
    match: Match | None


class Walk:
    """The matches in a stream of file paths, in the order of `names.path_key`.

    Feed it each path; it returns what is complete then: a file that matches at once, a directory
    that matches when the first path after it comes, or at `finish`. So matches come by where they
    end, inner ones before outer ones, and the memory is that of one path's ancestors. Where no match
    lies in another that is the order of their paths.
    """

    def __init__(self, glob: Glob, first: int = 0) -> None:
        """Start before the file at position `first`; all files of a match must be fed."""
        self._glob = glob
        self._at = first
        self.open: list[Match] = []
        """Directories that match and that the last path lies in, outermost first; they grow."""
        root = Match("/", first, 0) if glob.is_root else None
        if root is not None:
            self.open.append(root)
        self._stack = [_Directory("", glob.start, root)]
        self._directory = ""
        """Of the last path."""
        self._inside = glob.step(glob.start, "/")
        """Where a match stands in that directory, before a file's name."""

    def feed(self, path: str) -> list[Match]:
        """Take the next file's path; return the matches that are complete now."""
        directory, _, name = path.rpartition("/")
        done = [] if directory == self._directory else self._turn(directory)
        if not self._glob.is_root and self._glob.step_in(self._inside, name).accepting:
            done.append(Match(path, self._at, 1))
        self._at += 1
        return done

    def finish(self) -> list[Match]:
        """Return the matches that end where the files end."""
        return self._close(0)

    def _turn(self, directory: str) -> list[Match]:
        """Go to another directory; return the matches that end with the ones that are left."""
        parts, stack = directory.split("/"), self._stack
        common, most = 1, min(len(parts), len(stack))
        while common < most and stack[common].name == parts[common]:
            common += 1
        done = self._close(common)
        if not self._glob.is_root:
            self._enter(parts, common)
            self._inside = self._glob.step(stack[-1].state, "/")
        self._directory = directory
        return done

    def _enter(self, parts: list[str], common: int) -> None:
        state = self._stack[-1].state
        for depth in range(common, len(parts)):
            state = self._glob.step(state, f"/{parts[depth]}")
            found = None
            if state.accepting:
                found = Match("/".join(parts[: depth + 1]), self._at, 0)
                self.open.append(found)
            self._stack.append(_Directory(parts[depth], state, found))

    def _close(self, depth: int) -> list[Match]:
        done = []
        while len(self._stack) > depth:
            match = self._stack.pop().match
            if match is not None:
                self.open.pop()
                match.count = self._at - match.first
                if match.count:
                    done.append(match)
        return done


def find(glob: Glob, paths: Iterable[str], first: int = 0) -> Iterator[Match]:
    """Yield the matches in a sorted stream of file paths; see `Walk`, which takes one at a time."""
    walk = Walk(glob, first)
    for path in paths:
        yield from walk.feed(path)
    yield from walk.finish()
