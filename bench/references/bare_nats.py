"""A bare nats-py loop: windowed publishes, raw standing pulls, one durable result a task, then ack.

Two worker processes; the submitter publishes all tasks and waits until the result stream holds a
result of each. This is what JetStream and nats-py give with nothing around them: no jobs, no leases,
no retries, no duplicates refused.
"""

import asyncio
import json
import multiprocessing
from collections.abc import Callable, Coroutine
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from bench import servers, tasks, timing

WINDOW = 500
BATCH = 200


async def windowed(client: Client, count: int, message: Callable[[int], tuple[str, bytes]]) -> None:
    """Publish with a window of unanswered messages; return once all are stored."""
    inbox, slots, stored = client.new_inbox(), asyncio.Semaphore(WINDOW), asyncio.Event()
    left = count

    async def answered(_: Msg) -> None:
        nonlocal left
        slots.release()
        left -= 1
        if not left:
            stored.set()

    await client.subscribe(inbox, cb=answered)
    for number in range(count):
        await slots.acquire()
        subject, data = message(number)
        await client.publish(subject, data, reply=inbox)
    await stored.wait()


async def _worker(url: str) -> None:
    client = await nats.connect(url)
    inbox, replies = client.new_inbox(), client.new_inbox()
    asked = 0

    async def pull() -> None:
        nonlocal asked
        more, asked = BATCH - asked, BATCH
        request = json.dumps({"batch": more, "expires": 30 * 10**9}).encode()
        await client.publish("$JS.API.CONSUMER.MSG.NEXT.TASKS.all", request, reply=inbox)

    async def task(message: Msg) -> None:
        nonlocal asked
        if not message.reply:
            asked = 0
            await pull()
            return
        asked -= 1
        # The reply to the result's publish says that it is durable; its subject names the ack.
        await client.publish("result.x", message.data, reply=f"{replies}.{message.reply}")
        if asked <= BATCH // 2:
            await pull()

    async def stored(message: Msg) -> None:
        await client.publish(message.subject[len(replies) + 1 :], b"+ACK")

    await client.subscribe(f"{replies}.>", cb=stored)
    await client.subscribe(inbox, cb=task)
    await pull()
    await asyncio.Event().wait()


def _work(url: str) -> None:
    asyncio.run(_worker(url))


async def _main(url: str, asked: timing.Asked, start: Callable[[], None]) -> None:
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name="TASKS", subjects=["task.>"], retention="workqueue")
    await stream.add_stream(name="RESULTS", subjects=["result.>"])
    await stream.add_consumer(
        "TASKS", durable_name="all", ack_policy="explicit", max_ack_pending=-1
    )
    start()
    await _done(client, stream, tasks.WARM)
    with timing.measured(asked) as proof:
        proof.results = await _done(client, stream, tasks.WARM + asked.count) - tasks.WARM
    await client.close()


async def _done(client: Client, stream: JetStreamContext, total: int) -> int:
    """Submit what is missing to that many; return how many results are stored, once it is as many."""
    count = total - await _stored(stream)
    await windowed(client, count, lambda number: (f"task.{number}", tasks.PAYLOAD))
    while await _stored(stream) < total:
        await asyncio.sleep(0.01)
    return await _stored(stream)


async def _stored(stream: JetStreamContext) -> int:
    return (await stream.stream_info("RESULTS")).state.messages


def main() -> None:
    """Measure."""
    asked = timing.asked()
    with servers.nats(asked.server) as url:
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=_work, args=(url,), daemon=True) for _ in range(2)]

        def start() -> None:
            for each in workers:
                each.start()

        run: Coroutine[Any, Any, None] = _main(url, asked, start)
        asyncio.run(run)
        for each in workers:
            each.kill()


if __name__ == "__main__":
    main()
