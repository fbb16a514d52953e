"""Faults inside a process of ours: a store that fails, and a wall clock that is wrong.

The services know nothing of it. They are started with a PYTHONPATH that leads to `injected`, whose
`sitecustomize` Python itself runs first; it wraps the store's requests and the wall clock, and both look at
a *control file*, which the runner replaces as a whole. A process without that path and the file's name in
its environment is as ever; commands of users have the path at most.
"""

import contextlib
import functools
import os
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from trunkline.chaos.core.schedule import Target
from trunkline.contracts import errors
from trunkline.runtime.private import write_private
from trunkline.storage.repeating import repeated
from trunkline.storage.store import Store

CONTROL = "TRUNKLINE_CHAOS"
"""The environment's name of the control file."""
_INJECTED = Path(__file__).parent / "injected"
_READS = ("get", "get_range", "has")
_WRITES = ("put", "put_stream")
_LOOK_S = 0.1
_ROLES = {
    "trunkline.coordinator": Target.COORDINATOR,
    "trunkline.local.scaler": Target.SCALER,
    "trunkline.local.pool": Target.WORKER,
}


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What the control file says."""

    failing: float = 0.0
    full: bool = False
    clocks_s: dict[str, float] = {}
    """By `Target`: how far its wall clock is ahead."""


class Control:
    """The runner's end.

    What goes wrong all the time lies below what goes wrong for a while: the newest of these has its way
    as long as it lasts, then whatever of the others still does.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._usual = State()
        self._passing = dict[object, Callable[[State], State]]()

    def environment(self) -> dict[str, str]:
        """Return what services must be started with."""
        path = os.pathsep.join(filter(None, (str(_INJECTED), os.environ.get("PYTHONPATH", ""))))
        return {"PYTHONPATH": path, CONTROL: str(self.file)}

    def change(self, **facts: object) -> None:
        """Have other things go wrong all the time from now on."""
        self._usual = msgspec.structs.replace(self._usual, **facts)
        self._write()

    def during(self, **facts: object) -> contextlib.AbstractContextManager[None]:
        """Have other things go wrong for as long as this lasts."""
        return self._during(lambda state: msgspec.structs.replace(state, **facts))

    def clock_during(
        self, target: Target, ahead_s: float
    ) -> contextlib.AbstractContextManager[None]:
        """Have the clocks of a kind of process be wrong for as long as this lasts."""
        return self._during(
            lambda state: msgspec.structs.replace(
                state, clocks_s={**state.clocks_s, str(target): ahead_s}
            )
        )

    @contextlib.contextmanager
    def _during(self, changed: Callable[[State], State]) -> Iterator[None]:
        passing = object()
        self._passing[passing] = changed
        try:
            self._write()
            yield
        finally:
            del self._passing[passing]
            self._write()

    def _write(self) -> None:
        state = self._usual
        for changed in self._passing.values():
            state = changed(state)
        write_private(self.file, msgspec.json.encode(state))


class _Followed:
    """The process's end: the state, looked at again now and then."""

    def __init__(self, file: Path) -> None:
        self._file, self._looked_s, self._state = file, -1.0, State()

    @property
    def state(self) -> State:
        now_s = time.monotonic()
        if now_s - self._looked_s > _LOOK_S:
            self._looked_s = now_s
            try:
                self._state = msgspec.json.decode(self._file.read_bytes(), type=State)
            except (OSError, msgspec.DecodeError):
                self._state = State()
        return self._state


def install(file: Path) -> None:
    """Let the store and the clock of this process be broken."""
    followed = _Followed(file)
    for name in (*_READS, *_WRITES):
        # each single try, as it is below what repeats it
        call = getattr(Store, name).__wrapped__
        setattr(Store, name, repeated(_failing(followed, call, writes=name in _WRITES)))
    role = next((_ROLES[each] for each in sys.orig_argv if each in _ROLES), None)
    if role is not None:
        _shift_clock(followed, role)


def _failing(
    followed: _Followed, call: Callable[..., Awaitable[Any]], *, writes: bool
) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(call)
    async def called(store: Store, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        state = followed.state
        who = f"store {store.url}"
        if writes and state.full:
            raise errors.UnavailableError(who, "No space left on device")
        if _chance(state.failing):
            raise errors.UnavailableError(who, "it was made to fail")
        found = await call(store, *arguments, **named)
        if writes and _chance(state.failing):
            raise errors.UnavailableError(who, "it was done, and made to fail")
        return found

    return called


def _shift_clock(followed: _Followed, role: Target) -> None:
    now_ns = time.time_ns

    def shifted_ns() -> int:
        return now_ns() + int(followed.state.clocks_s.get(role, 0.0) * 1e9)

    time.time_ns = shifted_ns
    time.time = lambda: shifted_ns() / 1e9  # noqa: TID251 - replaced, not read


def _chance(share: float) -> bool:
    return share > 0 and secrets.randbelow(1_000_000) < share * 1_000_000
