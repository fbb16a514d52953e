"""A worker by its claims, and a reaper that has heard them: what tests of `core.reaping` tell it, and ask it."""

from typing import Any

from trunkline.contracts.messages import Claim, Held
from trunkline.scaler.core.losses import (
    ClaimHeard,
    Connected,
    Disconnected,
    Effect,
)
from trunkline.scaler.core.reaping import (
    Reaping,
)

KEY = ("p", "w-0")


JOB = "0" * 32


def held(number: int, *, executing: bool = False) -> Held:
    return Held(job=JOB, sequence=number, index=number, generation=1, executing=executing)


def claim(*items: Held, incarnation: str = "one", **fields: Any) -> Claim:
    return Claim(
        worker=KEY[1], incarnation=incarnation, code_hash="c", slots=1, held=items, **fields
    )


FULL = claim(held(1, executing=True), held(2), held(3))


def heard(state: Reaping, its: Claim, now_s: float = 0.0) -> list[Effect]:
    return state.handle(ClaimHeard(KEY, its, now_s))


def lost(state: Reaping, now_s: float = 1.0, reason: str = "Client Closed") -> list[Effect]:
    return state.handle(Disconnected(KEY, "s/1", reason, now_s))


def living(its: Claim = FULL) -> Reaping:
    state = Reaping()
    state.handle(Connected(KEY, "s/1", 0.0))
    assert heard(state, its) == []
    return state


def kinds(effects: list[Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects]
