"""Who is there: the workers that the cluster lists, what has been heard of each, and whose end was seen to.

A worker is told apart by its name and its instance: a name is used again, an instance is not. Its end is seen to
once, however often and by whomever it is told: its leases go back, its drain is over, and one that has never said
a word counts as a start that failed. Only how it went may come later, when the cluster says so (`again`).

All this is memory. A scaler that begins knows nobody who has ended before it: the reaper finds what they held.
"""

import logging
from functools import partial

from trunkline.contracts.messages import Claim
from trunkline.contracts.states import Cause
from trunkline.runtime.clock import Clock
from trunkline.scaler.drains import Drains
from trunkline.scaler.explaining import Explaining
from trunkline.scaler.hands import Hands
from trunkline.scaler.ports import ClusterView, Worker
from trunkline.scaler.reaper import Reaper

log = logging.getLogger(__name__)

_BURIED_KEPT = 10_000

Instance = tuple[str, str]
"""(name, instance) of a worker."""


class Presence:
    """See the module. Its user is the scaler's loop, between looks and decisions."""

    def __init__(
        self, reaper: Reaper, drains: Drains, hands: Hands, explaining: Explaining, clock: Clock
    ) -> None:
        self._reaper, self._drains, self._hands = reaper, drains, hands
        self._explaining, self._clock = explaining, clock
        self._workers: dict[str, Worker] = {}
        """As the cluster listed them last."""
        self._heard: set[Instance] = set()
        """Workers that have claimed something, if only that they hold nothing."""
        self._failed: set[Instance] = set()
        """Workers that are to be replaced, and were counted as failures for it."""
        self._unheard_s: dict[Instance, float] = {}
        """Since when a worker runs without a claim that stands."""
        self._buried: dict[Instance, bool] = {}
        """Workers whose end was seen to, the last ones, and whether the cluster has said how they went."""

    def hear_anew(self) -> None:
        """Count nobody's silence from before: we were away ourselves."""
        self._unheard_s.clear()

    def claim(self, worker: Worker) -> Claim | None:
        """Return a worker's last claim, unless it is of another one that had its name."""
        claim = self._reaper.claim((worker.pipeline, worker.name))
        if claim is not None and claim.instance not in ("", worker.instance):
            return None
        return claim

    def heard_s(self, worker: Worker, now_s: float) -> float | None:
        """Return when a worker was heard last; of one that runs and was not, when it was first seen so.

        Args:
            worker: As the cluster lists it.
            now_s: By the clock, monotonic.
        """
        which = _instance(worker)
        if self.claim(worker) is not None:
            self._heard.add(which)
            self._unheard_s.pop(which, None)
        elif worker.running:
            return self._unheard_s.setdefault(which, now_s)
        return self._reaper.heard_s((worker.pipeline, worker.name))

    async def look(self, view: ClusterView) -> None:
        """Bury who is not listed any more, or is but for its name, and say who is."""
        await self._explaining.look(view.workers)
        living = [worker for worker in view.workers if not worker.lost]
        listed = {_instance(worker) for worker in living}
        for worker in view.workers:
            if worker.lost:
                await self.bury(worker, worker.lost, worker.lost_by, told=True)
            elif worker.must_go and _instance(worker) not in self._failed:
                self._failed.add(_instance(worker))
                cause = f"worker {worker.name}: {worker.must_go}"
                self._hands.starts(worker.pipeline).failed(cause, self._clock.monotonic_s())
        for worker in self._workers.values():
            if _instance(worker) not in listed:
                why = Cause.DRAINED if worker.stopping else Cause.WORKER_LOST
                await self.bury(worker, "its process is gone", why, told=False)
        self._workers = {worker.name: worker for worker in living}
        self._heard &= listed
        self._failed &= listed
        self._drains.keep(listed)
        self._reaper.listed({(worker.pipeline, worker.name) for worker in living})

    async def bury(self, worker: Worker, reason: str, cause: Cause, *, told: bool) -> None:
        """See to the end of a worker, once: to its leases, its drain, and its pipeline's record.

        Args:
            worker: The one that is gone.
            reason: Why.
            cause: What attempts are put down to that it had under way.
            told: Whether the cluster knows the reason.
        """
        which, key = _instance(worker), (worker.pipeline, worker.name)
        gone = partial(self._reaper.process_gone, key, reason, cause, instance=worker.instance)
        if which in self._buried:
            if told and not self._buried[which]:
                self._buried[which] = True
                await gone(again=True)
            return
        self._buried[which] = told
        if len(self._buried) > _BURIED_KEPT:
            del self._buried[next(iter(self._buried))]
        self._unheard_s.pop(which, None)
        await gone()
        extra = {"pipeline": worker.pipeline, "worker": worker.name, "reason": reason}
        log.info("worker gone", extra=extra)
        if told and which not in self._heard and not worker.stopping:
            problem = f"worker {worker.name} ended before it was ready: {reason}"
            self._hands.starts(worker.pipeline).failed(problem, self._clock.monotonic_s())


def _instance(worker: Worker) -> Instance:
    return worker.name, worker.instance
