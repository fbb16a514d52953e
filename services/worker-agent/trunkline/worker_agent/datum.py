"""The life of one datum in a worker, from its receipt to its settlement.

    1  fetch its inputs              (ahead of its turn, if it is surely its first delivery)
    2  wait for its turn
    3  delivered before? look for an outcome, read the ledger, ask the verdict, record the start
    4  run the command
    5  hash and store its outputs
    6  publish the outcome, wait for the PubAck
    7  ack

What a crash leaves, between any two of these: before 4, a message that comes again, and a recorded
start that counts as a lost worker if there was one (3 comes before 1 then). In 4, the same; the claim
says that it was executing, and the reaper charges that. In 5, objects that nobody names; they are
found again, being named by their contents. Between 6 and 7, a message that comes again to somebody
who finds the outcome, or whose own outcome is refused. Nothing is ever acked before its outcome is
stored, and nothing is counted twice, since the outcome's subject takes one message.

When 4 ends badly, the attempt goes into the ledger first, then the message is given back with a
delay; a crash in between makes it come again sooner. On the last try the outcome says so instead.
"""

import asyncio
import dataclasses
import errno
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar, assert_never

from trunkline.contracts import attempts, errors
from trunkline.contracts.attempts import Attempt, Ledger
from trunkline.contracts.messages import Figures, Outcome
from trunkline.contracts.states import Cause, DatumState
from trunkline.runtime import backoff
from trunkline.runtime.clock import Clock
from trunkline.storage.trees import Uploaded
from trunkline.worker_agent.core import outcome as verdicts
from trunkline.worker_agent.core.outcome import Bad
from trunkline.worker_agent.execution import Executor, Ran
from trunkline.worker_agent.link import ShimLostError
from trunkline.worker_agent.printing import Printer
from trunkline.worker_agent.records import Records
from trunkline.worker_agent.work import Ack, Nak, Why, Work

log = logging.getLogger(__name__)

T = TypeVar("T")

_LAST_WORD_S = 3.0
"""Seconds for the ledger entry of a datum that is given up at the end of a drain."""

_DETAIL_CHARS = 300


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """What a datum is worked on with; one per worker."""

    executor: Executor
    records: Records
    printer: Printer
    clock: Clock
    worker: str
    incarnation: str
    ran: Callable[[Work, bool], None]
    """Told when the slot is free again, and whether only the outcome is left."""
    stored: Callable[[Work], None]
    """Told when the outputs are stored, and only the outcome is left."""


async def live(work: Work, bench: Bench) -> Ack | Nak | None:
    """Work on a datum; return how its message is to be settled, None if it is not ours any more."""
    try:
        return await _attempt(work, bench)
    except asyncio.CancelledError:
        bench.executor.withdraw(work)
        current = asyncio.current_task()
        if work.why is None or current is None:
            raise
        current.uncancel()  # it was for us, and ends here
        return await _cut_short(work, bench, work.why)
    except ShimLostError as error:
        if not work.turn.is_set():
            return None
        log.warning("the user's side is gone", extra=_named(work))
        return await _given_up(work, bench, Cause.CONTAINER_LOST, str(error))
    finally:
        bench.executor.withdraw(work)
        bench.ran(work, False)


async def _attempt(work: Work, bench: Bench) -> Ack | Nak:
    bad: Bad | None = None
    if not work.turn.is_set():
        bad = await _stage(work, bench)
        await work.turn.wait()
    work.started_ns = bench.clock.wall_ns()
    if not work.fresh:
        settled = await _look_back(work, bench)
        if settled is not None:
            return settled
    if bad is None and not work.staged:
        bad = await _stage(work, bench)
    if bad is not None:
        return await _failed(work, bench, Ran(bad))
    return await _execute(work, bench)


async def _stage(work: Work, bench: Bench) -> Bad | None:
    """Fetch the inputs; return why that will never succeed, if it will not."""
    try:
        await _insist("inputs", work, lambda: bench.executor.stage(work))
    except errors.TrunklineError as error:
        return Bad(Cause.STORE_ERROR, f"its inputs cannot be fetched: {error}")
    work.staged = True
    return None


async def _look_back(work: Work, bench: Bench) -> Ack | Nak | None:
    """Decide about a datum that was delivered before; None: it is to be run, its start recorded."""
    if await _insist("outcome", work, lambda: bench.records.has_outcome(work.task)):
        return Ack()
    begun = Attempt(worker=bench.worker, incarnation=bench.incarnation, started_ns=work.started_ns)
    verdict: attempts.Verdict = attempts.Run()

    def change(ledger: Ledger) -> Ledger:
        nonlocal verdict
        if begun in ledger.attempts:
            return ledger
        verdict = attempts.verdict(ledger, work.ticket.datum_tries, bench.clock.wall_ns())
        return attempts.started(ledger, begun) if isinstance(verdict, attempts.Run) else ledger

    work.ledger = await _insist(
        "ledger", work, lambda: bench.records.change_ledger(work.task, change)
    )
    match verdict:
        case attempts.Run():
            for each in work.ledger.attempts:
                if each.incarnation == bench.incarnation and each.ended_ns == 0:
                    work.started_ns = each.started_ns
            return None
        case attempts.Wait(delay_s):
            return Nak(delay_s)
        case attempts.GiveUp(state, reason):
            last = work.ledger.attempts[-1]
            await _report(
                work, bench, state, reason=reason, exit_code=last.exit_code, tail=last.detail
            )
            return Ack()
        case _:
            assert_never(verdict)


