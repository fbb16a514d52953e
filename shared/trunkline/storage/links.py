"""Symbolic links in a directory that a user's command wrote: where they lead, if they may.

The command may have seen the same directories under other names than we do (`/pfs/in` in its own
mount namespace or container), so links are resolved here, part by part, and not by the kernel. A link
may lead to what the command was given or has written, and nowhere else: our own files must not get
into a commit because a link named them.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from trunkline.contracts import errors

_MOST_LINKS = 40
"""The kernel's own limit."""


class Roots:
    """The directories that links may lead into."""

    def __init__(self, views: Mapping[str, Path]) -> None:
        """Take the directories, each under the absolute path at which the command saw it."""
        self._views = {_split(seen): real_directory(real) for seen, real in views.items()}

    def real(self, path: str, directory: str, target: str) -> str:
        """Return the real path, free of links, of what a link leads to.

        Args:
            path: Of the link in the repo; for the error.
            directory: The real path of the directory that the link is in.
            target: What the link says.

        Raises:
            InvalidPathError: It leads outside, to nothing, or round in a circle.
        """
        done, rest = self._begin(directory, target)
        links = 0
        while rest:
            part = rest.pop(0)
            if part == "..":
                done = done.rpartition("/")[0] or "/"
                continue
            done = f"{done.rstrip('/')}/{part}"
            try:
                further = os.readlink(done)  # noqa: PTH115
            except OSError:
                continue  # no link; whether it is there at all shows when it is opened
            links += 1
            if links > _MOST_LINKS:
                raise errors.InvalidPathError(
                    path, f"its link to {target!r} goes round in a circle"
                )
            done, more = self._begin(done.rpartition("/")[0] or "/", further)
            rest = [*more, *rest]
        if self.root_of(done) is None:
            reason = f"it is a link to {target!r}, outside of the datum's inputs and output"
            raise errors.InvalidPathError(path, reason)
        return done

    def root_of(self, real: str) -> str | None:
        """Return the root that a real path lies in, or None."""
        for root in self._views.values():
            if real == root or real.startswith(f"{root.rstrip('/')}/"):
                return root
        return None

    def _begin(self, directory: str, target: str) -> tuple[str, list[str]]:
        """Return the real directory where a link's way begins, and the parts to go from there."""
        parts = _split(target)
        if not target.startswith("/"):
            return directory, list(parts)
        for seen in sorted(self._views, key=len, reverse=True):
            if parts[: len(seen)] == seen:
                return self._views[seen], list(parts[len(seen) :])
        return "/", list(parts)


def real_directory(path: Path) -> str:
    """Return the real path of a directory which must not be a link itself."""
    return str(path.parent.resolve() / path.name)


def _split(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part not in ("", "."))
