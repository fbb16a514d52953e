"""Pipelines for which there is nothing to decide until something happens to them.

Of thousands of pipelines most have no worker and no job: they stand by, are stopped, or have no node. A round that
finds one so, with nothing under way, no trouble, and no time after which it would decide otherwise, notes it. It is
passed over as long as its record and the nodes are the same, and no worker and no job is there; the first round that does
not pass it over forgets it, so a note is of the very last decision.
"""

from collections.abc import Sequence

from trunkline.contracts import records
from trunkline.scaler.ports import Node


class Quiet:
    """What was found in the last rounds."""

    def __init__(self) -> None:
        self._nodes: Sequence[Node] = ()
        self._records: dict[str, records.Pipeline | None] = {}

    def look(self, nodes: Sequence[Node]) -> None:
        """Begin a round on these nodes: if they are others, everything is decided anew."""
        if nodes != self._nodes:
            self._nodes = nodes
            self._records.clear()

    def note(self, pipeline: str, record: records.Pipeline | None) -> None:
        """Take note that nothing is to be done for a pipeline of this record, which has no workers and no jobs."""
        self._records[pipeline] = record

    def holds(self, pipeline: str, record: records.Pipeline | None, *, busy: bool) -> bool:
        """Return whether a pipeline may be passed over.

        Args:
            pipeline: Its name.
            record: As it is known now.
            busy: Whether it has workers or jobs.
        """
        return not busy and record is not None and self._records.get(pipeline) is record

    def forget(self, pipeline: str) -> None:
        """Have a pipeline decided in the next round."""
        self._records.pop(pipeline, None)
