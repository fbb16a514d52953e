"""When a pipeline whose workers do not come up may try again.

A first failure costs nothing: a worker that dies is replaced at once. Failures in a row (the
cluster refuses, or workers end before they ever said a word) double the wait, up to MOST_S. A worker
that dies at work is no failure to start: its datum is charged for it, not the pipeline.
"""

FIRST_S = 0.5
MOST_S = 30.0
STEADY_S = 10.0
"""Seconds without a failure, with all workers there, after which earlier ones are forgotten."""


class Starts:
    """The failures of one pipeline in a row."""

    def __init__(self) -> None:
        self.problem = ""
        """The last cause, for people; empty while all is well."""
        self._failures = 0
        self._failed_s = 0.0
        self._next_s = 0.0

    def failed(self, cause: str, now_s: float) -> None:
        """Note that a worker could not be started or ended before it was ready."""
        self.problem = cause
        self._failures += 1
        self._failed_s = now_s
        if self._failures > 1:
            self._next_s = now_s + min(MOST_S, FIRST_S * 2 ** min(self._failures - 2, 20))

    def steady(self, now_s: float) -> None:
        """Note that all workers are there and ready."""
        if self._failures and now_s - self._failed_s >= STEADY_S:
            self._failures = 0
            self.problem = ""

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until a worker may be started; 0 for now."""
        return max(0.0, self._next_s - now_s)
