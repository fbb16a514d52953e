"""What the demo counts: the text files of Python's own standard library; and a count without us."""

import os
import string
import sysconfig
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from trunkline.client.files import Source
from trunkline.contracts import errors

SUFFIXES = {".py", ".txt", ".toml", ".decTest"}
"""As in the glob of `words`."""

_ELSEWHERE = {"site-packages", "dist-packages", "__pycache__"}
_LETTERS = bytes(
    ord(char.lower()) if (char := chr(code)) in string.ascii_letters else ord(" ")
    for code in range(256)
)


class UnclearAmountError(errors.TrunklineError):
    """The number of files is no number."""

    def __init__(self, wanted: str) -> None:
        super().__init__(f"DEMO_FILES={wanted!r}: give a number of files, or `all`")
        self.wanted = wanted


def choose(wanted: str) -> list[Source]:
    """Return so many of the library's files (`all`: every one), the same ones each time.

    Spread over the whole library, so that a small choice is like the large one.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    found: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _ELSEWHERE]
        found += (Path(folder, name) for name in names if Path(name).suffix in SUFFIXES)
    found = sorted(path for path in found if path.is_file())
    if wanted != "all":
        if not wanted.isdigit() or int(wanted) < 1:
            raise UnclearAmountError(wanted)
        count = min(int(wanted), len(found))
        found = [found[position * len(found) // count] for position in range(count)]
    return [
        Source(f"/{path.relative_to(root).as_posix()}", path, path.stat().st_size) for path in found
    ]


def plain_count(texts: Sequence[Source]) -> Counter[str]:
    """Return how often each word occurs, by one loop in this process, and by another method.

    Letters are made small and everything else a space; what is left between spaces is a word.
    """
    totals = Counter[bytes]()
    for text in texts:
        assert isinstance(text.content, Path)
        totals.update(text.content.read_bytes().translate(_LETTERS).split())
    return Counter({word.decode(): count for word, count in totals.items()})
