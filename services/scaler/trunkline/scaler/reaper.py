"""Gives back what lost workers held, within milliseconds: ears and hands of `core.reaping`.

It hears claims, and the server's own word about connections: `client.user` in those events is what
the server has authenticated, so it decides the pipeline; `client.name` is what the client said, so
it only picks a worker of that pipeline. Ack subjects are built here from the claim's numbers.

A nak takes one question first: how many deliveries the job's consumer has made (see `subjects.ack`).
It is asked once per job and loss; then the naks of all that was not begun go out in one burst. What
was begun goes to its ledger meanwhile, and is naked after. Per worker these come in the order of the
decisions, so that a withdrawal never overtakes its charge.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import Protocol

import msgspec

from trunkline.bus.ports import Connection, Message, Publisher, Stored
from trunkline.contracts import errors, messages, names, subjects
from trunkline.contracts.messages import Claim, Held
from trunkline.contracts.states import Cause
from trunkline.contracts.wards import Wards
from trunkline.runtime import backoff
from trunkline.runtime.clock import Clock
from trunkline.scaler import hearing
from trunkline.scaler.charging import Charging
from trunkline.scaler.core import losses, reaping
from trunkline.scaler.core.losses import Effect, Key
from trunkline.scaler.core.reaping import Reaping
from trunkline.scaler.counting import Counting

log = logging.getLogger(__name__)

SWEEP_S = 1.0
"""Seconds between looks for workers that nobody has heard of."""

NAK_S = 10.0
"""Seconds for which a nak is tried: the lease itself ends soon after."""

_NAK = b"-NAK"

Deliveries = Callable[[str, str], Awaitable[int | None]]
"""(pipeline, job) -> how many deliveries its consumer has made; None when there is none (any more)."""


class DataConnection(Connection, Protocol):
    """A connection that can also read the last messages of many subjects at once."""

    async def scan(self, stream: str, subject_filter: str) -> list[Stored]:
        """Return the last message of every subject that matches."""
        ...


class Reaper:
    """Follows claims and connections, and acts for the dead.

    Args:
        connection: In the account DATA.
        publisher: On the same connection.
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
        wards: Wards,
        *,
        clock: Clock,
        deliveries: Deliveries,
        live: Callable[[str, str], bool],
        wake: Callable[[], None],
        told: Callable[[Key, Claim], None] = lambda *_: None,
        counting: Counting | None = None,
    ) -> None:
        self._connection, self._publisher = connection, publisher
        self._wards, self._clock = wards, clock
        self.lost = asyncio.Event()
        """Set when a worker was lost: there may be leases that its claim does not tell of."""
        self._deliveries, self._wake = deliveries, wake
        self._charging = Charging(connection, publisher, wards, clock, live, self._start)
        self._counting = counting or Counting()
        self._told = told
        self._core = Reaping()
        self._tasks: asyncio.TaskGroup | None = None
        self._locks: dict[Key, asyncio.Lock] = {}
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
        await self._do(key, self._core.handle(event))
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
        await self._do(key, self._core.handle(event))
        if _matters(before, self._core.claim(key)):
            self._wake()

    async def _on_connect(self, message: Message) -> None:
        event = hearing.client_event(message)
        if event is not None and event.key is not None:
            now_s = self._clock.monotonic_s()
            connected = losses.Connected(event.key, event.connection, now_s, event.new)
            await self._do(event.key, self._core.handle(connected))

    async def _on_disconnect(self, message: Message) -> None:
        event = hearing.client_event(message)
        if event is not None and event.key is not None:
            now_s = self._clock.monotonic_s()
            lost = losses.Disconnected(event.key, event.connection, event.reason, now_s)
            await self._do(event.key, self._core.handle(lost))
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
                    await self._take_stored(*heard)
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
                await self._do(key, effects, silent_since_s=heard_s.get(key))

    async def _take_stored(self, key: Key, claim: Claim) -> None:
        self._told(key, claim)
        known = self._core.claim(key)
        same = known is not None and known.incarnation == claim.incarnation
        if claim.closing or (known is not None and same and known.number >= claim.number):
            return
        event = losses.ClaimHeard(key, claim, self._clock.monotonic_s())
        await self._do(key, self._core.handle(event))

    # --- hands ------------------------------------------------------------------------------------

    async def _do(
        self, key: Key, effects: Sequence[Effect], silent_since_s: float | None = None
    ) -> None:
        since_s = silent_since_s
        if since_s is None and any(isinstance(each, losses.Reaped) for each in effects):
            since_s = self._clock.monotonic_s()
        unbegun: dict[tuple[str, str], list[Held]] = {}
        later: list[Effect] = []
        for effect in effects:
            match effect:
                case losses.Nak():
                    of_job = unbegun.setdefault((effect.pipeline, effect.held.job), [])
                    of_job.append(effect.held)
                case _:
                    later.append(effect)
        if self._tasks is None:
            return  # it is being stopped; what is left undone, the claims still say
        for (pipeline, job), held in unbegun.items():
            self._tasks.create_task(self._nak(pipeline, job, held, since_s), name=f"nak-{key[1]}")
        if later:
            self._tasks.create_task(self._do_later(key, later, since_s), name=f"reap-{key[1]}")

    async def _do_later(self, key: Key, effects: Sequence[Effect], since_s: float | None) -> None:
        async with self._locks.setdefault(key, asyncio.Lock()):
            async with asyncio.TaskGroup() as tasks:
                for effect in effects:
                    match effect:
                        case losses.Charge():
                            tasks.create_task(self._charge(effect, since_s), name="charge")
                        case losses.Withdraw():
                            tasks.create_task(self._charging.withdraw(effect), name="withdraw")
                        case losses.Excuse():
                            tasks.create_task(self._charging.excuse(effect), name="excuse")
                        case _:
                            continue
            for effect in effects:
                match effect:
                    case losses.Close():
                        await self._close(key, effect)
                    case losses.LookUp():
                        await self._look_up(key, effect)
                    case losses.Reaped():
                        await self._tell(effect)
                    case losses.Dismiss():
                        await self._dismiss(effect)
                    case _:
                        continue

    async def _nak(
        self, pipeline: str, job: str, held: Sequence[Held], since_s: float | None
    ) -> None:
        """Give datums of one job back; what does not work in time, the end of the lease does."""
        try:
            async with asyncio.timeout(NAK_S):
                for failures in itertools.count():
                    if await self._try_nak(pipeline, job, held):
                        took_s = None if since_s is None else self._clock.monotonic_s() - since_s
                        self._counting.given_back(pipeline, len(held), took_s)
                        break
                    await asyncio.sleep(backoff.delay_s(failures, most_s=1.0))
        except TimeoutError:
            log.warning("not given back", extra={"pipeline": pipeline, "job": job})
        except errors.InvalidNameError as error:
            # a claim is hostile input: what has no valid name was never delivered
            log.warning("not given back", extra={"pipeline": pipeline, "reason": str(error)})

    async def _try_nak(self, pipeline: str, job: str, held: Sequence[Held]) -> bool:
        try:
            count = await self._deliveries(pipeline, names.commit(job))
            for each in held if count is not None else ():
                subject = subjects.ack(pipeline, job, each.sequence, count or 1)
                await self._connection.publish(subject, _NAK)
        except errors.UnavailableError:
            return False
        return True

    async def _charge(self, charge: losses.Charge, since_s: float | None) -> None:
        await self._charging.charge(charge)
        await self._nak(charge.pipeline, charge.held.job, [charge.held], since_s)

    def _start(self, work: Coroutine[object, object, None], name: str) -> None:
        if self._tasks is None:
            work.close()
        else:
            self._tasks.create_task(work, name=name)

    async def _close(self, key: Key, close: losses.Close) -> None:
        if self._core.claim(key) is not None:
            return  # a new process has the name by now: its claim must stand
        empty = reaping.mark(close.claim, self._clock.wall_ns())
        with contextlib.suppress(errors.UnavailableError):
            await self._connection.publish(self._claims(key), messages.encode(empty))

    async def _dismiss(self, dismiss: losses.Dismiss) -> None:
        """Tell a former process to drain; it is told again with its next claim."""
        drain = messages.Drain(
            incarnation=dismiss.incarnation, reason="another process has its name"
        )
        subject = subjects.control(self._wards.of(dismiss.pipeline), dismiss.worker)
        with contextlib.suppress(errors.UnavailableError):
            await self._connection.publish(subject, messages.encode(drain))

    async def _look_up(self, key: Key, look: losses.LookUp) -> None:
        try:
            stored = await self._connection.last(subjects.CLAIMS_STREAM, self._claims(key))
        except errors.UnavailableError:
            self._reload.set()  # the sweep will see to it
            return
        heard = hearing.claim(self._wards, stored.subject, stored.data) if stored else None
        if heard is None or self._core.claim(key) is not None:
            return
        await self._take_stored(*heard)
        await self._do(key, self._core.handle(look.event))

    async def _tell(self, reaped: losses.Reaped) -> None:
        extra = {
            "pipeline": reaped.pipeline,
            "worker": reaped.worker,
            "reason": reaped.reason,
            "given_back": reaped.given_back,
            "charged": reaped.charged,
        }
        log.info("worker reaped", extra=extra)
        self._counting.lost(reaped.pipeline)
        event = messages.Event(
            kind="reaped",
            pipeline=reaped.pipeline,
            at_ns=self._clock.wall_ns(),
            source="scaler",
            text=(
                f"{reaped.worker} was lost ({reaped.reason}): {reaped.given_back} datums given"
                f" back, {reaped.charged} charged an attempt"
            ),
            worker=reaped.worker,
            facts={"incarnation": msgspec.Raw(msgspec.json.encode(reaped.incarnation))},
        )
        subject = subjects.worker_event(self._wards.of(reaped.pipeline), "reaped")
        with contextlib.suppress(errors.UnavailableError, errors.RefusedError):
            await self._publisher.put(subject, messages.encode(event))

    def _claims(self, key: Key) -> str:
        pipeline, worker = key
        return subjects.claims(self._wards.of(pipeline), worker)


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
