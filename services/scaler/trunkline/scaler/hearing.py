"""What the reaper hears, decoded and checked: claims of workers, and the server's word on clients.

Claims are hostile input, as all that comes from where users' code runs. The pipeline is decided by what
the server has authenticated: `client.user`, or in operator mode `client.tags`, which are signed; there
the user is whatever the client says beside its claims. `client.name` is what the client says, too, and
picks a worker of that pipeline only.
"""

import logging
from datetime import datetime

import msgspec

from trunkline.bus import accounts, operator
from trunkline.bus.ports import Message
from trunkline.contracts import errors, messages, names
from trunkline.contracts.messages import Claim
from trunkline.contracts.wards import Wards
from trunkline.scaler.core.losses import Key

log = logging.getLogger(__name__)

NEW_S = 2.0
"""Seconds after it was made until which a connection that is told of is a new one."""


class _Server(msgspec.Struct):
    id: str = ""


class _Client(msgspec.Struct):
    id: int = 0
    user: str = ""
    tags: tuple[str, ...] = ()
    """Of signed claims; the server fills them in from nothing else, and workers' have them always."""
    name: str = ""
    start: datetime | None = None
    """When the connection was made, by the server's clock."""


class ClientEvent(msgspec.Struct):
    """What the server says when a client comes or goes."""

    client: _Client
    server: _Server = msgspec.field(default_factory=_Server)
    timestamp: datetime | None = None
    reason: str = ""

    @property
    def key(self) -> Key | None:
        """Whose connection it is; None for what is no worker of ours."""
        if self.client.tags:
            pipeline = operator.pipeline_of(self.client.tags)
        else:
            pipeline = accounts.pipeline_of(self.client.user)
        if pipeline is None:
            return None
        try:
            return names.pipeline(pipeline), names.worker(self.client.name)
        except errors.InvalidNameError:
            return None  # we name ours

    @property
    def connection(self) -> str:
        """What tells it from any other connection."""
        return f"{self.server.id}/{self.client.id}"

    @property
    def new(self) -> bool:
        """Whether the connection was made just now."""
        if self.timestamp is None or self.client.start is None:
            return True
        return (self.timestamp - self.client.start).total_seconds() < NEW_S


def claim(wards: Wards, subject: str, data: bytes) -> tuple[Key, Claim] | None:
    """Return whose claim it is, by its subject, and what it says; None for one that is none."""
    _, _, pipeline, _, worker = subject.split(".")
    if not wards.owns(subject):
        # forged by a worker of another pipeline; the coordinator removes what is stored of it
        log.warning("claim under a wrong ward", extra={"pipeline": pipeline, "worker": worker})
        return None
    try:
        said = messages.decode(subject, data, Claim)
        names.worker(worker)
        if said.worker != worker:
            raise errors.MalformedMessageError(subject, f"it is of {said.worker!r}")
    except errors.TrunklineError as error:
        log.warning("claim not taken", extra={"reason": str(error)})
        return None
    return (pipeline, worker), said


def client_event(message: Message) -> ClientEvent | None:
    """Return what the server says of a client; None if it cannot be understood."""
    try:
        return messages.decode(message.subject, message.data, ClientEvent)
    except errors.MalformedMessageError as error:
        log.warning("event of a connection not understood", extra={"reason": str(error)})
        return None
