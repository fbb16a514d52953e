"""A raw worker: takes so many datums, claims them, begins the first one, and sits there.

    python lease_holder.py URL PIPELINE WARD WORKER JOB COUNT

It renews nothing. What it prints is `ready` once its claim is with the server; on a line of input
it says good-bye and closes.
"""

import asyncio
import sys
import time

from trunkline.bus.connection import connect
from trunkline.bus.ports import Delivery
from trunkline.bus.pulls import StandingPull
from trunkline.contracts import messages, subjects
from trunkline.contracts.messages import Claim, Held
from trunkline.contracts.wards import Ward


async def hold(url: str, ward: Ward, worker: str, job: str, count: int) -> None:
    taken: list[Delivery] = []
    enough = asyncio.Event()

    def take(delivery: Delivery) -> None:
        taken.append(delivery)
        if len(taken) == count:
            enough.set()

    inbox = subjects.worker_inbox(ward, worker)
    async with connect(url, name=worker, inbox=inbox) as connection:
        if count:
            pull = StandingPull(connection, subjects.datums_stream(ward.pipeline), job, take)
            pull.start()
            pull.want(count)
            await enough.wait()
            pull.want(0)
        held = tuple(
            Held(
                job=job,
                sequence=delivery.sequence,
                index=messages.decode("", delivery.data, messages.DatumTask).index,
                generation=1,
                executing=number == 0,
                since_ns=time.time_ns() if number == 0 else 0,
            )
            for number, delivery in enumerate(taken)
        )
        claim = Claim(worker=worker, incarnation="raw", code_hash="c", slots=1, held=held)
        subject = subjects.claims(ward, worker)
        await connection.publish(subject, messages.encode(claim))
        await connection.flush()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        bye = Claim(worker=worker, incarnation="raw", code_hash="c", slots=1, closing=True)
        for delivery in taken:
            await delivery.nak()
        await connection.publish(subject, messages.encode(bye))


if __name__ == "__main__":
    url, pipeline, token, worker, job, count = sys.argv[1:]
    asyncio.run(hold(url, Ward(pipeline, token), worker, job, int(count)))
