"""The life of one message in a worker: its datums, one after the other, and how it is settled.

Mostly a message is one datum. Where it is several, each is staged while the one before it runs, and
stored and reported while the next one runs, as datums of different messages are. The message is
acked once each of its datums has an outcome. It is given back where one is to be tried again, or
where the worker stops in between; what is done by then is found to be done when the message comes
again, so nothing is lost but that look.

A datum that is suspected to take its worker along is run once what was before it in the message has its
outcome, and nothing else is in hand.

After a lost connection, or a stop that was longer than the lease, the message may be in other hands.
Then what is begun is finished (its outcome is refused if it is too late), and the rest is left alone:
else two workers would go through the same datums side by side.

When the life is cut short (its job is gone, the worker must go, the message is somebody else's), what
is under way in it ends too; outcomes that are stored by then count.
"""

import asyncio
import dataclasses
import functools
import itertools
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, assert_never

from trunkline.contracts.states import Cause
from trunkline.runtime import tracing
from trunkline.worker_agent import datum
from trunkline.worker_agent.core.holding import STORING_MAX
from trunkline.worker_agent.datum import Bench
from trunkline.worker_agent.execution import Ran
from trunkline.worker_agent.link import ShimLostError
from trunkline.worker_agent.work import Ack, Datum, Nak, Why, Work

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hooks:
    """Whom a life tells how far it is."""

    ran: Callable[[Work, bool], None]
    """The slot is free again; True: and only outcomes are left."""
    stored: Callable[[Work], None]
    """Only outcomes are left."""
    advanced: Callable[[Work], None]
    """`work.current` is another datum now."""
    stopping: Callable[[], bool]
    """Whether what is not begun is to be given back."""
    starts: Callable[[Work], None]
    """The command of `work.current` is being started."""
    superseded: Callable[[Datum], bool]
    """Whether a datum was restarted since it came: another message asks for it."""
    ours: Callable[[Work], bool]
    """Whether the lease has held until now; else somebody else may have the message."""
    alone: Callable[[Work], Coroutine[Any, Any, None]]
    """Returns once nothing else is in hand, and nothing more will be while its datum executes."""
    cut: Callable[[Work, int], None]
    """The user's container ended while its datum was executing, at that time; the attempt is recorded."""
    spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]
    """Starts a task whose errors end the worker."""


async def live(work: Work, bench: Bench, hooks: Hooks) -> Ack | Nak | None:
    """Work on a message; return how it is to be settled, None if it is not ours any more."""
    under_way: set[asyncio.Task[Any]] = set()
    tracing.current.set(work.current.traceparent)
    try:
        return await _work(work, bench, hooks, under_way)
    except asyncio.CancelledError:
        bench.executor.withdraw(work.current)
        current = asyncio.current_task()
        if work.why is None or current is None:
            raise
        current.uncancel()  # it was for us, and ends here
        return await _cut_short(work, bench, work.why)
    except ShimLostError as error:
        if not work.turn.is_set():
            return None
        at_ns = bench.clock.wall_ns()
        settlement = await _lost(work.current, bench, error)
        hooks.cut(work, at_ns)
        return settlement
    finally:
        bench.executor.withdraw(work.current)
        for each in under_way:
            each.cancel()
        if not work.ran:
            hooks.ran(work, False)


async def _work(
    work: Work, bench: Bench, hooks: Hooks, under_way: set[asyncio.Task[Any]]
) -> Ack | Nak | None:
    if not work.turn.is_set():
        await datum.stage(work.current, bench)
        await work.turn.wait()
    ends: list[asyncio.Task[Ack | Nak]] = []

    async def alone() -> None:
        bench.records.flush()
        if ends:
            await asyncio.wait(ends)
        await hooks.alone(work)

    for each, following in itertools.pairwise(work.datums):
        staging = None
        if bench.executor.stages and following.fresh:
            staging = _start(under_way, hooks, datum.stage(following, bench))
        ran = await _run(work, each, bench, hooks, alone)
        ends.append(_start(under_way, hooks, _finish(each, ran, bench)))
        if isinstance(ran, Ran) and ran.stored is None:
            await _room(ends, bench)
        if not hooks.ours(work):
            log.info("the rest of a set is somebody else's by now", extra=following.named())
            await asyncio.gather(*ends)
            return None
        if hooks.stopping():
            return _settlement([Nak(), *await asyncio.gather(*ends)])
        work.current = following
        tracing.current.set(following.traceparent)
        hooks.advanced(work)
        if staging is not None:
            await staging
    last = work.current
    ran = await _run(work, last, bench, hooks, alone)
    work.ran = True
    hooks.ran(work, isinstance(ran, Ran) and ran.stored is not None)
    end = await _finish(last, ran, bench, lambda: hooks.stored(work))
    return _settlement([end, *await asyncio.gather(*ends)]) if ends else end


async def _run(
    work: Work,
    each: Datum,
    bench: Bench,
    hooks: Hooks,
    alone: Callable[[], Coroutine[Any, Any, None]],
) -> Ran | Ack | Nak:
    if hooks.superseded(each):
        return Ack()
    return await datum.run(each, bench, alone, functools.partial(hooks.starts, work))


async def _finish(
    each: Datum, ran: Ran | Ack | Nak, bench: Bench, stored: Callable[[], None] = lambda: None
) -> Ack | Nak:
    if not isinstance(ran, Ran):
        return ran
    try:
        return await datum.finish(each, ran, bench, stored)
    except ShimLostError as error:
        return await _lost(each, bench, error)
    finally:
        bench.executor.discard(each)


def _start(
    under_way: set[asyncio.Task[Any]], hooks: Hooks, work: Coroutine[Any, Any, Any]
) -> asyncio.Task[Any]:
    task = hooks.spawn(work)
    under_way.add(task)
    task.add_done_callback(under_way.discard)
    return task


async def _room(ends: Sequence[asyncio.Task[Ack | Nak]], bench: Bench) -> None:
    """Return once few enough are under way."""
    while len(waiting := [each for each in ends if not each.done()]) >= STORING_MAX:
        bench.records.flush()
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)


def _settlement(ends: Sequence[Ack | Nak]) -> Ack | Nak:
    """Return what becomes of a message: it comes again as long as one of its datums must."""
    delays = [each.delay_s for each in ends if isinstance(each, Nak)]
    return Nak(max(delays)) if delays else Ack()


async def _cut_short(work: Work, bench: Bench, why: Why) -> Ack | Nak | None:
    match why:
        case Why.CANCELLED:
            return Ack()
        case Why.SUPERSEDED:  # the others of a set are wanted all the same
            return Ack() if len(work.datums) == 1 else Nak()
        case Why.BEATEN:
            await datum.beaten(work.current, bench)
            return Ack() if len(work.datums) == 1 else Nak()
        case Why.DROPPED:
            return None
        case Why.DRAINED:
            text = "the worker was told to stop"
            return await datum.given_up(work.current, bench, Cause.DRAINED, text)
        case _:
            assert_never(why)


async def _lost(each: Datum, bench: Bench, error: ShimLostError) -> Nak:
    log.warning("the user's side is gone", extra=each.named())
    return await datum.given_up(each, bench, Cause.CONTAINER_LOST, str(error))
