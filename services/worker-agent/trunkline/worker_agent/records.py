"""What a worker stores about datums: attempt ledgers and outcomes, and the events beside them.

Each write may be repeated after its answer was lost, so each is a no-op the second time:

- A ledger is changed by compare-and-set on its subject's last sequence; whoever loses reads again
  and asks again what is to be changed.
- An outcome's subject takes one message for ever, and `FirstPublisher` returns once it has one. That
  may be our own outcome or that of another worker; in both cases the datum has its one outcome and
  the message may be acked.
"""

import dataclasses
import logging
from collections.abc import Callable

import msgspec

from trunkline.bus.ports import Connection, FirstPublisher, Publisher, Stored
from trunkline.contracts import attempts, errors, messages, subjects
from trunkline.contracts.attempts import Ledger
from trunkline.contracts.messages import DatumTask, Event, Outcome
from trunkline.contracts.wards import Ward
from trunkline.runtime import tracing
from trunkline.runtime.clock import Clock
from trunkline.worker_agent.core import outcome as verdicts

log = logging.getLogger(__name__)

_LOG_TAIL_MIN = 256


@dataclasses.dataclass(frozen=True)
class Known:
    """A datum's ledger as it was read."""

    ledger: Ledger
    sequence: int | None
    """The last one of its subject, 0 if there is none; None: nobody counts this ledger any more."""


class Records:
    """The ledgers and outcomes of one pipeline's datums."""

    def __init__(
        self,
        connection: Connection,
        publisher: Publisher,
        firsts: FirstPublisher,
        ward: Ward,
        *,
        worker: str,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._ward = ward
        self._publisher = publisher
        self._firsts = firsts
        self._worker = worker
        self._clock = clock

    async def known(self, task: DatumTask) -> Known:
        """Return a datum's ledger, for `replace_ledger`.

        Where the datum was restarted since it came, the ledger is that of its newer generation, and
        is left alone: what is returned then is an empty one that is never stored.

        Raises:
            UnavailableError: the server does not answer.
        """
        subject = subjects.attempts(self._ward, task.job, task.index)
        stored = await self._connection.last(subjects.ATTEMPTS_STREAM, subject)
        ledger = None if stored is None else _decoded(subject, stored.data)
        if ledger is not None and ledger.generation > task.generation:
            return Known(Ledger(generation=task.generation), None)
        sequence = 0 if stored is None else stored.sequence
        return Known(verdicts.of_generation(ledger, task.generation), sequence)

    async def replace_ledger(self, task: DatumTask, known: Known, changed: Ledger) -> bool:
        """Store a datum's ledger in place of the one that is known; return False if that is another by now.

        Raises:
            UnavailableError: unknown whether it is stored.
        """
        if changed == known.ledger or known.sequence is None:
            return True
        subject = subjects.attempts(self._ward, task.job, task.index)
        try:
            await self._publisher.put(
                subject, messages.encode(changed), expected_last=known.sequence
            )
        except errors.RefusedError as error:
            if error.code != errors.RefusedError.WRONG_LAST_SEQUENCE:
                raise errors.UnavailableError(subject, str(error)) from error
            return False
        return True

    async def change_ledger(self, task: DatumTask, change: Callable[[Ledger], Ledger]) -> Ledger:
        """Change a datum's ledger and return it once that is stored.

        Args:
            task: The datum.
            change: Returns the new ledger; the same one if nothing is to be stored. Called again
                with a newer ledger when somebody else was faster. What it raises ends this.

        Raises:
            UnavailableError: unknown whether it is stored.
        """
        while True:
            known = await self.known(task)
            changed = change(known.ledger)
            if await self.replace_ledger(task, known, changed):
                return changed

    async def is_beaten(self, task: DatumTask, incarnation: str) -> bool:
        """Return whether a datum has the outcome of another incarnation."""
        stored = await self._stored(task)
        if stored is None:
            return False
        try:
            first = messages.decode(stored.subject, stored.data, Outcome)
        except errors.MalformedMessageError:
            return True  # it holds the place all the same
        return first.incarnation != incarnation

    async def has_outcome(self, task: DatumTask) -> bool:
        """Return whether the datum is done already; a record that nobody can read ends it, too."""
        return await self._stored(task) is not None

    async def store_outcome(self, task: DatumTask, outcome: Outcome, *, hurry: bool) -> None:
        """Return once the datum has an outcome, ours or one that was there before; try for ever.

        Args:
            task: The datum.
            outcome: Ours.
            hurry: Whether it is sent now, rather than in some milliseconds together with others.
        """
        subject = subjects.outcome(self._ward, task.job, task.index, task.generation)

        def told(problem: errors.TrunklineError) -> None:
            log.warning("outcome is not stored yet", extra=_named(task, reason=str(problem)))

        first = await self._firsts.put(
            subject, _encoded(outcome), hurry=hurry, told=told, headers=tracing.headers()
        )
        if first is not None:
            _note_first(task, first, outcome)

    def flush(self) -> None:
        """Let outcomes that are being stored wait for no others: somebody waits for them."""
        self._firsts.flush()

    async def tell_attempt(self, task: DatumTask, attempt: attempts.Attempt, text: str) -> None:
        """Publish an event about an attempt that ended badly; not waited for."""
        event = Event(
            kind="attempt",
            pipeline=task.pipeline,
            at_ns=self._clock.wall_ns(),
            source=self._worker,
            text=f"datum {task.index}: {text}",
            job=task.job,
            index=task.index,
            worker=self._worker,
            facts={"attempt": msgspec.Raw(msgspec.json.encode(attempt))},
        )
        try:
            await self._connection.publish(
                subjects.worker_event(self._ward, "attempt"),
                messages.encode(event),
                headers=tracing.headers(),
            )
        except errors.UnavailableError:
            log.info("event is lost", extra=_named(task))

    async def _stored(self, task: DatumTask) -> Stored | None:
        subject = subjects.outcome(self._ward, task.job, task.index, task.generation)
        return await self._connection.last(subjects.OUTCOMES_STREAM, subject)


def _note_first(task: DatumTask, stored: Stored, ours: Outcome) -> None:
    try:
        first = messages.decode(stored.subject, stored.data, Outcome)
    except errors.MalformedMessageError as error:
        log.warning("the outcome there is not readable", extra=_named(task, reason=str(error)))
        return
    if first.incarnation != ours.incarnation:
        log.info("another worker's outcome was first", extra=_named(task, other=first.worker))


def _decoded(subject: str, data: bytes) -> Ledger | None:
    try:
        return messages.decode(subject, data, Ledger)
    except errors.MalformedMessageError as error:
        log.error("attempt ledger is not readable; it begins anew", extra={"reason": str(error)})  # noqa: TRY400
        return None


def _encoded(outcome: Outcome) -> bytes:
    """Return an outcome within the limit of a message: its log tail gives way."""
    data = messages.encode(outcome)
    while len(data) > messages.MESSAGE_MAX_BYTES and len(outcome.log_tail) > _LOG_TAIL_MIN:
        tail = outcome.log_tail[len(outcome.log_tail) // 2 :]
        outcome = msgspec.structs.replace(outcome, log_tail=tail)
        data = messages.encode(outcome)
    return data


def _named(task: DatumTask, **more: str) -> dict[str, object]:
    return {
        "pipeline": task.pipeline,
        "job": task.job,
        "datum": task.datum,
        "index": task.index,
        **more,
    }
