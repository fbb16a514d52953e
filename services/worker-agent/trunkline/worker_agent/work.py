"""What is passed between the worker's loops and the life of one datum."""

import asyncio
import dataclasses
import enum
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from trunkline.bus.ports import Delivery
from trunkline.contracts.attempts import Ledger
from trunkline.contracts.messages import DatumTask, Figures, JobTicket
from trunkline.runtime.clock import Clock
from trunkline.storage.store import Store
from trunkline.worker_agent.core.lease import Key
from trunkline.worker_agent.files import Place, Workspace
from trunkline.worker_agent.link import Link
from trunkline.worker_agent.printing import Printer
from trunkline.worker_agent.records import Records


class Why(enum.Enum):
    """Why a datum's life is cut short by us."""

    CANCELLED = enum.auto()
    """Its job is gone."""
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


@dataclasses.dataclass
class Work:
    """One datum in hand."""

    key: Key
    delivery: Delivery
    """The newest one of this message."""
    task: DatumTask
    ticket: JobTicket
    fresh: bool
    """Whether this is surely the first delivery."""
    received_s: float
    turn: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    """Set when it may begin."""
    why: Why | None = None
    """Set before it is cancelled."""
    life: asyncio.Task[None] | None = None
    place: Place | None = None
    """Its files, once it has any; to be discarded at the end."""
    started_ns: int = 0
    """Of this attempt, in the ledger."""
    ledger: Ledger = dataclasses.field(default_factory=Ledger)
    figures: Figures = dataclasses.field(default_factory=Figures)

    def measure(self, **figures: float) -> None:
        """Set some of the figures."""
        self.figures = msgspec.structs.replace(self.figures, **figures)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """What a datum is worked on with; one per worker."""

    store: Store
    space: Workspace
    records: Records
    printer: Printer
    link: Link
    clock: Clock
    worker: str
    incarnation: str
    pfs: str
    """Where commands find their files."""
    inherited: Mapping[str, str]
    """The part of the environment that every command gets."""
    foreign: bool
    """Whether commands run as another user than we."""
    begun: Callable[[], Awaitable[None]]
    """To be awaited before a command starts: the claim that says so is sent."""
    ran: Callable[["Work"], None]
    """Told when the slot is free again."""
