"""How a datum is executed: the port between a datum's life and what does the work.

`datum` decides when to stage, to run and to store, and what becomes of the message; an Executor does
it. There are two: `commands` runs the user's command in the shim, one for each datum or one that stays
up (`warm`); `idle` runs nothing and measures what everything around a command costs.
"""

import dataclasses
from typing import Protocol

from trunkline.storage.trees import Uploaded
from trunkline.worker_agent.core.outcome import Bad, Good, Recovered
from trunkline.worker_agent.printing import Output
from trunkline.worker_agent.work import Datum


@dataclasses.dataclass(frozen=True)
class Ran:
    """How a run ended, and what it printed."""

    verdict: Good | Bad | Recovered
    output: Output | None = None
    stored: Uploaded | None = None
    """What its outputs are, where nothing is left to be stored."""
    tied: bool = False
    """Whether they must be stored before the slot is free: they lie where the next command may write."""

    @property
    def tail(self) -> str:
        """The last lines that it printed."""
        return "" if self.output is None else self.output.tail


class Executor(Protocol):
    """Executes datums, one at a time; the outputs of one may be stored while the next one runs."""

    @property
    def stages(self) -> bool:
        """Whether there is anything to be fetched before a datum's turn."""
        ...

    async def stage(self, datum: Datum) -> None:
        """Fetch what a datum needs; repeated after a failure, it begins anew.

        Raises:
            UnavailableError, OSError: not now.
            TrunklineError: any other one: it will never succeed.
        """
        ...

    def present(self, datum: Datum) -> None:
        """Put it into the slot.

        Raises:
            UnavailableError, OSError: not now.
        """
        ...

    async def run(self, datum: Datum) -> Ran:
        """Run what is in the slot, and return once it needs it no more."""
        ...

    async def store(self, datum: Datum) -> Uploaded | Bad:
        """Store what it has made; return what that became, or why it never will.

        Raises:
            UnavailableError, OSError: not now.
        """
        ...

    def withdraw(self, datum: Datum) -> None:
        """Take it out of the slot, however far it has come; nothing if it is not there."""
        ...

    def discard(self, datum: Datum) -> None:
        """Its files are needed no more."""
        ...

    async def end(self) -> None:
        """There are no more datums; what is still there of the command may end well now."""
        ...
