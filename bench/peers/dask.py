"""Dask, two processes of one thread, with its usual settings."""

from dask.distributed import Client, LocalCluster, as_completed

from bench import timing


def work(number: int, payload: bytes) -> int:
    """Do nothing."""
    return number + len(payload)


def main() -> None:
    """Measure."""
    asked = timing.arguments()
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.gather(client.map(work, range(10), payload=timing.PAYLOAD))
        with timing.measured(asked.count):
            tasks = client.map(work, range(1000, 1000 + asked.count), payload=timing.PAYLOAD)
            for _ in as_completed(tasks):
                pass


if __name__ == "__main__":
    main()
