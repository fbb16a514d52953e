"""One datum in a worker: the steps from its inputs to its outcome.

    1  stage     fetch its inputs       (ahead of its turn, if it is surely its first delivery)
    2  run       delivered before? look for an outcome, read the ledger, ask the verdict, record the
                 start; then run the command
    3  finish    hash and store its outputs, publish the outcome, wait for the PubAck

`life` goes through them for the datums of a message, and says when that is acked.

What a crash leaves, between any two of these: before the command, a message that comes again, and
perhaps a recorded start without an end, which charges nobody (the ledger comes before the inputs
then). While it runs, the same; the claim says that it runs, and the reaper charges that.
While outputs are stored, objects that nobody names; they are found again, being named by their
contents. Where some of them lie elsewhere (`elsewhere`), they are stored in the slot still, and a worker that is
lost then was executing. After the outcome, a message that comes again to somebody who finds the outcome, or whose
own outcome is refused. Nothing is ever acked before its outcome is stored, and nothing is counted
twice, since the outcome's subject takes one message.

When the command ends badly, and `err_cmd` has not made that good, the attempt goes into the ledger first, then the message is given back
with a delay; a crash in between makes it come again sooner. On the last try the outcome says so
instead.

A copy (`DatumTask.beside`) is run while another worker runs the same datum. It always looks back, and runs only
if nothing is recorded; if it does not end well it is let go, once that is recorded. Whichever outcome is first
says of the other attempt that it is superseded, which is true if it is stored. The slower one finds it in time
(`leases`) and is cut short, or finds it when its own is refused.
"""

import asyncio
import dataclasses
import errno
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar, assert_never

import msgspec

from trunkline.contracts import attempts, errors
from trunkline.contracts.attempts import Attempt, Ledger
from trunkline.contracts.messages import Outcome
from trunkline.contracts.states import Cause, DatumState
from trunkline.runtime import backoff
from trunkline.runtime.clock import Clock
from trunkline.storage.trees import Uploaded
from trunkline.worker_agent.core import outcome as verdicts
from trunkline.worker_agent.core.outcome import Bad
from trunkline.worker_agent.execution import Executor, Ran
from trunkline.worker_agent.printing import Printer
from trunkline.worker_agent.records import Records
from trunkline.worker_agent.work import Ack, Datum, Nak

log = logging.getLogger(__name__)

T = TypeVar("T")

_LAST_WORD_S = 3.0
"""Seconds for the ledger entry of a datum that is given up at the end of a drain."""

_DETAIL_CHARS = 300

