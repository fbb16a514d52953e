"""taskiq over JetStream: a pull broker, two worker processes, results in Redis, looked for each 10 ms.

Its loops are asynchronous; the task blocks them, which costs least where one runs at a time. Batches
of more than one message hang with this version, so there are none.
"""

import asyncio
import os
import subprocess
import sys

from taskiq import AsyncTaskiqDecoratedTask
from taskiq_nats import PullBasedJetStreamBroker
from taskiq_redis import RedisAsyncResultBackend

from bench import servers, tasks, timing

NATS, REDIS = "BENCH_NATS", "BENCH_REDIS"
LOOK_S = 0.01
AT_ONCE = {"noop": 100, "sleep": 1, "copy": 1}


async def work(kind: str, payload: str) -> int:
    """Do one task."""
    return tasks.WORK[kind](payload.encode())


def connected(nats: str, redis: str) -> PullBasedJetStreamBroker:
    """Return the broker between these servers, which knows the task."""
    found = PullBasedJetStreamBroker(nats, subject="tasks")
    found.register_task(work, task_name="work")
    return found.with_result_backend(RedisAsyncResultBackend(redis))


broker = connected(os.environ.get(NATS, "nats://unknown"), os.environ.get(REDIS, "redis://unknown"))
"""What a worker process takes tasks from."""


async def _submit(task: AsyncTaskiqDecoratedTask, kind: str, payloads: list[bytes]) -> int:
    asked = [await task.kiq(kind, each.decode()) for each in payloads]
    results = [await each.wait_result(check_interval=LOOK_S, timeout=120) for each in asked]
    return sum(not each.is_err for each in results)


async def _main(asked: timing.Asked, nats: str, redis: str) -> None:
    client = connected(nats, redis)
    task = client.find_task("work")
    await client.startup()
    with tasks.prepared(asked.work, asked.count) as (warm, payloads):
        await _submit(task, asked.work, warm)
        with timing.measured(asked) as proof:
            proof.results = await _submit(task, asked.work, payloads)
    await client.shutdown()


def main() -> None:
    """Measure."""
    asked = timing.asked()
    options = ["--workers", "2", "--max-async-tasks", str(AT_ONCE[asked.work])]
    command = [sys.executable, "-m", "taskiq", "worker", f"{__spec__.name}:broker", *options]
    with servers.nats(asked.server) as nats, servers.redis() as redis:
        told = {**os.environ, NATS: nats, REDIS: redis}
        silent = subprocess.DEVNULL
        with subprocess.Popen(command, env=told, stdout=silent, stderr=silent) as worker:
            try:
                asyncio.run(_main(asked, nats, redis))
            finally:
                worker.terminate()
                worker.wait()


if __name__ == "__main__":
    main()
