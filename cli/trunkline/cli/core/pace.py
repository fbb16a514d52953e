"""How fast something goes, and when it will have ended: from looks at how much of it is done.

The pace is that of the last WINDOW_S, so that a burst at the start promises nothing; until looks go back for
SHORT_S, it is the average since the beginning. What stands still has no pace, and no end that could be told.
"""

from collections import deque

WINDOW_S = 30.0
SHORT_S = 2.0
_UNITS = (("s", 1), ("min", 60), ("h", 3600))


class Pace:
    """The pace of one thing, such as the datums of a job.

    Invariant: looks are in the order of time, none but the oldest is older than the window.
    """

    def __init__(self) -> None:
        self._looks: deque[tuple[float, float]] = deque()

    def look(self, at_s: float, done: float) -> None:
        """Take it that so much was done at this time; what goes back begins anew."""
        looks = self._looks
        if looks and done < looks[-1][1]:
            looks.clear()
        looks.append((at_s, done))
        while len(looks) > 2 and looks[1][0] <= at_s - WINDOW_S:
            looks.popleft()

    def per_s(self, began_s: float = 0.0, begun_with: float = 0.0) -> float:
        """Return how much is done in a second by now.

        Args:
            began_s: When it all began, on the same clock; 0: only the looks count.
            begun_with: What was done then.
        """
        if not self._looks:
            return 0.0
        (first_s, first), (last_s, last) = self._looks[0], self._looks[-1]
        if last_s - first_s < SHORT_S and began_s:
            first_s, first = began_s, begun_with
        return max(0.0, last - first) / (last_s - first_s) if last_s > first_s else 0.0


def left_s(remaining: float, per_s: float) -> float | None:
    """Return the seconds until nothing remains; None if that cannot be told."""
    if remaining <= 0:
        return 0.0
    return remaining / per_s if per_s > 0 else None


def told(per_s: float) -> str:
    """Return a pace as people say it: 0.3/s, 42/s, 1,200/s; slow ones by the minute or hour."""
    if not per_s:
        return "-"
    unit, factor = next(each for each in _UNITS if per_s * each[1] >= 0.95 or each is _UNITS[-1])
    number = per_s * factor
    return f"{number:,.0f}/{unit}" if number >= 10 else f"{number:.1f}/{unit}"
