"""Ray on two processors."""

import ray

from bench import timing


@ray.remote
def work(payload: bytes) -> int:
    """Do nothing."""
    return len(payload)


def main() -> None:
    """Measure."""
    asked = timing.arguments()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray.get([work.remote(timing.PAYLOAD) for _ in range(100)])
    with timing.measured(asked.count):
        ray.get([work.remote(timing.PAYLOAD) for _ in range(asked.count)])
    ray.shutdown()


if __name__ == "__main__":
    main()
