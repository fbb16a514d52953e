"""FastStream over JetStream: a pull subscriber, two worker processes, results by core publish.

Batches of 100 where tasks are nothing, else one: a batch is done together, and a longer task would
keep the others from the second process.
"""

import asyncio
import multiprocessing

import nats
from faststream import FastStream
from faststream.nats import JStream, NatsBroker, PullSub
from nats.aio.client import Client
from nats.aio.msg import Msg

from bench import servers, tasks, timing

WINDOW = 200
BATCH = {"noop": 100, "sleep": 1, "copy": 1}


def work(url: str, kind: str) -> None:
    """Run one worker process."""
    broker = NatsBroker(url, logger=None)

    @broker.subscriber(
        "task.x",
        durable="all",
        stream=JStream("TASKS", declare=False),
        pull_sub=PullSub(batch_size=BATCH[kind]),
    )
    async def _task(payload: bytes) -> None:
        await broker.publish(str(tasks.WORK[kind](payload)), "result")

    asyncio.run(FastStream(broker, logger=None).run())


class Submitter:
    """Publishes tasks with a window of unanswered ones, and counts results."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._slots = asyncio.Semaphore(WINDOW)
        self._got = 0
        self._inbox = client.new_inbox()

    async def start(self) -> None:
        """Listen."""
        await self._client.subscribe("result", cb=self._result)
        await self._client.subscribe(self._inbox, cb=self._stored)

    async def submit(self, payloads: list[bytes]) -> int:
        """Have all done; return the number of results."""
        before = self._got
        for each in payloads:
            await self._slots.acquire()
            await self._client.publish("task.x", each, reply=self._inbox)
        while self._got < before + len(payloads):
            await asyncio.sleep(0.005)
        return self._got - before

    async def _result(self, _: Msg) -> None:
        self._got += 1

    async def _stored(self, _: Msg) -> None:
        self._slots.release()


async def _main(url: str, asked: timing.Asked, workers: list[multiprocessing.Process]) -> None:
    client = await nats.connect(url)
    await client.jetstream().add_stream(name="TASKS", subjects=["task.>"])
    submitter = Submitter(client)
    await submitter.start()
    for each in workers:
        each.start()
    with tasks.prepared(asked.work, asked.count) as (warm, payloads):
        await submitter.submit(warm * 4)
        with timing.measured(asked) as proof:
            proof.results = await submitter.submit(payloads)
    await client.close()


def main() -> None:
    """Measure."""
    asked = timing.asked()
    with servers.nats(asked.server) as url:
        context = multiprocessing.get_context("spawn")
        told = (url, asked.work)
        workers = [context.Process(target=work, args=told, daemon=True) for _ in range(2)]
        asyncio.run(_main(url, asked, workers))
        for each in workers:
            each.kill()


if __name__ == "__main__":
    main()
