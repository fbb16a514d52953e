"""Symbolic links in a directory that a user's command wrote: where they lead, if they may.

The command may have seen the same directories under other names than we do (`/pfs/in` in its own
mount namespace or container), so links are resolved here, part by part, and not by the kernel. A link
may lead to what the command was given or has written, and nowhere else: our own files must not get
into a commit because a link named them.

Where the command lives in a world of its own, a link that leaves those directories is `Elsewhere`: from
there on nothing is looked at here, and whoever lives there too may be asked to open it (`reaching`).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trunkline.contracts import errors

_MOST_LINKS = 40
"""The kernel's own limit."""


@dataclass(slots=True, frozen=True)
class Elsewhere:
    """A link that leaves the datum's directories."""

    path: str
    """Of the link in the repo."""
    target: str
    """The absolute path at which the command would find what it leads to."""


class Roots:
    """The directories that links may lead into."""

    def __init__(self, views: Mapping[str, Path], *, foreign: bool = False) -> None:
        """Take the directories.

        Args:
            views: Each under the absolute path at which the command saw it; of several paths for one
                the first is where a link's `..` leads on from.
            foreign: Whether outside of them the command may have seen something else than we do.
        """
        self._views = {_split(seen): real_directory(real) for seen, real in views.items()}
        self._foreign = foreign

    def real(self, path: str, directory: str, target: str) -> str | Elsewhere:
        """Return the real path, free of links, of what a link leads to; Elsewhere only if foreign.

        Args:
            path: Of the link in the repo; for the error.
            directory: The real path of the directory that the link is in.
            target: What the link says.

        Raises:
            InvalidPathError: It leads outside, to nothing, or round in a circle.
        """
        leads, links = target, 0
        way = self._begin(directory, target)
        while way is not None and way[1]:
            done, (part, *rest) = way
            if part == "..":
                above = done.rpartition("/")[0] or "/"
                if self._foreign and self.root_of(above) is None:
                    leads = "/" + "/".join((*self._seen(done)[:-1], *rest))
                    way = self._begin(above, leads)
                else:
                    way = above, rest
                continue
            done = f"{done.rstrip('/')}/{part}"
            try:
                further = os.readlink(done)  # noqa: PTH115
            except OSError:  # no link; whether it is there at all shows when it is opened
                way = done, rest
                continue
            links += 1
            if links > _MOST_LINKS:
                raise errors.InvalidPathError(
                    path, f"its link to {target!r} goes round in a circle"
                )
            leads = "/".join((further, *rest))
            way = self._begin(done.rpartition("/")[0] or "/", leads)
        if way is None:
            return Elsewhere(path, leads)
        if self.root_of(way[0]) is None:
            reason = f"it is a link to {target!r}, outside of the datum's inputs and output"
            raise errors.InvalidPathError(path, reason)
        return way[0]

    def root_of(self, real: str) -> str | None:
        """Return the root that a real path lies in, or None."""
        for root in self._views.values():
            if real == root or real.startswith(f"{root.rstrip('/')}/"):
                return root
        return None

    def _begin(self, directory: str, target: str) -> tuple[str, list[str]] | None:
        """Return the real directory where a link's way begins, and the parts to go from there.

        None if it begins where only the command knows what is there.
        """
        parts = _split(target)
        if not target.startswith("/"):
            return directory, list(parts)
        for seen in sorted(self._views, key=len, reverse=True):
            if parts[: len(seen)] == seen:
                return self._views[seen], list(parts[len(seen) :])
        return None if self._foreign else ("/", list(parts))

    def _seen(self, root: str) -> tuple[str, ...]:
        """Return where the command saw one of the directories."""
        return next(seen for seen, real in self._views.items() if real == root)


def real_directory(path: Path) -> str:
    """Return the real path of a directory which must not be a link itself."""
    return str(path.parent.resolve() / path.name)


def _split(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part not in ("", "."))
