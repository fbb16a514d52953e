"""How long a kubelet waits before it tries again: 10 s, doubled each time, 300 s at most.

The first restart of a container is free of it; after ten minutes of running the count begins anew.
"""

_FIRST_S, _MOST_S, _FORGIVEN_AFTER_S = 10.0, 300.0, 600.0


def delay_s(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row, at least one."""
    return min(_MOST_S, _FIRST_S * 2.0 ** min(failures - 1, 10))


class Restarts:
    """The restarts of one container."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def ended(self, ran_s: float) -> float:
        """Take note of an end; return the seconds to wait before the container is started again."""
        if ran_s > _FORGIVEN_AFTER_S:
            self._in_a_row = 0
        self._in_a_row += 1
        return 0.0 if self._in_a_row == 1 else delay_s(self._in_a_row - 1)
