"""Writes into ledgers what the reaper has decided: charges of lost workers, excuses, withdrawals.

A job that has ended needs no ledger, and what is written then nobody would purge. A write that does not work is
one charge too few: a datum that takes each worker along is charged by the next.
"""

import logging
from collections.abc import Callable, Coroutine

from trunkline.bus.ports import Connection, Publisher
from trunkline.contracts import errors
from trunkline.contracts.attempts import Attempt
from trunkline.contracts.states import Cause
from trunkline.contracts.wards import Wards
from trunkline.runtime.clock import Clock
from trunkline.scaler import ledgers
from trunkline.scaler.core import losses
from trunkline.scaler.last_words import LastWords

log = logging.getLogger(__name__)


class Charging:
    """See the module.

    Args:
        connection: In the account DATA.
        publisher: On the same connection.
        wards: For the subjects of ledgers.
        clock: For the time of an attempt's end.
        live: (pipeline, job) -> whether an entry still means something.
        start: Begins what is not waited for.
    """

    def __init__(
        self,
        connection: Connection,
        publisher: Publisher,
        wards: Wards,
        clock: Clock,
        live: Callable[[str, str], bool],
        start: Callable[[Coroutine[object, object, None], str], None],
    ) -> None:
        self._connection, self._publisher, self._wards = connection, publisher, wards
        self._clock, self._live, self._start = clock, live, start
        self._words = LastWords(publisher, wards, clock)

    async def charge(self, charge: losses.Charge) -> None:
        """Enter a lost attempt."""
        if not self._live(charge.pipeline, charge.held.job):
            return
        ward, attempt = self._wards.of(charge.pipeline), self._attempt(charge)
        try:
            number = await ledgers.charge(
                self._connection, self._publisher, ward, charge.held, attempt
            )
        except errors.TrunklineError as error:
            log.warning("not charged", extra={"worker": charge.worker, "reason": str(error)})
            return
        if number:
            said = self._words.say(charge.pipeline, charge.held, attempt, number)
            self._start(said, "last-words")

    async def excuse(self, excuse: losses.Excuse) -> None:
        """Give such an entry the cause that is known by now."""
        if not self._live(excuse.pipeline, excuse.held.job):
            return
        ward, attempt = self._wards.of(excuse.pipeline), self._attempt(excuse)
        try:
            await ledgers.excuse(self._connection, self._publisher, ward, excuse.held, attempt)
        except errors.TrunklineError as error:
            log.warning("not excused", extra={"worker": excuse.worker, "reason": str(error)})

    async def withdraw(self, withdraw: losses.Withdraw) -> None:
        """Take such an entry back."""
        if not self._live(withdraw.pipeline, withdraw.held.job):
            return
        ward, held = self._wards.of(withdraw.pipeline), withdraw.held
        try:
            await ledgers.withdraw(
                self._connection, self._publisher, ward, held, withdraw.incarnation
            )
        except errors.TrunklineError as error:
            log.warning("not withdrawn", extra={"worker": withdraw.worker, "reason": str(error)})
        else:
            said = self._words.say(withdraw.pipeline, held, _back(withdraw), 0)
            self._start(said, "last-words")

    def _attempt(self, lost: losses.Charge | losses.Excuse) -> Attempt:
        return Attempt(
            worker=lost.worker,
            incarnation=lost.incarnation,
            started_ns=lost.held.since_ns,
            ended_ns=self._clock.wall_ns(),
            cause=lost.cause,
            detail=f"the worker was lost while the command ran: {lost.detail}",
            claimed_ns=lost.held.since_ns,
        )


def _back(withdraw: losses.Withdraw) -> Attempt:
    return Attempt(
        worker=withdraw.worker,
        incarnation=withdraw.incarnation,
        started_ns=withdraw.held.since_ns,
        cause=Cause.SERVER_RESTART,
        detail="the worker came back: this attempt charges nobody",
    )
