"""Enters into ledgers what containers have ended of; `core.ends` finds out.

An entry that stands already is not made twice. One that could not be made is tried again at the next look.
"""

import logging
from collections.abc import Callable, Sequence

import msgspec

from trunkline.bus.ports import Connection, Publisher
from trunkline.contracts import errors, messages
from trunkline.contracts.attempts import Attempt
from trunkline.contracts.messages import Claim, Held
from trunkline.contracts.states import Cause
from trunkline.contracts.wards import Wards
from trunkline.runtime.clock import Clock
from trunkline.scaler import ledgers
from trunkline.scaler.core.ends import Ends, Explained
from trunkline.scaler.core.losses import Key
from trunkline.scaler.ports import Worker
from trunkline.scaler.telling import Telling

log = logging.getLogger(__name__)

OUT_OF_MEMORY = "out of memory: the user's container was killed as a whole"


class Explaining:
    """Hears claims, looks at workers, writes ledgers.

    Args:
        connection: In the account DATA.
        publisher: On that connection.
        telling: Stores events.
        wards: For subjects.
        clock: The time.
        live: (pipeline, job) -> whether an entry still means something.
        wake: Has the workers looked at soon.
    """

    def __init__(
        self,
        connection: Connection,
        publisher: Publisher,
        telling: Telling,
        wards: Wards,
        *,
        clock: Clock,
        live: Callable[[str, str], bool],
        wake: Callable[[], None],
    ) -> None:
        self._connection, self._publisher, self._telling = connection, publisher, telling
        self._wards, self._clock, self._live, self._wake = wards, clock, live, wake
        self._ends = Ends()

    def heard(self, key: Key, claim: Claim) -> None:
        """Take a claim into account."""
        if self._ends.heard(key, claim):
            self._wake()

    async def look(self, workers: Sequence[Worker]) -> None:
        """Explain what the cluster knows of its workers now."""
        for each in self._ends.due(workers):
            try:
                await self._explain(each)
            except errors.TrunklineError as error:
                log.warning("not explained", extra={"worker": each.key[1], "reason": str(error)})
            else:
                self._ends.done(each)
        self._ends.keep(workers)

    async def _explain(self, explained: Explained) -> None:
        pipeline, worker = explained.key
        for held in explained.cut.held:
            if not self._live(pipeline, held.job):
                continue  # it needs no ledger any more, and nobody would purge it
            attempt = Attempt(
                worker=worker,
                incarnation=explained.cut.incarnation,
                started_ns=held.since_ns,
                ended_ns=explained.cut.at_ns,
                cause=Cause.OOM,
                detail=OUT_OF_MEMORY,
            )
            ward = self._wards.of(pipeline)
            await ledgers.explain(self._connection, self._publisher, ward, held, attempt)
            log.info("out of memory", extra={"pipeline": pipeline, "worker": worker})
            await self._tell(pipeline, held, attempt)

    async def _tell(self, pipeline: str, held: Held, attempt: Attempt) -> None:
        event = messages.Event(
            kind="attempt",
            pipeline=pipeline,
            at_ns=self._clock.wall_ns(),
            source="scaler",
            text=f"datum {held.index}: {attempt.cause} on {attempt.worker}: {attempt.detail}",
            job=held.job,
            index=held.index,
            worker=attempt.worker,
            facts={"attempt": msgspec.Raw(msgspec.json.encode(attempt))},
        )
        await self._telling.tell(event)
