"""Which runs of a done index are merged into one, so that there are few and each byte moves rarely."""

from collections.abc import Sequence

MOST = 8
"""Runs that an index may have: each look-up goes through all of them."""


def newest_to_merge(counts: Sequence[int]) -> int:
    """Return how many of the newest runs to merge into one; 0 while there are few enough.

    The newest runs are taken together as long as the next older one is no more than twice as large
    as they are, and at least until few enough are left. So a run is merged only into one that is a
    good part larger than itself, and an entry moves a logarithmic number of times.

    Args:
        counts: Entries of the runs, oldest first.
    """
    if len(counts) <= MOST:
        return 0
    merged, total = 0, 0
    for count in reversed(counts):
        enough = merged > 1 and len(counts) - merged + 1 <= MOST
        if enough and count > 2 * total:
            break
        merged += 1
        total += count
    return merged
