"""Puts outcomes without an end, many at once, and prints the index of each that is stored.

python outcome_putter.py URL PIPELINE WARD WORKER JOB
"""

import asyncio
import itertools
import sys

from trunkline.bus.connection import connect
from trunkline.bus.firsts import Firsts
from trunkline.bus.publishing import Window
from trunkline.contracts import subjects
from trunkline.contracts.wards import Ward

AT_ONCE = 200


async def put(url: str, pipeline: str, token: str, worker: str, job: str) -> None:
    ward = Ward(pipeline, token)
    indices = itertools.count()
    async with connect(url, name=worker, inbox=subjects.worker_inbox(ward, worker)) as connection:
        firsts = Firsts(connection, Window(connection))

        async def one_after_the_other() -> None:
            for index in indices:
                subject = subjects.outcome(ward, job, index, 1)
                if await firsts.put(subject, worker.encode()) is None:
                    sys.stdout.write(f"{index}\n")
                    sys.stdout.flush()

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(one_after_the_other(), name="put")


if __name__ == "__main__":
    asyncio.run(put(*sys.argv[1:]))
