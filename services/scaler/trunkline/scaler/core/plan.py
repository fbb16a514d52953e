"""From what is wanted and what is seen to what is to be done, for one pipeline.

    (create) --> starting --first claim--> idle <--> busy
                    |                        |         |
                    +---------- drain <------+---------+     one way
                                  |
                 says so and holds nothing, or is gone --> delete --> no longer listed

The cap counts the workers that are to stay. One that drains still finishes its datum and is not
counted, so when more are wanted again, new ones start at once. Each code version has a share of the
want; the shares of versions that only finish their old jobs shrink with those jobs. A worker is
never touched because a number around it has changed: only surplus workers are.

Workers that would be made otherwise now (more memory, another agent) are replaced rollingly, since what
is to replace them may never come up: a few drain, new ones start in their place, and further ones drain as
those claim. So an edit that no node can hold, or an image that is not there, costs a quarter of the workers, and
one where there are few. This holds within a code version; workers of a former one are of use to its
jobs only, and those that these do not need go at once.
"""

import enum
import hashlib
from collections.abc import Collection, Mapping, Sequence

import msgspec

from trunkline.contracts.wording import counted


class Phase(enum.StrEnum):
    """Where a worker stands."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    GONE = "gone"
    """It drains and holds nothing any more, or nothing of it runs: to be deleted."""
    STOPPING = "stopping"
    """It was told to end, and still has its name."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One worker, from what the cluster lists and what the worker claims."""

    name: str
    code_hash: str
    phase: Phase
    since_ns: int = 0
    """When the datum that it executes was begun."""
    incarnation: str = ""
    instance: str = ""
    """What the cluster calls it; a name is used again, this is not."""
    must_go: str = ""
    """Why it is to be replaced, busy or not; it still finishes what it has begun."""
    outdated: bool = False
    """Whether it would be made in another way now: to be replaced when its turn comes."""
    misplaced: bool = False
    """Whether its node is gone, or does not count any more."""


class Create(msgspec.Struct, frozen=True):
    """Start a worker."""

    name: str
    code_hash: str


class Drain(msgspec.Struct, frozen=True):
    """Tell a worker to finish what it has begun and take no more."""

    name: str
    incarnation: str
    reason: str
    instance: str = ""


class Delete(msgspec.Struct, frozen=True):
    """End a worker that holds nothing."""

    name: str
    reason: str


Change = Create | Drain | Delete


def shares(want: int, current: str, old: Mapping[str, int]) -> dict[str, int]:
    """Return how many workers each code version gets of the want; the sum is the want.

    Jobs finish in order, so the versions of older jobs come first; but the current one always gets
    a worker where there are two.

    Args:
        want: Workers in all.
        current: Code hash of the newest version.
        old: Code hash -> workers that its live jobs need, oldest first; without `current`.
    """
    given: dict[str, int] = {}
    left = want
    for code_hash, need in old.items():
        given[code_hash] = min(need, max(0, left - 1) if want > 1 else left)
        left -= given[code_hash]
    return {**given, current: left}


def plan(pipeline: str, wants: Mapping[str, int], seen: Sequence[Seen]) -> list[Change]:
    """Return what is to be done, in order. Planned again before it is done, it is the same.

    Args:
        pipeline: Its name.
        wants: Code hash -> workers; a code hash that is not in it wants none.
        seen: All workers of the pipeline that are there, or are being made.
    """
    changes: list[Change] = [
        Delete(each.name, each.must_go or "it has drained")
        for each in seen
        if each.phase is Phase.GONE
    ]
    staying = [each for each in seen if each.phase in STAYING]
    changes += [_drain(each, each.must_go) for each in staying if each.must_go]
    taken = {each.name for each in seen}
    unwanted = _REPLACED if wants else ENDED
    for code_hash in sorted({*wants, *(each.code_hash for each in staying)}):
        want = wants.get(code_hash, 0)
        have = [each for each in staying if each.code_hash == code_hash and not each.must_go]
        surplus = max(0, len(have) - want)
        victims = sorted(have, key=_last_to_keep)
        why = f"{want} of {counted(len(have), 'worker')} wanted" if code_hash in wants else unwanted
        changes += [_drain(each, why) for each in victims[:surplus]]
        rolled = _in_turn(victims[surplus:], want)
        changes += [_drain(each, OUTDATED) for each in rolled]
        for _ in range(want - (len(have) - surplus) + len(rolled)):
            name = free_name(pipeline, code_hash, taken)
            taken.add(name)
            changes.append(Create(name, code_hash))
    return changes


def free_name(pipeline: str, code_hash: str, taken: Collection[str]) -> str:
    """Return the first free name of a worker: `<pipeline>-<8 digits of the code>-<ordinal>`.

    The same view gives the same name, so a worker that is made twice is refused the second time.
    """
    ordinal = 0
    while (name := _name(pipeline, code_hash, ordinal)) in taken:
        ordinal += 1
    return name


STAYING = (Phase.STARTING, Phase.IDLE, Phase.BUSY)


OUTDATED = "the spec would make it otherwise now"
_REPLACED = "its code was replaced"
ENDED = "its pipeline is to have no workers any more"
_READY = (Phase.IDLE, Phase.BUSY)
_MISSING = 4
"""A worker in so many may be missing for the sake of a roll; one always may."""


def _drain(each: Seen, why: str) -> Drain:
    return Drain(each.name, each.incarnation, why, each.instance)


def _in_turn(victims: Sequence[Seen], want: int) -> list[Seen]:
    """Return the outdated ones, first victims first, that may be replaced now: few enough are missing."""
    ready = [each for each in victims if each.phase in _READY]
    spare = max(1, want // _MISSING) - (want - len(ready))
    return [each for each in ready if each.outdated][: max(0, spare)]


def _last_to_keep(each: Seen) -> tuple[bool, bool, bool, bool, int, int, str]:
    """Order workers by who goes first: never a busy one before an idle one.

    Among equals those whose node is gone, then those that have not begun, then outdated ones, then those that began
    last (the least is lost if they should die on the way), then the highest ordinal.
    """
    ordinal = each.name.rpartition("-")[2]
    return (
        each.phase is Phase.BUSY,
        not each.misplaced,
        each.phase is not Phase.STARTING,
        not each.outdated,
        -each.since_ns,
        -int(ordinal) if ordinal.isdigit() else 0,
        each.name,
    )


_NAME_MAX = 63


def _name(pipeline: str, code_hash: str, ordinal: int) -> str:
    name = f"{pipeline}-{code_hash[:8]}-{ordinal}"
    if len(name) <= _NAME_MAX:
        return name
    digest = hashlib.sha256(pipeline.encode()).hexdigest()[:8]
    return f"{pipeline[:30]}-{digest}-{code_hash[:8]}-{ordinal}"
