"""What holds for inputs as a tree, and no single one of them can say.

Inputs nest as they do in Pachyderm: a cross, union, join or group holds inputs of any kind. The files of
one datum must not meet in one directory, so the parts of all but a union need names of their own. A key
is needed exactly where it is used: `join_on` below a join, `group_by` below a group, at any depth, since
a join of groups keys each of their files; and it must be made of groups that the glob has.
"""

from collections.abc import Iterator, Mapping

from trunkline.contracts import errors, globs
from trunkline.contracts.spec_findings import Findings
from trunkline.contracts.spec_sections import Node

MOST = 64
"""Inputs of one spec, all kinds and depths counted: each is a glob to compile and a commit to watch."""

LEAVES = ("pfs", "cron")
COMBINED = ("cross", "union", "join", "group")
_KEYS = {"join_on": "join", "group_by": "group"}


def too_many(value: object) -> str:
    """Say so if an input, as it stands in the text, has more parts than are read."""
    waiting, seen = [value], 0
    while waiting and seen <= MOST:
        node = waiting.pop()
        seen += 1
        children = [node.get(kind) for kind in COMBINED] if isinstance(node, Mapping) else []
        waiting += (each for some in children if isinstance(some, list) for each in some)
    return f"has over {MOST} parts" if seen > MOST else ""


def check_pfs(node: Node, found: Findings) -> None:
    """Check an input's name."""
    if node.get("name") in ("out", ".env"):
        found.wrong(node.path("name"), f"an input cannot be named {node['name']!r}")
    elif "name" not in node and node.get("repo") == "out":
        found.wrong(f"{node.at}.name", "an input of a repo named 'out' must have a name")


def check_tree(root: Node, found: Findings) -> None:
    """Check all inputs of a spec together."""
    _names(root, found)
    for leaf, above in _leaves(root, frozenset()):
        _check_keys(leaf, above, found)


def _names(node: Node, found: Findings) -> set[str]:
    """Return the names that a datum of an input has files under."""
    names: set[str] = set()
    for kind in LEAVES:
        leaf = node.get(kind)
        if isinstance(leaf, Node):
            name = leaf.get("name", leaf.get("repo"))
            names |= {name} if isinstance(name, str) else set()
    for kind in COMBINED:
        for child in _children(node, kind):
            own = _names(child, found)
            if kind != "union" and (twice := sorted(names & own)):
                text = f"name {twice[0]!r} was used more than once; give the inputs a `name` each"
                found.wrong(child.at, text)
            names |= own
        if node.get(kind) == []:
            found.wrong(node.path(kind), "needs at least one input")
    return names


def _children(node: Node, kind: str) -> list[Node]:
    children = node.get(kind)
    return [c for c in children if isinstance(c, Node)] if isinstance(children, list) else []


def _leaves(node: Node, above: frozenset[str]) -> Iterator[tuple[Node, frozenset[str]]]:
    """Yield the leaves, each with the kinds of inputs that it is below."""
    for kind in LEAVES:
        leaf = node.get(kind)
        if isinstance(leaf, Node):
            yield leaf, above
    for kind in COMBINED:
        for child in _children(node, kind):
            yield from _leaves(child, above | {kind})


def _check_keys(leaf: Node, above: frozenset[str], found: Findings) -> None:
    cron = leaf.section.name == "cron"
    for key, kind in _KEYS.items():
        if kind in above and key not in leaf:
            text = f"a cron input has no key to {kind} by" if cron else f"is needed below a {kind}"
            found.wrong(leaf.at if cron else f"{leaf.at}.{key}", text)
        elif kind not in above and key in leaf:
            found.wrong(leaf.path(key), f"has a meaning below a `{kind}` only")
        elif key in leaf:
            _check_key(leaf, key, found)
    if "outer_join" in leaf and leaf["outer_join"] is True and "join" not in above:
        found.wrong(leaf.path("outer_join"), "has a meaning below a `join` only")


def _check_key(leaf: Node, key: str, found: Findings) -> None:
    glob, text = leaf.get("glob"), leaf[key]
    if isinstance(glob, str) and isinstance(text, str):
        try:
            globs.compile(glob).key(text)
        except errors.InvalidKeyError as error:
            found.wrong(leaf.path(key), str(error))
