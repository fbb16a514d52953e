"""How fast the API server is asked for changes: a token bucket that a server's word can hold."""

import asyncio

from trunkline.runtime.clock import Clock


class Pace:
    """So many requests at once, then so many a second.

    Args:
        per_s: Tokens that come back each second.
        burst: Tokens at most.
        clock: What time it is.
    """

    def __init__(self, per_s: float, burst: int, clock: Clock) -> None:
        self._per_s, self._burst, self._clock = per_s, float(burst), clock
        self._tokens, self._at_s = float(burst), clock.monotonic_s()
        self._not_before_s = 0.0

    def hold(self, seconds: float) -> None:
        """Ask for nothing for so long: the server said so."""
        self._not_before_s = max(self._not_before_s, self._clock.monotonic_s() + seconds)

    def take(self) -> float:
        """Take one token; return the seconds to wait before it may be used."""
        now_s = self._clock.monotonic_s()
        self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        self._tokens -= 1
        behind_s = -self._tokens / self._per_s if self._tokens < 0 else 0.0
        return max(behind_s, self._not_before_s - now_s, 0.0)

    def spare(self) -> bool:
        """Take a token if there is one; say whether there was."""
        if self.take() > 0:
            self._tokens += 1
            return False
        return True

    async def turn(self) -> None:
        """Wait for our turn."""
        await asyncio.sleep(self.take())
