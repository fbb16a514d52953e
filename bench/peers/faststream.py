"""FastStream over JetStream: a pull subscriber with batches of 100, results by core publish."""

import asyncio
import multiprocessing
from typing import Any

import nats
from faststream import FastStream
from faststream.nats import JStream, NatsBroker, PullSub
from nats.aio.msg import Msg

from bench import servers, timing

WINDOW = 200


def work(url: str) -> None:
    """Run one worker process."""
    broker = NatsBroker(url, logger=None)

    @broker.subscriber(
        "task.x",
        durable="all",
        stream=JStream("TASKS", declare=False),
        pull_sub=PullSub(batch_size=100),
    )
    async def _task(payload: bytes) -> None:
        await broker.publish(str(len(payload)), "result")

    asyncio.run(FastStream(broker, logger=None).run())


async def _main(url: str, count: int, workers: list[Any]) -> None:
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name="TASKS", subjects=["task.>"])
    got, slots = 0, asyncio.Semaphore(WINDOW)

    async def result(_: Msg) -> None:
        nonlocal got
        got += 1

    async def answered(_: Msg) -> None:
        slots.release()

    await client.subscribe("result", cb=result)
    inbox = client.new_inbox()
    await client.subscribe(inbox, cb=answered)
    for each in workers:
        each.start()

    async def submit(number: int) -> None:
        wanted = got + number
        for _ in range(number):
            await slots.acquire()
            await client.publish("task.x", timing.PAYLOAD, reply=inbox)
        while got < wanted:
            await asyncio.sleep(0.005)

    await submit(400)
    with timing.measured(count):
        await submit(count)
    await client.close()


def main() -> None:
    """Measure."""
    asked = timing.arguments()
    with servers.nats(asked.server) as url:
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=work, args=(url,), daemon=True) for _ in range(2)]
        asyncio.run(_main(url, asked.count, workers))
        for each in workers:
            each.kill()


if __name__ == "__main__":
    main()
