"""Celery on Redis: two prefork processes, acknowledged after the work, results by `group().get()`.

Redis writes nothing to disk here; a task that is lost with it is lost.
"""

import os
import subprocess
import sys

import celery

from bench import servers, tasks, timing

URL = "BENCH_REDIS"
PREFETCH = {"noop": 64, "sleep": 1, "copy": 1}
"""How many tasks each process holds: many where they are nothing, else none beside the running."""

app = celery.Celery("bench", broker=os.environ.get(URL), backend=os.environ.get(URL))
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=int(os.environ.get("BENCH_PREFETCH", "1")),
)


@app.task(name="work")
def work(kind: str, payload: str) -> int:
    """Do one task; messages are JSON, as usual."""
    return tasks.WORK[kind](payload.encode())


def submit(kind: str, payloads: list[bytes]) -> int:
    """Have all done; return the number of results."""
    made = celery.group(work.s(kind, each.decode()) for each in payloads).apply_async()
    return len(made.get())


def main() -> None:
    """Measure."""
    asked = timing.asked()
    with servers.redis() as url, tasks.prepared(asked.work, asked.count) as (warm, payloads):
        told = {**os.environ, URL: url, "BENCH_PREFETCH": str(PREFETCH[asked.work])}
        options = ["-c", "2", "--loglevel", "ERROR", "--without-gossip", "--without-mingle"]
        command = [sys.executable, "-m", "celery", "-A", __spec__.name, "worker", *options]
        app.conf.update(broker_url=url, result_backend=url)
        silent = subprocess.DEVNULL
        command.append("--without-heartbeat")
        with subprocess.Popen(command, env=told, stdout=silent, stderr=silent) as worker:
            try:
                submit(asked.work, warm)
                with timing.measured(asked) as proof:
                    proof.results = submit(asked.work, payloads)
            finally:
                worker.terminate()
                worker.wait()


if __name__ == "__main__":
    main()
