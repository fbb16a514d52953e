"""Listing windows: which stretch of indexes is listed, looked up and published as one.

Windows are a function of the index alone, never of when a listing was interrupted: the first holds
FIRST datums, so that work begins at once, each next one twice as many, up to MOST. So a job that is
listed again has the same windows, `Job.skipped[n]` is always about window n, and the end of the
window that `listed_to` stands at bounds what may have been published by whoever came before.
"""

from itertools import count

FIRST = 64
MOST = 8192

_DOUBLINGS = (MOST // FIRST).bit_length() - 1
_STEADY = FIRST * ((1 << _DOUBLINGS) - 1)
"""Where the windows have come to their full size."""


def start(window: int) -> int:
    """Return the first index of a window, by its number from 0."""
    if window <= _DOUBLINGS:
        return FIRST * ((1 << window) - 1)
    return _STEADY + MOST * (window - _DOUBLINGS)


def number(index: int) -> int:
    """Return the number of the window that an index lies in."""
    if index >= _STEADY:
        return _DOUBLINGS + (index - _STEADY) // MOST
    return next(window for window in count() if index < start(window + 1))


def end(index: int) -> int:
    """Return the index after the window that an index lies in."""
    return start(number(index) + 1)
