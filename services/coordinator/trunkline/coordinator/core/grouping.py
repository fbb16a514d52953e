"""What the matches of one input that belong to one group become: one part of a datum.

Matches come by path. One that lies in a directory that matches, too, adds no files. Where files lie one
after the other in the manifest, they are one range of it; so a group is a few ranges, mostly, and what is
kept of it is 16 bytes for each, however many files it has.
"""

import hashlib
from array import array
from collections.abc import Iterator

from trunkline.contracts import messages
from trunkline.contracts.messages import File, Span
from trunkline.coordinator.core.datums import Part, Several

SPANS_MOST = 16
"""Ranges that a message names; more become a manifest of their own."""


class Gathering:
    """Takes the matches of one input; see the module."""

    def __init__(self) -> None:
        self._last: Part | None = None
        self._matches = self._end = 0
        self._ids, self._contents = hashlib.sha256(), hashlib.sha256()
        self._spans = array("Q")
        self._files: list[File] | None = []
        self._size = 0
        self.count = 0
        """How many files there are."""

    def add(self, part: Part) -> None:
        """Take the next match."""
        self._last = part
        self._matches += 1
        path = part.path.encode()
        self._ids.update(b"%d:%b" % (len(path), path))
        if self._spans and part.first < self._end:
            return
        self._contents.update(part.contents.encode())
        if self._spans and part.first == self._end:
            self._spans[-1] += part.count
        else:
            self._spans.extend((part.first, part.count))
        self._end = part.first + part.count
        self.count += part.count
        self._size += part.size
        self._keep(part.files)

    def _keep(self, files: tuple[File, ...] | None) -> None:
        if self._files is None or files is None or self.count > messages.INLINE_FILES:
            self._files = None
        else:
            self._files += files

    @property
    def scattered(self) -> bool:
        """Whether there are more ranges than a message names."""
        return len(self._spans) > 2 * SPANS_MOST

    def spans(self) -> Iterator[Span]:
        """Yield the ranges of the manifest."""
        for at in range(0, len(self._spans), 2):
            yield Span(first=self._spans[at], count=self._spans[at + 1])

    def part(self, manifest: str = "") -> Part:
        """Return the part.

        Args:
            manifest: Holds just its files; only needed if they are `scattered`.
        """
        last = self._last
        assert last is not None  # no group is empty
        if self._matches == 1:
            return last
        source = last.source
        spans = (Span(first=0, count=self.count),) if manifest else tuple(self.spans())
        several = Several(
            id=self._ids.hexdigest(),
            matches=self._matches,
            spans=spans,
            manifest=manifest or source.manifest,
        )
        return Part(
            source=source,
            path=last.path,
            first=spans[0].first,
            count=self.count,
            files=None if self._files is None else tuple(self._files),
            contents="" if source.reference else self._contents.hexdigest(),
            size=self._size,
            several=several,
        )
