"""The reaper's entries in attempt ledgers, by compare-and-set.

A worker may write the same ledger at the same time (its own start, or the end of another try), so
each entry is made on what is there, and made again when that has moved. An entry that stands
already is not made twice, also where the worker's start is stored in between: that is what makes a
charge safe to repeat.
"""

import logging
from collections.abc import Callable
from functools import partial

import msgspec

from trunkline.bus.ports import Connection, Publisher
from trunkline.contracts import attempts, errors, messages, subjects
from trunkline.contracts.attempts import Attempt, Ledger
from trunkline.contracts.messages import Held
from trunkline.contracts.wards import Ward

log = logging.getLogger(__name__)

_TRIES = 20
"""How often a ledger may move under us before we give up: each mover makes progress itself."""


async def charge(
    connection: Connection, publisher: Publisher, ward: Ward, held: Held, attempt: Attempt
) -> int:
    """Enter a lost attempt; return which one of the datum's it is, or 0 if it does not stand.

    Raises:
        UnavailableError: the server does not answer; whether the entry stands is unknown.
    """
    change = _of_its_generation(held, partial(attempts.lost, attempt=attempt))
    ledger = await _change(connection, publisher, ward, held, change)
    known = enumerate(() if ledger is None else ledger.attempts, 1)
    return max((n for n, each in known if each.incarnation == attempt.incarnation), default=0)


async def excuse(
    connection: Connection, publisher: Publisher, ward: Ward, held: Held, attempt: Attempt
) -> bool:
    """Give a lost attempt the cause that is known by now; return whether that stands.

    Raises:
        UnavailableError: the server does not answer.
    """
    excused = partial(attempts.excused, attempt=attempt)
    return await _change(connection, publisher, ward, held, excused) is not None


async def explain(
    connection: Connection, publisher: Publisher, ward: Ward, held: Held, attempt: Attempt
) -> bool:
    """Enter of what a user's container has ended; return whether that stands now.

    Raises:
        UnavailableError: the server does not answer; whether it stands is unknown.
    """
    explained = partial(attempts.explained, attempt=attempt)
    change = _of_its_generation(held, explained)
    return await _change(connection, publisher, ward, held, change) is not None


async def withdraw(
    connection: Connection, publisher: Publisher, ward: Ward, held: Held, incarnation: str
) -> bool:
    """Let the last lost attempt of an incarnation charge nobody; return whether that stands now.

    Raises:
        UnavailableError: the server does not answer.
    """
    withdrawn = partial(attempts.withdrawn, incarnation=incarnation)
    return await _change(connection, publisher, ward, held, withdrawn) is not None


def _of_its_generation(
    held: Held, change: Callable[[Ledger], Ledger]
) -> Callable[[Ledger], Ledger]:
    """Return the change for what was held of a generation: a newer one is left, an older one replaced."""

    def changed(ledger: Ledger) -> Ledger:
        if ledger.generation > held.generation:
            return ledger
        if ledger.generation < held.generation:
            ledger = Ledger(generation=held.generation)
        return change(ledger)

    return changed


async def _change(
    connection: Connection,
    publisher: Publisher,
    ward: Ward,
    held: Held,
    change: Callable[[Ledger], Ledger],
) -> Ledger | None:
    """Change a ledger; return what it is then, or None if others were always faster."""
    subject = subjects.attempts(ward, held.job, held.index)
    for _ in range(_TRIES):
        stored = await connection.last(subjects.ATTEMPTS_STREAM, subject)
        try:
            ledger = messages.decode(subject, stored.data, Ledger) if stored else Ledger()
        except errors.MalformedMessageError as error:
            log.warning("ledger replaced", extra={"pipeline": ward.pipeline, "reason": str(error)})
            ledger = Ledger()
        changed = change(ledger)
        if changed == ledger:
            return ledger
        try:
            await publisher.put(
                subject,
                msgspec.json.encode(changed),
                expected_last=stored.sequence if stored else 0,
            )
        except errors.RefusedError as error:
            if error.code != errors.RefusedError.WRONG_LAST_SEQUENCE:
                raise
            continue
        return changed
    return None
