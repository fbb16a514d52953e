"""Ray on two processors."""

import tempfile

import ray

from bench import tasks, timing


def main() -> None:
    """Measure."""
    asked = timing.asked()
    work = ray.remote(tasks.WORK[asked.work])
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        tasks.prepared(asked.work, asked.count) as (warm, payloads),
    ):
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
        ray.get([work.remote(each) for each in warm])
        with timing.measured(asked) as proof:
            proof.results = len(ray.get([work.remote(each) for each in payloads]))
        ray.shutdown()


if __name__ == "__main__":
    main()
