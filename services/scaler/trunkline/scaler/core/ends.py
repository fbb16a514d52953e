"""Why users' containers have ended: the pods' word and the workers' put together.

A worker whose user's container is gone knows what was executing in it, and tells so in its claims (`messages.Cut`), until it
has lost another one or ends itself. Of what the container ended, its pod's status tells, of the last one only. Either may come
first, and both are still there for a scaler that was away meanwhile. Where both speak of the same end, and it was for
want of memory, the attempts are explained: a write into the ledger that is safe to repeat.

Nothing is stored here. What is lost: an end that the cluster has forgotten (the pod is deleted, or its container has ended once
more) before a scaler has seen it. That attempt charges nobody then.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from trunkline.contracts.messages import Claim, Cut
from trunkline.scaler.core.losses import Key
from trunkline.scaler.ports import Worker

_SECOND_NS = 1_000_000_000
"""What a pod's status cuts off of a time."""
_LATE_NS = 1_000_000_000
"""By which who says that a container has ended may be later than who sees its connection close."""


@dataclass(frozen=True)
class Explained:
    """What was executing when a worker's container ran out of memory."""

    key: Key
    cut: Cut


class Ends:
    """What workers have said, and which of it is explained already."""

    def __init__(self) -> None:
        self._cuts: dict[Key, Cut] = {}
        self._explained: dict[Key, str] = {}

    def heard(self, key: Key, claim: Claim) -> bool:
        """Take a claim into account; return whether it tells of an end that was not known."""
        cut = claim.cut
        if cut is None or self._cuts.get(key) == cut:
            return False
        self._cuts[key] = cut
        if self._explained.get(key) != cut.incarnation:
            return True
        del self._explained[key]  # it tells of more that was executing
        return True

    def due(self, workers: Iterable[Worker]) -> list[Explained]:
        """Return what is to be explained by what the cluster says of its workers now."""
        found = []
        for worker in workers:
            key = (worker.pipeline, worker.name)
            cut = self._cuts.get(key)
            if cut is None or self._explained.get(key) == cut.incarnation:
                continue
            if worker.oom_ns and _same(cut, worker.oom_ns):
                found.append(Explained(key, cut))
        return found

    def keep(self, workers: Iterable[Worker]) -> None:
        """Forget all workers but those that the cluster lists: it says nothing of the others any more."""
        listed = {(worker.pipeline, worker.name) for worker in workers}
        self._cuts = {key: cut for key, cut in self._cuts.items() if key in listed}
        self._explained = {key: whose for key, whose in self._explained.items() if key in listed}

    def done(self, explained: Explained) -> None:
        """Note that the ledgers say so."""
        self._explained[explained.key] = explained.cut.incarnation


def _same(cut: Cut, oom_ns: int) -> bool:
    """Return whether a container that ended at that time, of which the fraction is cut off, is the one of this worker.

    Both times are of the node on which worker and container run.
    """
    return cut.since_ns < oom_ns + _SECOND_NS and oom_ns <= cut.at_ns + _LATE_NS