async def _execute(work: Work, bench: Bench) -> Ack | Nak:
    executor = bench.executor

    async def present() -> None:
        executor.present(work)

    await _insist("directory", work, present)
    ran = await executor.run(work)
    bench.ran(work, ran.stored is not None)
    if not isinstance(ran.verdict, verdicts.Good):
        return await _failed(work, bench, ran)
    stored = ran.stored
    if stored is None:
        made = await _insist("outputs", work, lambda: executor.store(work))
        if isinstance(made, Bad):
            return await _failed(work, bench, Ran(made, ran.output))
        stored = made
        bench.stored(work)
    await bench.printer.flush()
    await _report(work, bench, DatumState.PROCESSED, stored=stored)
    return Ack()


async def _failed(work: Work, bench: Bench, ran: Ran) -> Ack | Nak:
    """Record a failed attempt, and give the datum back or report its end."""
    bad, tail = ran.verdict, ran.tail
    assert isinstance(bad, Bad)
    attempt = _ended(work, bench, bad.cause, tail[-_DETAIL_CHARS:] or bad.reason, bad.exit_code)
    work.ledger = await _insist(
        "ledger",
        work,
        lambda: bench.records.change_ledger(
            work.task, lambda ledger: verdicts.recorded(ledger, attempt)
        ),
    )
    after = verdicts.after(work.ledger, bad, work.ticket.datum_tries)
    log.info("attempt failed", extra=_named(work, cause=str(bad.cause), reason=after.reason))
    await bench.records.tell_attempt(work.task, attempt, after.reason)
    if ran.output is not None:
        ran.output.say(after.reason)
    await bench.printer.flush()
    match after:
        case verdicts.TryAgain(delay_s):
            return Nak(delay_s)
        case verdicts.Fail(state, reason):
            await _report(work, bench, state, reason=reason, exit_code=bad.exit_code, tail=tail)
            return Ack()
        case _:
            assert_never(after)


async def _report(
    work: Work,
    bench: Bench,
    state: DatumState,
    *,
    reason: str = "",
    stored: Uploaded | None = None,
    exit_code: int | None = None,
    tail: str = "",
) -> None:
    """Return once the outcome is stored."""
    task = work.task
    outcome = Outcome(
        pipeline=task.pipeline,
        job=task.job,
        index=task.index,
        generation=task.generation,
        datum=task.datum,
        fingerprint=task.fingerprint,
        state=state,
        worker=bench.worker,
        incarnation=bench.incarnation,
        files=stored.files if stored else None,
        manifest=stored.manifest if stored else "",
        output_files=stored.count if stored else 0,
        output_bytes=stored.bytes if stored else 0,
        reason=reason,
        exit_code=exit_code,
        log_tail=tail,
        attempts=max(1, len(work.ledger.attempts)),
        history=_history(work, bench, state),
        figures=Figures(**work.measured),  # type: ignore[arg-type]
        ended_ns=bench.clock.wall_ns(),
    )
    await bench.records.store_outcome(task, outcome)


def _history(work: Work, bench: Bench, state: DatumState) -> tuple[attempts.Attempt, ...]:
    """Return the ledger's attempts; a good one is closed here only, since it ends the ledger."""
    if not work.ledger.attempts or not state.good:
        return work.ledger.attempts
    return attempts.ended(work.ledger, _ended(work, bench, Cause.DONE, "", 0)).attempts


async def _cut_short(work: Work, bench: Bench, why: Why) -> Ack | Nak | None:
    match why:
        case Why.CANCELLED:
            return Ack()
        case Why.DROPPED:
            return None
        case Why.DRAINED:
            return await _given_up(work, bench, Cause.DRAINED, "the worker was told to stop")
        case _:
            assert_never(why)


async def _given_up(work: Work, bench: Bench, cause: Cause, text: str) -> Nak:
    """Record an attempt that is ended by us and charges nobody, if that can be done soon."""
    attempt = _ended(work, bench, cause, text, None)
    try:
        async with asyncio.timeout(_LAST_WORD_S):
            await bench.records.change_ledger(
                work.task, lambda ledger: verdicts.recorded(ledger, attempt)
            )
            await bench.records.tell_attempt(work.task, attempt, text)
    except (TimeoutError, errors.UnavailableError):
        log.warning("attempt is not recorded", extra=_named(work, cause=str(cause)))
    return Nak()


def _ended(work: Work, bench: Bench, cause: Cause, detail: str, code: int | None) -> Attempt:
    return Attempt(
        worker=bench.worker,
        incarnation=bench.incarnation,
        started_ns=work.started_ns,
        ended_ns=bench.clock.wall_ns(),
        cause=cause,
        exit_code=code,
        detail=detail,
    )


async def _insist(what: str, work: Work, call: Callable[[], Awaitable[T]]) -> T:
    """Repeat until it is not for want of a server, a store or room on a disk that it fails."""
    failures = 0
    while True:
        try:
            return await call()
        except errors.UnavailableError as error:
            if failures % 10 == 0:
                log.warning("not possible yet", extra=_named(work, what=what, reason=str(error)))
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC):
                raise
            log.warning("not possible yet", extra=_named(work, what=what, reason=str(error)))
        await asyncio.sleep(backoff.delay_s(failures))
        failures += 1


def _named(work: Work, **more: str) -> dict[str, object]:
    task = work.task
    return {"pipeline": task.pipeline, "job": task.job, "index": task.index, **more}
