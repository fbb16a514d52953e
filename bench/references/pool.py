"""multiprocessing.Pool(2), one task at a time: no broker, nothing durable, a ceiling."""

import multiprocessing

from bench import tasks, timing


def main() -> None:
    """Measure."""
    asked = timing.asked()
    work = tasks.WORK[asked.work]
    with (
        tasks.prepared(asked.work, asked.count) as (warm, payloads),
        multiprocessing.Pool(2) as pool,
    ):
        pool.map(work, warm)
        with timing.measured(asked) as proof:
            for _ in pool.imap_unordered(work, payloads, chunksize=1):
                proof.results += 1


if __name__ == "__main__":
    main()
