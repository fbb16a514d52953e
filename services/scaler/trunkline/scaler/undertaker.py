"""Sees to the workers that are gone: the hands of `core.reaping`.

What was not begun is given back first, by tasks of its own. What was begun goes to its ledger meanwhile, and is given
back after. Per worker these come in the order of the decisions, so that a withdrawal never overtakes its charge; last
its claim is closed, and people are told.

Killed between any two of these, the claim still stands: see `core.reaping`, where each of them is safe to repeat.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence

import msgspec

from trunkline.bus.ports import Connection
from trunkline.contracts import errors, messages, subjects
from trunkline.contracts.messages import Claim, Held
from trunkline.contracts.wards import Wards
from trunkline.contracts.wording import counted
from trunkline.runtime.clock import Clock
from trunkline.runtime.turns import Turns
from trunkline.scaler.charging import Charging
from trunkline.scaler.core import losses, reaping
from trunkline.scaler.core.losses import Deed, Key
from trunkline.scaler.counting import Counting
from trunkline.scaler.giving_back import GivingBack
from trunkline.scaler.telling import Telling

log = logging.getLogger(__name__)

Start = Callable[[Coroutine[object, object, None], str], None]
"""Begins work under a name, unless the process is being stopped."""


class Undertaker:
    """See the module.

    Args:
        connection: In the account DATA.
        telling: Stores events.
        wards: For subjects.
        clock: Both clocks.
        charging: Writes ledgers.
        giving_back: Gives leases back.
        counting: Who was lost.
        claim: The last claim of a living worker.
        start: Begins work.
    """

    def __init__(
        self,
        connection: Connection,
        telling: Telling,
        wards: Wards,
        clock: Clock,
        *,
        charging: Charging,
        giving_back: GivingBack,
        counting: Counting,
        claim: Callable[[Key], Claim | None],
        start: Start,
    ) -> None:
        self._connection, self._telling = connection, telling
        self._wards, self._clock = wards, clock
        self._charging, self._giving_back = charging, giving_back
        self._counting, self._claim, self._start = counting, claim, start
        self._turns = Turns()

    def see_to(self, key: Key, deeds: Sequence[Deed], silent_since_s: float | None = None) -> None:
        """Begin to do what was decided about a worker.

        Args:
            key: The worker.
            deeds: What is to be done, in order.
            silent_since_s: Its last word, if that it is gone is known from nothing else.
        """
        since_s = silent_since_s
        if since_s is None and any(isinstance(each, losses.Reaped) for each in deeds):
            since_s = self._clock.monotonic_s()
        unbegun: dict[tuple[str, str], list[Held]] = {}
        later: list[Deed] = []
        for deed in deeds:
            if isinstance(deed, losses.Nak):
                unbegun.setdefault((deed.pipeline, deed.held.job), []).append(deed.held)
            else:
                later.append(deed)
        for (pipeline, job), held in unbegun.items():
            self._start(self._giving_back.give(pipeline, job, held, since_s), f"nak-{key[1]}")
        if later:
            self._start(self._do_later(key, later, since_s), f"reap-{key[1]}")

    async def _do_later(self, key: Key, deeds: Sequence[Deed], since_s: float | None) -> None:
        async with self._turns.of(key):
            async with asyncio.TaskGroup() as tasks:
                for deed in deeds:
                    match deed:
                        case losses.Charge():
                            tasks.create_task(self._charge(deed, since_s), name="charge")
                        case losses.Withdraw():
                            tasks.create_task(self._charging.withdraw(deed), name="withdraw")
                        case losses.Excuse():
                            tasks.create_task(self._charging.excuse(deed), name="excuse")
                        case _:
                            continue
            for deed in deeds:
                match deed:
                    case losses.Close():
                        await self._close(key, deed)
                    case losses.Reaped():
                        await self._tell(deed)
                    case losses.Dismiss():
                        await self._dismiss(deed)
                    case _:
                        continue

    async def _charge(self, charge: losses.Charge, since_s: float | None) -> None:
        await self._charging.charge(charge)
        await self._giving_back.give(charge.pipeline, charge.held.job, [charge.held], since_s)

    async def _close(self, key: Key, close: losses.Close) -> None:
        if self._claim(key) is not None:
            return  # a new process has the name by now: its claim must stand
        pipeline, worker = key
        subject = subjects.claims(self._wards.of(pipeline), worker)
        empty = reaping.mark(close.claim, self._clock.wall_ns())
        with contextlib.suppress(errors.UnavailableError):
            await self._connection.publish(subject, messages.encode(empty))

    async def _dismiss(self, dismiss: losses.Dismiss) -> None:
        """Tell a former process to drain; it is told again with its next claim."""
        drain = messages.Drain(
            incarnation=dismiss.incarnation, reason="another process has its name"
        )
        subject = subjects.control(self._wards.of(dismiss.pipeline), dismiss.worker)
        with contextlib.suppress(errors.UnavailableError):
            await self._connection.publish(subject, messages.encode(drain))

    async def _tell(self, reaped: losses.Reaped) -> None:
        extra = {
            "pipeline": reaped.pipeline,
            "worker": reaped.worker,
            "reason": reaped.reason,
            "given_back": reaped.given_back,
            "charged": reaped.charged,
        }
        log.info("worker reaped", extra=extra)
        if not reaped.again:
            self._counting.lost(reaped.pipeline)
        event = messages.Event(
            kind="reaped",
            pipeline=reaped.pipeline,
            at_ns=self._clock.wall_ns(),
            source="scaler",
            text=(
                f"{reaped.worker} was lost ({reaped.reason}):"
                f" {counted(reaped.given_back, 'datum')} given back, {reaped.charged} charged an attempt"
            ),
            worker=reaped.worker,
            facts={"incarnation": msgspec.Raw(msgspec.json.encode(reaped.incarnation))},
        )
        await self._telling.tell(event)
