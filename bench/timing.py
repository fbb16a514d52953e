"""What every reference and peer does alike: time a body, and print one line of JSON.

Only the standard library is used here: peers run in virtual environments of their own. Start-up and
a first warm-up task are outside the clock; submission and the last result are inside.
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench import processes

PAYLOAD = b"x" * 200


def arguments() -> argparse.Namespace:
    """Return what the bench asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--server", default="", help="program of the nats-server, where needed")
    parser.add_argument("--sleep", type=float, default=0.0, help="seconds that a task sleeps")
    return parser.parse_args()


@contextmanager
def measured(count: int) -> Iterator[None]:
    """Measure the body, and tell."""
    before, began = processes.usage(), time.perf_counter()
    yield
    seconds, after = time.perf_counter() - began, processes.usage()
    figures = {
        "count": count,
        "seconds": seconds,
        "cpu_s": after.cpu_s - before.cpu_s,
        "rss_bytes": after.rss_bytes,
    }
    print(json.dumps(figures), flush=True)
