"""Back-off: how long to wait before something that failed is tried again."""

import random


def delay_s(failures: int, *, first_s: float = 0.1, most_s: float = 10.0) -> float:
    """Return the seconds to wait after so many failures in a row: doubling, with 50 % jitter.

    The jitter keeps workers that failed together from coming back together.
    """
    full = min(most_s, first_s * 2 ** min(failures, 30))
    return float(full * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
