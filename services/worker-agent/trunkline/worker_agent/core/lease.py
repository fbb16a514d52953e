"""What is said of a lease: its phases, what happens to a worker's leases, and what is done then.

`holding` takes the events and returns the effects; it says what they mean together.
"""

import dataclasses
import enum
from typing import NamedTuple

import msgspec


class Key(NamedTuple):
    """A lease: the message's job and its sequence in the pipeline's stream."""

    job: str
    sequence: int


class Phase(enum.IntEnum):
    """How far a lease is."""

    WAITING = 0
    BEGUN = 1
    STORING = 2
    REPORTING = 3


@dataclasses.dataclass(slots=True)
class Lease:
    """One message in hand: a datum, or several that are worked on one after the other."""

    key: Key
    index: int
    """Of the datum that executes, or will."""
    generation: int
    fresh: bool
    """Whether this is surely its first delivery."""
    received_s: float
    phase: Phase = Phase.WAITING
    staged: bool = False
    cancelled: bool = False
    begun_s: float = 0.0
    begun_ns: int = 0
    started: bool = False
    """Whether the command of the datum that has the slot was started."""


# Events and effects are made several times for each datum, and there may be 10,000 of these a second:
# a Struct is made in a tenth of the time that a frozen dataclass takes.


# --- events ---------------------------------------------------------------------------------------


class Assigned(msgspec.Struct, frozen=True):
    """These jobs may be pulled from, oldest first; a job that is missing is surely gone."""

    jobs: tuple[str, ...]


class Received(msgspec.Struct, frozen=True):
    """A message came."""

    key: Key
    index: int
    generation: int
    fresh: bool
    pending: int = 0
    """How many more of the job waited in the queue when it was sent."""


class Declined(msgspec.Struct, frozen=True):
    """A message of this job came that is for any other worker: a copy of what is in hand. It is on its way back."""

    job: str


class Advanced(msgspec.Struct, frozen=True):
    """Of a begun message, another datum is executing now."""

    key: Key
    index: int
    generation: int


class Started(msgspec.Struct, frozen=True):
    """All is there that a begun datum needs: its command is being started."""

    key: Key


class Ran(msgspec.Struct, frozen=True):
    """A begun datum needs its slot no more: its command has ended, or will not be started."""

    key: Key
    stored: bool = False
    """Whether its outputs are in the store already."""


class Stored(msgspec.Struct, frozen=True):
    """A datum that ran has its outputs in the store; its outcome is on its way."""

    key: Key


class Settled(msgspec.Struct, frozen=True):
    """A begun datum was acked or given back."""

    key: Key


class Reconnected(msgspec.Struct, frozen=True):
    """The connection was lost and is back: what was not begun is not ours any more."""


class Ticked(msgspec.Struct, frozen=True):
    """Some time passed."""


class Superseded(msgspec.Struct, frozen=True):
    """The datum that executes, or will, was restarted: a message of a newer generation asks for it."""

    key: Key


class Isolated(msgspec.Struct, frozen=True):
    """A begun datum must not run beside anything else: take nothing until it is done, and give back what waits."""

    key: Key


class Stopped(msgspec.Struct, frozen=True):
    """Take nothing more: a drain, a SIGTERM, or the shim is gone. One way."""


Event = (
    Assigned
    | Received
    | Declined
    | Advanced
    | Started
    | Ran
    | Stored
    | Settled
    | Reconnected
    | Ticked
    | Superseded
    | Isolated
    | Stopped
)

# --- effects --------------------------------------------------------------------------------------


class Want(msgspec.Struct, frozen=True):
    """Let up to this many further messages of a job come; 0 of a job that is gone: stop its pull."""

    job: str
    count: int


class Stage(msgspec.Struct, frozen=True):
    """Fetch the files of a datum that will be next."""

    key: Key


class Begin(msgspec.Struct, frozen=True):
    """Start on a datum; Ran and Settled follow."""

    key: Key


class GiveBack(msgspec.Struct, frozen=True):
    """Nak a datum that was not begun, and forget it."""

    key: Key


class Forget(msgspec.Struct, frozen=True):
    """Drop a datum that was not begun without a word."""

    key: Key


class Cancel(msgspec.Struct, frozen=True):
    """Nobody wants it: kill what runs, report nothing, take the message off. Settled if begun."""

    key: Key
    begun: bool


class Tell(msgspec.Struct, frozen=True):
    """Publish the claim."""


Effect = Want | Stage | Begin | GiveBack | Forget | Cancel | Tell
