"""Hears which workers are there and which are gone, within milliseconds: the ears of `core.reaping`.

It hears claims, and the server's own word about connections: `client.user` in those events is what
the server has authenticated, so it decides the pipeline; `client.name` is what the client said, so
it only picks a worker of that pipeline. What is to be done about it, the `undertaker` does.

All that it knows is a cache of the stored claims: it reads them when it begins and whenever some may have
been missed. Killed between what it hears and what follows, its successor finds the claim still standing, and
nobody who renews it.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Protocol

from trunkline.bus.ports import Connection, Message, Publisher, Stored
from trunkline.contracts import errors, subjects
from trunkline.contracts.messages import Claim
from trunkline.contracts.states import Cause
from trunkline.contracts.wards import Wards
from trunkline.runtime import backoff
from trunkline.runtime.clock import Clock
from trunkline.scaler import hearing
from trunkline.scaler.charging import Charging
from trunkline.scaler.core import losses
from trunkline.scaler.core.losses import Deed, Effect, Key
from trunkline.scaler.core.reaping import Reaping
from trunkline.scaler.counting import Counting
from trunkline.scaler.giving_back import Deliveries, GivingBack
from trunkline.scaler.telling import Telling
from trunkline.scaler.undertaker import Undertaker

log = logging.getLogger(__name__)

SWEEP_S = 1.0
"""Seconds between looks for workers that nobody has heard of."""


class DataConnection(Connection, Protocol):
    """A connection that can also read the last messages of many subjects at once."""

    async def scan(self, stream: str, subject_filter: str) -> list[Stored]:
        """Return the last message of every subject that matches."""
        ...


class Reaper:
    """Follows claims and connections.

    Args:
        connection: In the account DATA.
        publisher: On the same connection.
        telling: Stores events.
        wards: What is claimed under another is nobody's claim.
        clock: Both clocks.
        deliveries: How a nak is made valid.
        live: (pipeline, job) -> whether a charge still means something.
        wake: Called when a worker's claim changes what may be planned.
        told: Is handed each claim, a last one, too.
        counting: What was lost and given back.
    """

    def __init__(
        self,
        connection: DataConnection,
        publisher: Publisher,
        telling: Telling,
        wards: Wards,
        *,
        clock: Clock,
        deliveries: Deliveries,
        live: Callable[[str, str], bool],
        wake: Callable[[], None],
        told: Callable[[Key, Claim], None] = lambda *_: None,
        counting: Counting | None = None,
    ) -> None:
        self._connection = connection
        self._wards, self._clock = wards, clock
        self.lost = asyncio.Event()
        """Set when a worker was lost: there may be leases that its claim does not tell of."""
        self._wake, self._told = wake, told
        self._core = Reaping()
        counting = counting or Counting()
        self._undertaker = Undertaker(
            connection,
            telling,
            wards,
            clock,
            charging=Charging(connection, publisher, wards, clock, live, self._start),
            giving_back=GivingBack(connection, deliveries, clock, counting),
            counting=counting,
            claim=self._core.claim,
            start=self._start,
        )
        self._tasks: asyncio.TaskGroup | None = None
        self._listed: Collection[Key] | None = None
        self._loaded = asyncio.Event()
        self._reload = asyncio.Event()
        self._heard_since_reload: set[Key] = set()

    async def run(self) -> None:
        """Reap for ever."""
        ends = self._connection.on_reconnect(self._reconnected)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await self._connection.serve(subjects.disconnects(self._wards), self._on_disconnect)
                await self._connection.serve(subjects.connects(self._wards), self._on_connect)
                await self._connection.serve(subjects.CLAIMS, self._on_claim)
                tasks.create_task(self._load_forever(), name="load-claims")
                tasks.create_task(self._sweep_forever(), name="sweep")
                try:
                    await self._connection.closed()
                finally:
                    self._tasks = None  # what is heard from now on starts nothing
        finally:
            ends()

    async def loaded(self) -> None:
        """Return once all claims are known that were stored at the start."""
        await self._loaded.wait()

    def claim(self, key: Key) -> Claim | None:
        """Return the last claim of a living worker."""
        return self._core.claim(key)

    def living(self) -> list[tuple[Key, Claim]]:
        """Return all workers that are not lost, with their last claims."""
        return self._core.living()

    def heard_s(self, key: Key) -> float | None:
        """Return when a living worker was last heard of, on the clock that never goes back."""
        return self._core.heard_s(key)

    async def process_gone(
        self,
        key: Key,
        reason: str,
        cause: Cause = Cause.WORKER_LOST,
        *,
        instance: str = "",
        again: bool = False,
    ) -> None:
        """The cluster says that a worker's process is gone, and what its attempts are put down to."""
        now_s = self._clock.monotonic_s()
        event = losses.ProcessGone(key, reason, now_s, cause, instance, again)
        self._do(key, self._core.handle(event))
        self.lost.set()

    def listed(self, keys: Collection[Key] | None) -> None:
        """Say which workers the cluster lists; None while it does not answer."""
        self._listed = keys

    # --- ears -------------------------------------------------------------------------------------

    async def _on_claim(self, message: Message) -> None:
        heard = hearing.claim(self._wards, message.subject, message.data)
        if heard is None:
            return
        key, claim = heard
        self._heard_since_reload.add(key)
        self._told(key, claim)
        before = self._core.claim(key)
        event = losses.ClaimHeard(key, claim, self._clock.monotonic_s())
        self._do(key, self._core.handle(event))
        if _matters(before, self._core.claim(key)):
            self._wake()

    async def _on_connect(self, message: Message) -> None:
        event = hearing.client_event(message)
        if event is not None and event.key is not None:
            now_s = self._clock.monotonic_s()
            connected = losses.Connected(event.key, event.connection, now_s, event.new)
            self._do(event.key, self._core.handle(connected))

    async def _on_disconnect(self, message: Message) -> None:
        event = hearing.client_event(message)
        if event is not None and event.key is not None:
            now_s = self._clock.monotonic_s()
            lost = losses.Disconnected(event.key, event.connection, event.reason, now_s)
            self._do(event.key, self._core.handle(lost))
            self.lost.set()
            self._wake()

    def _reconnected(self) -> None:
        self._core.handle(losses.Reconnected(self._clock.monotonic_s()))
        self._reload.set()

    async def _load_forever(self) -> None:
        """Read all stored claims, at the start and whenever some may have been missed."""
        failures = 0
        while True:
            self._reload.clear()
            self._heard_since_reload.clear()
            try:
                found = await self._connection.scan(subjects.CLAIMS_STREAM, subjects.CLAIMS)
            except errors.UnavailableError:
                failures += 1
                await asyncio.sleep(backoff.delay_s(failures))
                continue
            failures = 0
            for stored in found:
                heard = hearing.claim(self._wards, stored.subject, stored.data)
                if heard is not None and heard[0] not in self._heard_since_reload:
                    self._take_stored(*heard)
            self._loaded.set()
            self._wake()
            await self._reload.wait()

    async def _sweep_forever(self) -> None:
        await self._loaded.wait()
        while True:
            await asyncio.sleep(SWEEP_S)
            if not self._connection.connected:
                continue  # whoever is silent now may be so because we are deaf
            event = losses.Tick(self._clock.monotonic_s(), self._listed)
            heard_s = {key: self._core.heard_s(key) for key, _ in self._core.living()}
            by_key: dict[Key, list[Effect]] = {}
            for effect in self._core.handle(event):
                by_key.setdefault(_key(effect), []).append(effect)
            for key, effects in by_key.items():
                self._do(key, effects, silent_since_s=heard_s.get(key))

    def _take_stored(self, key: Key, claim: Claim) -> None:
        self._told(key, claim)
        known = self._core.claim(key)
        same = known is not None and known.incarnation == claim.incarnation
        if claim.closing or (known is not None and same and known.number >= claim.number):
            return
        event = losses.ClaimHeard(key, claim, self._clock.monotonic_s())
        self._do(key, self._core.handle(event))

    # --- what follows -----------------------------------------------------------------------------

    def _do(self, key: Key, effects: Sequence[Effect], silent_since_s: float | None = None) -> None:
        deeds: list[Deed] = []
        for effect in effects:
            if isinstance(effect, losses.LookUp):
                self._start(self._look_up(key, effect), f"look-up-{key[1]}")
            else:
                deeds.append(effect)
        self._undertaker.see_to(key, deeds, silent_since_s)

    def _start(self, work: Coroutine[object, object, None], name: str) -> None:
        if self._tasks is None:
            work.close()  # it is being stopped; what is left undone, the claims still say
        else:
            self._tasks.create_task(work, name=name)

    async def _look_up(self, key: Key, look: losses.LookUp) -> None:
        pipeline, worker = key
        subject = subjects.claims(self._wards.of(pipeline), worker)
        try:
            stored = await self._connection.last(subjects.CLAIMS_STREAM, subject)
        except errors.UnavailableError:
            self._reload.set()  # the sweep will see to it
            return
        heard = hearing.claim(self._wards, stored.subject, stored.data) if stored else None
        if heard is None or self._core.claim(key) is not None:
            return
        self._take_stored(*heard)
        self._do(key, self._core.handle(look.event))


def _key(effect: Effect) -> Key:
    match effect:
        case losses.Close():
            return effect.pipeline, effect.claim.worker
        case losses.LookUp():
            return effect.event.key
        case _:
            return effect.pipeline, effect.worker


def _matters(before: Claim | None, now: Claim | None) -> bool:
    """Return whether a claim changes what may be planned, or what people want to see at once."""
    if before is None or now is None:
        return before is not now
    if now.draining:
        return not before.draining or bool(before.held) != bool(now.held)
    return before.incarnation != now.incarnation or (not before.pulled_ns and bool(now.pulled_ns))