_COPIED_S = 1.0
"""Seconds of work before which nobody makes a copy of a datum."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """What datums are worked on with; one per worker."""

    executor: Executor
    records: Records
    printer: Printer
    clock: Clock
    worker: str
    incarnation: str
    resting: Callable[[], bool]
    """Whether nothing runs and nothing waits to: an outcome has no company to wait for then."""


async def stage(datum: Datum, bench: Bench) -> None:
    """Fetch the inputs; what will never succeed is told by the run."""
    try:
        await _insist("inputs", datum, lambda: bench.executor.stage(datum))
    except errors.TrunklineError as error:
        datum.bad = Bad(Cause.STORE_ERROR, f"its inputs cannot be fetched: {error}")
    datum.staged = True


async def run(
    datum: Datum,
    bench: Bench,
    alone: Callable[[], Awaitable[None]],
    starts: Callable[[], None],
) -> Ran | Ack | Nak:
    """Run it, in its turn; return how that ended, or that it is not to be run.

    Args:
        datum: The one.
        bench: What is worked with.
        alone: Returns once nothing else is in hand; for one that is suspected to take its worker along.
        starts: Called when all is there that the command needs.

    Raises:
        ShimLostError: the user's side is gone.
    """
    executor = bench.executor
    datum.started_ns = bench.clock.wall_ns()
    if not datum.fresh:
        settled = await _look_back(datum, bench, alone)
        if settled is not None:
            return settled
    if executor.stages and not datum.staged:
        await stage(datum, bench)
    if datum.bad is not None:
        return Ran(datum.bad)
    if executor.stages:
        await _insist("directory", datum, lambda: _present(datum, executor))
    datum.executed = True
    starts()
    ran = await executor.run(datum)
    return await _stored_in_the_slot(datum, ran, bench) if ran.tied else ran


async def _stored_in_the_slot(datum: Datum, ran: Ran, bench: Bench) -> Ran:
    made = await _insist("outputs", datum, lambda: bench.executor.store(datum))
    if isinstance(made, Bad):
        return dataclasses.replace(ran, verdict=made)
    return dataclasses.replace(ran, stored=made)


async def _present(datum: Datum, executor: Executor) -> None:
    executor.present(datum)


async def finish(
    datum: Datum, ran: Ran, bench: Bench, stored: Callable[[], None] = lambda: None
) -> Ack | Nak:
    """Store what it has made and its outcome, or see to a failed try; return what is left to do.

    Args:
        datum: It has run.
        ran: How.
        bench: What is worked with.
        stored: Called when only the outcome is left.

    Raises:
        ShimLostError: the user's side is gone, and with it the outputs.
    """
    if isinstance(ran.verdict, verdicts.Recovered):
        return await _recovered(datum, bench, ran, ran.verdict.bad)
    if not isinstance(ran.verdict, verdicts.Good):
        return await _failed(datum, bench, ran)
    uploaded = ran.stored
    if uploaded is None:
        made = await _insist("outputs", datum, lambda: bench.executor.store(datum))
        if isinstance(made, Bad):
            return await _failed(datum, bench, Ran(made, ran.output))
        uploaded = made
        stored()
    if bench.printer.waiting:
        await bench.printer.flush()
    await _report(datum, bench, DatumState.PROCESSED, stored=uploaded)
    return Ack()


async def _look_back(
    datum: Datum, bench: Bench, alone: Callable[[], Awaitable[None]]
) -> Ack | Nak | None:
    """Decide about a datum that was delivered before; None: it is to be run, its start recorded.

    A copy is also left alone. Where it is to be alone, it is before the start is recorded: what comes in between charges nobody.
    """
    if await _insist("outcome", datum, lambda: bench.records.has_outcome(datum.task)):
        return Ack()
    verdict = await _judged(datum, bench, isolated=False)
    if isinstance(verdict, attempts.Run) and verdict.alone:
        log.info("runs alone", extra=datum.named())
        await alone()
        verdict = await _judged(datum, bench, isolated=True)
    match verdict:
        case attempts.Run():
            for each in datum.ledger.attempts:
                if each.incarnation == bench.incarnation and each.ended_ns == 0:
                    datum.started_ns = each.started_ns
            return None
        case attempts.Wait(delay_s) | attempts.PassOn(delay_s):
            return Nak(delay_s)
        case attempts.Leave():
            return Ack()
        case attempts.GiveUp(state, reason):
            last = datum.ledger.attempts[-1]
            told = verdicts.given_up(reason, [each.path for each in datum.task.inputs])
            await _report(
                datum, bench, state, reason=told, exit_code=last.exit_code, tail=last.detail
            )
            return Ack()
        case _:
            assert_never(verdict)


async def _judged(
    datum: Datum, bench: Bench, *, isolated: bool
) -> attempts.Verdict | attempts.Leave:
    """Ask the ledger what is to be done, and record what follows: a start, a pass, a wait, or nothing."""
    begun = Attempt(
        worker=bench.worker,
        incarnation=bench.incarnation,
        started_ns=datum.started_ns,
        copy=datum.task.beside is not None,
        claimed_ns=datum.claimed_ns,
    )
    decided: verdicts.Judged | None = None
    while True:
        known = await _insist("ledger", datum, lambda: bench.records.known(datum.task))
        if decided is None or known.ledger != decided.ledger:  # else the answer to a write was lost
            tries, now_ns = datum.ticket.datum_tries, bench.clock.wall_ns()
            decided = verdicts.judged(known.ledger, begun, tries, now_ns, isolated=isolated)
        put = partial(bench.records.replace_ledger, datum.task, known, decided.ledger)
        if await _insist("ledger", datum, put):
            datum.ledger = decided.ledger
            return decided.verdict


async def _failed(datum: Datum, bench: Bench, ran: Ran) -> Ack | Nak:
    """Record a failed attempt, and give the datum back or report its end."""
    bad, tail = ran.verdict, ran.tail
    assert isinstance(bad, Bad)
    attempt = _ended(datum, bench, bad.cause, tail[-_DETAIL_CHARS:] or bad.reason, bad.exit_code)
    datum.ledger = await _insist(
        "ledger",
        datum,
        lambda: bench.records.change_ledger(
            datum.task, lambda ledger: verdicts.recorded(ledger, attempt)
        ),
    )
    if datum.task.beside is not None:
        log.info("copy failed", extra=datum.named(cause=str(bad.cause), reason=bad.reason))
        await bench.records.tell_attempt(datum.task, attempt, f"a copy failed: {bad.reason}")
        bench.printer.tell(datum, bad.reason, bad.cause)
        return Ack()
    paths = [each.path for each in datum.task.inputs]
    tries, now_ns = datum.ticket.datum_tries, bench.clock.wall_ns()
    after = verdicts.after(datum.ledger, bad, tries, now_ns, paths)
    log.info("attempt failed", extra=datum.named(cause=str(bad.cause), reason=after.reason))
    await bench.records.tell_attempt(datum.task, attempt, after.reason)
    bench.printer.tell(datum, after.reason, bad.cause)
    await bench.printer.flush()
    match after:
        case verdicts.TryAgain(delay_s):
            return Nak(delay_s)
        case verdicts.Fail(state, reason):
            await _report(datum, bench, state, reason=reason, exit_code=bad.exit_code, tail=tail)
            return Ack()
        case _:
            assert_never(after)


async def _recovered(datum: Datum, bench: Bench, ran: Ran, bad: Bad) -> Ack:
    """Report a datum that `err_cmd` has dealt with. The outcome says how it failed; no ledger does."""
    attempt = _ended(
        datum, bench, bad.cause, ran.tail[-_DETAIL_CHARS:] or bad.reason, bad.exit_code
    )
    datum.ledger = verdicts.recorded(datum.ledger, attempt)
    reason = f"recovered by err_cmd: {bad.reason}"
    log.info("datum recovered", extra=datum.named(cause=str(bad.cause), reason=bad.reason))
    await bench.records.tell_attempt(datum.task, attempt, reason)
    bench.printer.tell(datum, reason, bad.cause)
    await bench.printer.flush()
    state = DatumState.RECOVERED
    await _report(datum, bench, state, reason=reason, exit_code=bad.exit_code, tail=ran.tail)
    return Ack()


async def _report(
    datum: Datum,
    bench: Bench,
    state: DatumState,
    *,
    reason: str = "",
    stored: Uploaded | None = None,
    exit_code: int | None = None,
    tail: str = "",
) -> None:
    """Return once the outcome is stored."""
    task = datum.task
    history = await _history(datum, bench, state)
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
        attempts=max(1, len(history)),
        history=history,
        figures=datum.figures,
        ended_ns=bench.clock.wall_ns(),
    )
    await bench.records.store_outcome(task, outcome, hurry=bench.resting())


async def _history(datum: Datum, bench: Bench, state: DatumState) -> tuple[Attempt, ...]:
    """Return the ledger's attempts; a good one is closed here only, since it ends the ledger."""
    now_ns = bench.clock.wall_ns()
    ledger = await _with_other(datum, bench, now_ns)
    if not ledger.attempts or state is not DatumState.PROCESSED:
        return ledger.attempts
    return attempts.ended(ledger, _ended(datum, bench, Cause.DONE, "", 0)).attempts


