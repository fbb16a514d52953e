"""Whose credentials are to be made, made anew, or revoked: workers' credentials over time.

    none --somebody works on the pipeline--> held --two thirds of its life--> held, newly issued
    held --its pipeline is gone, and so are its workers--> revoked --> none

Everything follows from who works and from what is held; so whoever starts, after whatever crash, goes
on from there. A credential that was issued and not put where it is held is issued again; one that was
revoked and is still held is revoked again. What nobody revokes ends when it expires.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from trunkline.scaler.ports import Held


@dataclass(frozen=True)
class Issue:
    """Make a pipeline's credential and put it where it is held."""

    pipeline: str


@dataclass(frozen=True)
class Revoke:
    """End a pipeline's credential, then take it from where it is held."""

    pipeline: str


Change = Issue | Revoke


def plan(
    wanted: Collection[str], held: Mapping[str, Held], *, issuer: str, now: float
) -> list[Change]:
    """Return what is to be done now.

    Args:
        wanted: Pipelines that are there, or have workers.
        held: Pipeline -> its credential.
        issuer: Who issues now.
        now: Wall clock, seconds.
    """
    ended = [Revoke(each) for each in sorted(held) if each not in wanted]
    made = [Issue(each) for each in sorted(wanted) if _stale(held.get(each), issuer, now)]
    return [*made, *ended]


def next_at(held: Mapping[str, Held]) -> float | None:
    """Return when the next one is due; None: never."""
    return min((each.due_at for each in held.values() if each.due_at is not None), default=None)


def _stale(each: Held | None, issuer: str, now: float) -> bool:
    if each is None or each.issuer != issuer:
        return True
    return each.due_at is not None and now >= each.due_at
