"""multiprocessing.Pool(2), one task at a time: no broker, nothing durable, a ceiling."""

import functools
import multiprocessing
import time

from bench import timing


def work(seconds: float, payload: bytes) -> int:
    """Do nothing for a while."""
    if seconds:
        time.sleep(seconds)
    return len(payload)


def main() -> None:
    """Measure."""
    asked = timing.arguments()
    task = functools.partial(work, asked.sleep)
    with multiprocessing.Pool(2) as pool:
        pool.map(task, [timing.PAYLOAD] * 100)
        payloads = (timing.PAYLOAD for _ in range(asked.count))
        with timing.measured(asked.count):
            for _ in pool.imap_unordered(task, payloads, chunksize=1):
                pass


if __name__ == "__main__":
    main()
