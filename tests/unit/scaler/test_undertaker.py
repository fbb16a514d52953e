"""What is counted of workers that are gone."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from tests.support.memory import LoopClock, MemoryBus
from tests.support.wards import WARDS

from trunkline.contracts.messages import Held
from trunkline.runtime import metric_names as names
from trunkline.runtime.metrics import together
from trunkline.scaler.charging import Charging
from trunkline.scaler.core.losses import Nak, Reaped
from trunkline.scaler.counting import Counting
from trunkline.scaler.giving_back import GivingBack
from trunkline.scaler.telling import Telling
from trunkline.scaler.undertaker import Undertaker

KEY = ("edges", "w-0")


async def test_a_worker_is_lost_once_however_often_something_of_its_is_given_back() -> None:
    counting, bus, clock = Counting(), MemoryBus(), LoopClock()

    async def deliveries(*_: str) -> int | None:
        return 9

    async with asyncio.TaskGroup() as tasks:

        def start(work: Coroutine[Any, Any, None], name: str) -> None:
            tasks.create_task(work, name=name)

        undertaker = Undertaker(
            bus,
            Telling(bus),
            WARDS,
            clock,
            charging=Charging(bus, bus, WARDS, clock, lambda *_: True, start),
            giving_back=GivingBack(bus, deliveries, clock, counting),
            counting=counting,
            claim=lambda _: None,
            start=start,
        )
        for sequence, again in ((1, False), (2, True)):
            lease = Held(job="b" * 32, sequence=sequence, index=0, generation=1, executing=False)
            told = Reaped(*KEY, "one", "its process is gone", 1, 0, again)
            undertaker.see_to(KEY, [Nak(KEY[0], lease, KEY[1]), told])
    found = {metric: value for metric, _, value in together([lambda: counting.samples([])])}
    assert found[names.WORKERS_LOST] == 1
    assert found[names.GIVEN_BACK] == 2