async def _with_other(datum: Datum, bench: Bench, now_ns: int) -> Ledger:
    """Return the ledger with what runs, or ran, beside this attempt, as it is if this outcome is the first."""
    beside = datum.task.beside
    if beside is not None:
        other = msgspec.structs.replace(beside, cause=Cause.SUPERSEDED, ended_ns=now_ns)
        return msgspec.structs.replace(datum.ledger, attempts=(other, *datum.ledger.attempts))
    ledger = datum.ledger
    took_s = datum.figures.download_s + datum.figures.process_s
    if datum.ticket.speculates and took_s >= _COPIED_S:
        found = await _insist("ledger", datum, lambda: bench.records.known(datum.task))
        if any(each.copy for each in found.ledger.attempts):
            ledger = found.ledger
    return attempts.superseded(ledger, bench.incarnation, now_ns)


async def beaten(datum: Datum, bench: Bench) -> None:
    """Tell that an attempt was cut short since another one was faster.

    Nothing is recorded: the outcome that was first says it, and the ledger may be gone with the job.
    """
    text = "another worker was faster"
    attempt = _ended(datum, bench, Cause.SUPERSEDED, text, None)
    log.info("superseded", extra=datum.named())
    bench.printer.tell(datum, text, Cause.SUPERSEDED)
    await bench.records.tell_attempt(datum.task, attempt, text)


async def given_up(datum: Datum, bench: Bench, cause: Cause, text: str) -> Nak:
    """Record an attempt that is ended by us and charges nobody, if that can be done soon."""
    attempt = _ended(datum, bench, cause, text, None)
    bench.printer.tell(datum, text, cause)
    try:
        async with asyncio.timeout(_LAST_WORD_S):
            await bench.records.change_ledger(
                datum.task, lambda ledger: verdicts.recorded(ledger, attempt)
            )
            await bench.records.tell_attempt(datum.task, attempt, text)
    except (TimeoutError, errors.UnavailableError):
        log.warning("attempt is not recorded", extra=datum.named(cause=str(cause)))
    return Nak()


def _ended(datum: Datum, bench: Bench, cause: Cause, detail: str, code: int | None) -> Attempt:
    return Attempt(
        worker=bench.worker,
        incarnation=bench.incarnation,
        started_ns=datum.started_ns,
        ended_ns=bench.clock.wall_ns(),
        cause=cause,
        exit_code=code,
        detail=detail,
        copy=datum.task.beside is not None,
        claimed_ns=datum.claimed_ns,
    )


async def _insist(what: str, datum: Datum, call: Callable[[], Awaitable[T]]) -> T:
    """Repeat until it is not for want of a server, a store or room on a disk that it fails."""
    failures = 0
    while True:
        try:
            return await call()
        except errors.UnavailableError as error:
            if failures % 10 == 0:
                log.warning("not possible yet", extra=datum.named(what=what, reason=str(error)))
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC):
                raise
            log.warning("not possible yet", extra=datum.named(what=what, reason=str(error)))
        await asyncio.sleep(backoff.delay_s(failures))
        failures += 1
