"""What joins and groups are made by: the keys of files, and the order in which they are sorted.

A key is a text such as `$1-$2`, filled in with what the groups of an input's glob hold of a matched path.
Parts are sorted by key, then by the arm of the join (its first arm last, see `joining`), the input, and the
path, so that everything about one key comes together, and what comes twice comes side by side.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

from trunkline.contracts import globs, names

_END = b"\0\0"
"""What no escaped key holds."""
_MOST_ARMS = 255


class Place(NamedTuple):
    """What a part is sorted by, taken apart."""

    key: bytes
    arm: int
    source: int


def key(glob: str, text: str, path: str) -> str:
    """Return the key of a matched path; empty if there is no text to make it of."""
    return _maker(glob, text)(path) if text else ""


def sorted_by(key: str, arm: int, source: int, path: str) -> bytes:
    """Return what a part is sorted by."""
    escaped = key.encode("utf-8", "surrogatepass").replace(b"\0", b"\0\1")
    return escaped + _END + bytes((_MOST_ARMS - arm, source)) + names.path_key(path)


def place(sorted_by: bytes) -> Place:
    """Return what `sorted_by` was made of, but for the path."""
    at = sorted_by.index(_END) + len(_END)
    return Place(sorted_by[:at], _MOST_ARMS - sorted_by[at], sorted_by[at + 1])


@functools.lru_cache(maxsize=256)
def _maker(glob: str, text: str) -> Callable[[str], str]:
    return globs.compile(glob).key(text)
