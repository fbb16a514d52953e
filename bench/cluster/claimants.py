"""Stand-ins for the agents of pods that run nothing: they claim, and drain when they are told to.

Which pods run they see by a watch of their own. One connection claims for all of them.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from trunkline.bus.ports import Connection, Message
from trunkline.contracts import messages, subjects
from trunkline.contracts.messages import HEARTBEAT_S, Claim
from trunkline.contracts.wards import Ward
from trunkline.runtime.clock import SystemClock
from trunkline.scaler.kubernetes import reading
from trunkline.scaler.kubernetes.api import Api
from trunkline.scaler.kubernetes.cache import Cache
from trunkline.scaler.kubernetes.informer import Informer
from trunkline.scaler.kubernetes.reading import PodView


class Claimants:
    """The stand-ins of one pipeline's pods."""

    def __init__(self, connection: Connection, ward: Ward) -> None:
        self._connection, self._ward = connection, ward
        self._living: dict[str, PodView] = {}
        self._draining: set[str] = set()
        self._new: asyncio.Queue[PodView] = asyncio.Queue()

    def told(self, before: PodView | None, after: PodView | None) -> None:
        """Take note of a pod."""
        pod = after or before
        if pod is None or pod.pipeline != self._ward.pipeline:
            return
        if after is None or after.deleting or after.ended:
            self._living.pop(pod.uid, None)
        elif after.running and after.uid not in self._living:
            self._living[after.uid] = after
            self._new.put_nowait(after)

    async def run(self) -> None:
        """Claim for ever."""
        control = subjects.control_of(self._ward)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._connection.serve(control, self._told_to_drain), name="drains")
            tasks.create_task(self._greet(), name="greet")
            while True:
                await asyncio.sleep(HEARTBEAT_S)
                for pod in list(self._living.values()):
                    await self._claim(pod)

    async def _greet(self) -> None:
        while True:
            await self._claim(await self._new.get())

    async def _told_to_drain(self, message: Message) -> None:
        name = message.subject.rpartition(".")[2]
        for pod in [each for each in self._living.values() if each.worker == name]:
            self._draining.add(pod.uid)
            await self._claim(pod)

    async def _claim(self, pod: PodView) -> None:
        claim = Claim(
            worker=pod.worker,
            incarnation=pod.uid.replace("-", "")[:16],
            code_hash=pod.code_hash,
            slots=1,
            draining=pod.uid in self._draining,
            pulled_ns=1,
        )
        subject = subjects.claims(self._ward, pod.worker)
        await self._connection.publish(subject, messages.encode(claim))


@asynccontextmanager
async def standing_in(connection: Connection, ward: Ward, api: Api) -> AsyncIterator[Claimants]:
    """Run them."""
    made = Claimants(connection, ward)
    pods: Informer[PodView] = Informer(
        "pods",
        Cache(reading.pod, made.told),
        api.list_pods,
        api.watch_pods,
        clock=SystemClock(),
        tick=itertools.count(1).__next__,
        woken=lambda: None,
    )
    async with asyncio.TaskGroup() as tasks:
        both = [
            tasks.create_task(pods.run(), name="pods"),
            tasks.create_task(made.run(), name="claims"),
        ]
        try:
            yield made
        finally:
            for each in both:
                each.cancel()
