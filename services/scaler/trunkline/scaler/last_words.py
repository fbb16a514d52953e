"""What is said in the log of a datum whose worker is gone: it cannot say itself that its attempt has ended.

A help for who reads the log, like all that is in it: said after the ledger's entry, once, and lost if the
server does not answer.
"""

import contextlib

from trunkline.bus.ports import Publisher
from trunkline.contracts import errors, messages, subjects
from trunkline.contracts.attempts import Attempt
from trunkline.contracts.messages import Held, LogLine
from trunkline.contracts.wards import Wards
from trunkline.runtime.clock import Clock

_STREAM = "agent"


class LastWords:
    """Says them.

    Args:
        publisher: In the account DATA.
        wards: For subjects.
        clock: The time.
    """

    def __init__(self, publisher: Publisher, wards: Wards, clock: Clock) -> None:
        self._publisher, self._wards, self._clock = publisher, wards, clock

    async def say(self, pipeline: str, held: Held, attempt: Attempt, number: int) -> None:
        """Add a line of ours after what the worker had sent.

        Args:
            pipeline: Of the datum.
            held: The datum.
            attempt: How it has ended.
            number: Which attempt it is; 0 for the last one of this worker.
        """
        line = LogLine(
            worker=attempt.worker,
            datum="",
            index=held.index,
            stream=_STREAM,
            text=attempt.detail,
            at_ns=self._clock.wall_ns(),
            attempt=number,
            generation=held.generation,
            incarnation=attempt.incarnation,
            ends=attempt.cause,
        )
        msg_id = f"{attempt.incarnation}/{held.job}/{held.index}/{attempt.cause}/{number}"
        with contextlib.suppress(errors.TrunklineError):
            subject = subjects.logs(
                self._wards.of(pipeline), held.job, held.index, attempt.worker, _STREAM
            )
            await self._publisher.put(subject, messages.encode(line), msg_id=msg_id, timeout_s=5.0)
