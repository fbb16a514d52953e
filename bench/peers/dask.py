"""Dask: two processes of one thread.

A worker is given all that there is to do (`worker-saturation: inf`) where tasks are nothing, which
makes them three times as fast; else two tasks as usual, so that none waits behind a longer one.
"""

import dask
from dask.distributed import Client, LocalCluster, as_completed

from bench import tasks, timing


def main() -> None:
    """Measure."""
    asked = timing.asked()
    work = tasks.WORK[asked.work]
    if asked.work == "noop":
        dask.config.set({"distributed.scheduler.worker-saturation": "inf"})
    with (
        tasks.prepared(asked.work, asked.count) as (warm, payloads),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        # `pure=False`: tasks that look alike are still tasks of their own.
        client.gather(client.map(work, warm, pure=False))
        with timing.measured(asked) as proof:
            for _ in as_completed(client.map(work, payloads, pure=False)):
                proof.results += 1


if __name__ == "__main__":
    main()
