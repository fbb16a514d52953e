"""How many workers a pipeline wants now, up to its cap.

A plain pipeline wants its cap all the time. A standby pipeline wants a worker for each datum that
waits or is in flight:

    0 --work arrives--> that number, at once --more work--> more, at once
    ^                        |
    +--- the most that was needed in the last `cool_down_s` has become less: that, or 0

So a number is only lowered once nothing in the cool-down needed it, and a burst between two short
pauses starts nobody twice. Jobs that wait for their inputs or are being listed are work to come:
they keep one worker from going, but start none (a listing may skip everything).
"""

import enum
from collections import deque

import msgspec

from trunkline.scaler.core.parallelism import Cap


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to do."""

    pending: int = 0
    """Datums that wait."""
    in_flight: int = 0
    """Datums that were delivered and are not settled."""
    to_come: bool = False
    """Whether a job is WAITING or LISTING."""


class Reason(enum.StrEnum):
    """What a number of workers follows: a few words, to count decisions by."""

    CAP = "cap"
    """The pipeline keeps as many as it may have: the nodes, or the spec."""
    WORK = "work"
    TO_COME = "to-come"
    COOL_DOWN = "cool-down"
    IDLE = "idle"
    STOPPED = "stopped"
    """The pipeline is stopped, deleted or gone."""


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """How many workers, and why."""

    workers: int
    why: str
    reason: Reason
    again_in_s: float | None = None
    """When the same load would give another number; None: never."""


def plain(cap: Cap) -> Want:
    """Return what a pipeline wants that keeps its workers."""
    return Want(workers=cap.workers, why=cap.why, reason=Reason.CAP)


class Standby:
    """The wants of one standby pipeline over time.

    Invariant: the want is at most the cap, and at least what the load needs (up to the cap).
    """

    def __init__(self, have: int, now_s: float, *, cool_down_s: float) -> None:
        """Begin as if `have` workers were needed just now: so a restart of the scaler ends none."""
        self._cool_down_s = cool_down_s
        self._needs: deque[tuple[float, int]] = deque([(now_s, have)])
        """Falling needs, each with the last time it was in force."""

    def want(self, cap: Cap, load: Load, now_s: float, *, slots: int = 1) -> Want:
        """Return what is wanted now.

        Args:
            cap: The most.
            load: What there is to do.
            now_s: A clock that never goes back.
            slots: Datums that one worker takes at once.
        """
        datums = load.pending + load.in_flight
        need = -(-datums // slots)
        if load.to_come and self._needs[0][1] > 0:
            need = max(need, 1)
        self._note(need, now_s)
        since_s, most = self._needs[0]
        workers = min(cap.workers, most)
        again_in_s = None if len(self._needs) == 1 else since_s + self._cool_down_s - now_s
        return Want(
            workers=workers,
            why=_why(workers, need, load, cap),
            reason=_reason(workers, need, load),
            again_in_s=again_in_s,
        )

    def _note(self, need: int, now_s: float) -> None:
        needs = self._needs
        needs[-1] = (now_s, needs[-1][1])
        while needs and needs[-1][1] <= need:
            needs.pop()
        needs.append((now_s, need))
        while len(needs) > 1 and needs[0][0] + self._cool_down_s <= now_s:
            needs.popleft()


def _reason(workers: int, need: int, load: Load) -> Reason:
    if workers > need:
        return Reason.COOL_DOWN
    if load.pending + load.in_flight:
        return Reason.WORK
    return Reason.TO_COME if load.to_come else Reason.IDLE


def _why(workers: int, need: int, load: Load, cap: Cap) -> str:
    if load.pending + load.in_flight:
        work = f"{load.pending} pending, {load.in_flight} in flight"
    else:
        work = "jobs to come" if load.to_come else "nothing to do"
    if workers > need:
        work += ", cooling down"
    return f"standby: {work}; at most {cap.why}"
