"""What is passed between the worker's loops, the life of a message, and what executes its datums."""

import asyncio
import dataclasses
import enum

import msgspec

from trunkline.bus.ports import Delivery
from trunkline.contracts.attempts import Ledger
from trunkline.contracts.messages import DatumTask, Figures, JobTicket
from trunkline.worker_agent.core.lease import Key
from trunkline.worker_agent.core.outcome import Bad
from trunkline.worker_agent.files import Place


class Why(enum.Enum):
    """Why a datum's life is cut short by us."""

    CANCELLED = enum.auto()
    """Its job is gone."""
    SUPERSEDED = enum.auto()
    """It was restarted: a newer message asks for it."""
    BEATEN = enum.auto()
    """Another worker's outcome of it was first."""
    DRAINED = enum.auto()
    """It took longer than a stopping worker may wait."""
    DROPPED = enum.auto()
    """It was not begun, and is somebody else's now."""


@dataclasses.dataclass(frozen=True)
class Ack:
    """Take the message off the queue."""


@dataclasses.dataclass(frozen=True)
class Nak:
    """Give the message back."""

    delay_s: float = 0.0


@dataclasses.dataclass(slots=True, eq=False)
class Datum:
    """One datum of a message in hand."""

    task: DatumTask
    ticket: JobTicket
    fresh: bool
    """Whether this is surely the first delivery."""
    received_s: float
    traceparent: str = ""
    """The `traceparent` of this attempt."""
    place: Place | None = None
    """Its files, once it has any."""
    staged: bool = False
    executed: bool = False
    """Whether it was begun to be run here, however that went."""
    bad: Bad | None = None
    """Why its inputs will never be here, if that is so."""
    started_ns: int = 0
    """Of this attempt, in the ledger."""
    claimed_ns: int = 0
    """Since when claims say that it has its slot."""
    ledger: Ledger = dataclasses.field(default_factory=Ledger)
    figures: Figures = dataclasses.field(default_factory=Figures)
    """What this attempt has taken so far."""
    lost_bytes: int = 0
    """Of what it printed, and could not be stored."""

    @property
    def attempt(self) -> int:
        """Which attempt this is; a first one is in no ledger while it goes well."""
        return max(1, len(self.ledger.attempts))

    def measure(self, **figures: float) -> None:
        """Set some of the figures, by the names of `messages.Figures`; TypeError for any other."""
        self.figures = msgspec.structs.replace(self.figures, **figures)

    def named(self, **more: str) -> dict[str, object]:
        """Return what tells it in a log."""
        task = self.task
        return {
            "pipeline": task.pipeline,
            "job": task.job,
            "datum": task.datum,
            "index": task.index,
            "attempt": self.attempt,
            **more,
        }


@dataclasses.dataclass(eq=False)
class Work:
    """One message in hand: mostly of one datum; several are worked on one after the other."""

    key: Key
    delivery: Delivery
    """The newest one of this message."""
    datums: tuple[Datum, ...]
    current: Datum
    """The one that has the slot, or will have it."""
    held_s: float
    """Until when the lease holds surely, if the connection does."""
    turn: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    """Set when it may begin."""
    ran: bool = False
    """Whether it needs no slot any more."""
    beaten: bool = False
    """Whether another worker was faster with `current`."""
    why: Why | None = None
    """Set before it is cancelled."""
    life: asyncio.Task[None] | None = None
