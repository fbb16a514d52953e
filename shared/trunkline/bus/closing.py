"""A connection to NATS that is closed for good ends the process, which is started again."""

from trunkline.bus.ports import Connection
from trunkline.contracts import errors


class ConnectionClosedError(errors.TrunklineError):
    """A connection to NATS is closed for good; only a new process can help."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the connection {name!r} to NATS was closed for good")
        self.name = name


async def end_with(connection: Connection, name: str) -> None:
    """Wait for the end of a connection, and raise ConnectionClosedError."""
    await connection.closed()
    raise ConnectionClosedError(name)
