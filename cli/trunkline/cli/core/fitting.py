"""What of a board fits a screen: lines for each of its parts, columns for each table.

Lines: each part that has anything shows one, failures KEPT; what is left goes round among the others, and to more
failures only then. A part that is cut tells in its last line what else there is. Where not even that is there, the last
parts are left out.

Columns give way in a fixed order, each down to some width or altogether, so a table of one size always looks the same; a
number is shown whole or not at all.
"""

from collections.abc import Mapping, Sequence

GAP = 2
"""Columns between two columns."""

KEPT = {"failures": 3}
"""Lines that a part keeps however much else there is; others keep one."""


def lines(counts: Mapping[str, int], room: int, *, heading: int) -> dict[str, int]:
    """Return how many lines each part has below its heading; a part that is missing has no room.

    Args:
        counts: What there is of each part, the most important part first.
        room: Lines on the screen.
        heading: Of each part; one that has nothing has a line that says so, and no more.
    """
    given: dict[str, int] = {}
    for part, count in counts.items():
        wanted = min(count, KEPT.get(part, 1))
        fits = min(wanted, room - heading) if count else 0
        if room < 1 or fits < min(wanted, 1):
            break
        given[part] = fits
        room -= heading + fits if count else 1
    for parts in (given.keys() - KEPT, given.keys() & KEPT):
        room = _dealt_out(given, [each for each in counts if each in parts], counts, room)
    return given


def _dealt_out(
    given: dict[str, int], parts: Sequence[str], counts: Mapping[str, int], room: int
) -> int:
    """Give lines to parts, one after the other, as long as there are some; return how many are left."""
    while room > 0 and (lacking := [each for each in parts if given[each] < counts[each]]):
        for part in lacking[:room]:
            given[part] += 1
        room -= len(lacking[:room])
    return room


def widths(natural: Sequence[int], steps: Sequence[tuple[int, int]], room: int) -> list[int]:
    """Return how wide each column is; 0: it is left out.

    Args:
        natural: What each would take.
        steps: Which column gives way, down to what width (0: altogether), one after the other as far as needed.
        room: For all, with the gaps between them.
    """
    found = list(natural)
    for column, least in steps:
        if (excess := _taken(found) - room) <= 0:
            break
        found[column] = max(least, found[column] - excess) if least else 0
    for column in reversed(range(len(found))):
        if _taken(found) <= room:
            break
        found[column] = 0
    for column, width in enumerate(
        found
    ):  # what left altogether may have left more than was needed
        if width:
            found[column] += min(natural[column] - width, max(0, room - _taken(found)))
    return found


def _taken(found: Sequence[int]) -> int:
    shown = [each for each in found if each]
    return sum(shown) + GAP * max(0, len(shown) - 1)
