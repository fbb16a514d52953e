"""What an installation's records and messages survive: a level that is stated once, for all of them.

| level | a process is killed | a server's power fails | a server is lost for good |
|---|---|---|---|
| `memory` | all is lost with the NATS server's process | all is lost | all is lost |
| `file` | nothing is lost | what the server took in its last seconds | all is lost |
| `synced` | nothing | nothing | all |
| `replicated` | nothing | nothing, unless all servers fail within seconds | nothing: one of three |
| `replicated-synced` | nothing | nothing | nothing: one of three |

Storage and copies are JetStream's and follow from the level with each declaration; how often a server
makes its disk write is its own configuration's.
"""

from enum import StrEnum
from typing import Literal

SYNC_INTERVAL = "10s"
"""Costs nothing that could be measured; what a power failure may cost on one server."""
COPIES = 3


class Durability(StrEnum):
    """See the module."""

    MEMORY = "memory"
    FILE = "file"
    SYNCED = "synced"
    REPLICATED = "replicated"
    REPLICATED_SYNCED = "replicated-synced"

    @property
    def storage(self) -> Literal["memory", "file"]:
        """Where each copy lies."""
        return "memory" if self is Durability.MEMORY else "file"

    @property
    def copies(self) -> int:
        """How many servers have each stream."""
        return COPIES if self in (Durability.REPLICATED, Durability.REPLICATED_SYNCED) else 1

    @property
    def sync_interval(self) -> str:
        """How often a server makes its disk write; `always`: before it answers."""
        synced = self in (Durability.SYNCED, Durability.REPLICATED_SYNCED)
        return "always" if synced else SYNC_INTERVAL

    def shortfall(self, storage: str, copies: int) -> str:
        """Return how a stream that is so falls short of the level, for people; empty if it does not."""
        wanted = f"{self.copies} on {self.storage}"
        if storage == "memory" != self.storage:
            return f"it lies in memory, which cannot be changed, and {self.value} asks for {wanted}"
        if copies < self.copies:
            return f"it has {copies} copy, and {self.value} asks for {wanted}"
        return ""
