"""What the reaper hears, and what it does about it: the events and effects of `reaping`."""

from collections.abc import Collection
from dataclasses import dataclass

from trunkline.contracts.messages import Claim, Held
from trunkline.contracts.states import Cause

Key = tuple[str, str]
"""(pipeline, worker)."""


@dataclass(frozen=True)
class ClaimHeard:
    """A worker said what it holds; or its last claim was read from the stream."""

    key: Key
    claim: Claim
    now_s: float


@dataclass(frozen=True)
class Connected:
    """The server has a new connection with this worker's name."""

    key: Key
    connection: str
    """`<server>/<client id>`: what tells two connections apart."""
    now_s: float
    new: bool = True
    """False when the server only tells again of one that it has had for a while (it does so for all
    of them when its configuration is loaded again)."""


@dataclass(frozen=True)
class Disconnected:
    """The server lost a connection of this worker's."""

    key: Key
    connection: str
    reason: str
    now_s: float
    looked_up: bool = False
    """Whether the last stored claim was read already."""


@dataclass(frozen=True)
class ProcessGone:
    """The cluster says that the worker's process is gone: it will not come back."""

    key: Key
    reason: str
    now_s: float
    cause: Cause = Cause.WORKER_LOST
    instance: str = ""
    """What the cluster calls the process; empty for whichever has the name."""
    again: bool = False
    """Whether that was said before, without the cause: by now another process may have the name."""


@dataclass(frozen=True)
class Reconnected:
    """Our own connection is back: events were missed, and connections are counted afresh."""

    now_s: float


@dataclass(frozen=True)
class Tick:
    """Time has passed."""

    now_s: float
    listed: Collection[Key] | None
    """The workers that the cluster lists; None while it does not answer."""


Event = ClaimHeard | Connected | Disconnected | ProcessGone | Reconnected | Tick


@dataclass(frozen=True)
class Nak:
    """Give one datum back to the queue."""

    pipeline: str
    held: Held
    worker: str = ""
    """Who held it."""


@dataclass(frozen=True)
class Charge:
    """Enter a lost attempt into the datum's ledger, then give the datum back."""

    pipeline: str
    held: Held
    worker: str
    incarnation: str
    detail: str
    cause: Cause = Cause.WORKER_LOST


@dataclass(frozen=True)
class Excuse:
    """Give the entry of a lost attempt another cause: it is known by now, and charges nobody."""

    pipeline: str
    held: Held
    worker: str
    incarnation: str
    detail: str
    cause: Cause


@dataclass(frozen=True)
class Withdraw:
    """Take back the charge: the worker is there again."""

    pipeline: str
    held: Held
    worker: str
    incarnation: str


@dataclass(frozen=True)
class Close:
    """Store an empty claim in the name of a worker that is gone."""

    pipeline: str
    claim: Claim


@dataclass(frozen=True)
class LookUp:
    """Read the worker's last claim from the stream, then tell `event` again."""

    event: Disconnected


@dataclass(frozen=True)
class Reaped:
    """Tell people what was done."""

    pipeline: str
    worker: str
    incarnation: str
    reason: str
    given_back: int
    charged: int
    again: bool = False
    """Whether this incarnation was lost before, and this is what it has claimed since."""


@dataclass(frozen=True)
class Dismiss:
    """Tell a process to drain that was given up, and whose name another one may have."""

    pipeline: str
    worker: str
    incarnation: str


Deed = Nak | Charge | Excuse | Withdraw | Close | Reaped | Dismiss
"""What is done about a worker, and changes something outside."""

Effect = Deed | LookUp
