"""The two clocks, as arguments: cores take `now`, edges take one of these, tests bring their own."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where a service reads the time."""

    def wall_ns(self) -> int:
        """Return nanoseconds since the epoch: to show and to store, never to measure by."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds that never go back: to measure and to wait by."""
        ...


class SystemClock:
    """The machine's clocks."""

    def wall_ns(self) -> int:
        """Return nanoseconds since the epoch."""
        return time.time_ns()

    def monotonic_s(self) -> float:
        """Return seconds of the monotonic clock."""
        return time.monotonic()
