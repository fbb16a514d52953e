"""Where a process may die: just before and just after each of its effects.

A target that is wrapped has a point at either side of each call of some methods; what only reads has none. Run once
without a death to learn the points, then once for each of them.
"""

from collections.abc import Awaitable, Callable
from typing import Any


class CrashError(BaseException):
    """The process dies here."""


class Faults:
    """Counts the effects of a process; dies just before or after one of them, if told so.

    Told by the number of the point, or by its name.
    """

    def __init__(
        self,
        at: int | str | None = None,
        *,
        meanwhile: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """Die at a point; let `meanwhile` do something before each effect, told by its name."""
        self.at, self.points, self.trace = at, 0, list[str]()
        self.meanwhile = meanwhile

    def point(self, name: str) -> None:
        self.trace.append(name)
        if self.at in (self.points, name):
            raise CrashError(name)
        self.points += 1

    def around(self, target: Any, *methods: str) -> Any:
        """Return the target with a point before and after each call of these methods."""
        return _Faulty(target, frozenset(methods), self)


class _Faulty:
    def __init__(self, target: Any, methods: frozenset[str], faults: Faults) -> None:
        self._target, self._methods, self._faults = target, methods, faults

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name not in self._methods:
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            what = f"{name} {args[0] if args and isinstance(args[0], str) else ''}"
            if not _is_reading(what):
                self._faults.point(f"before {what}")
                if self._faults.meanwhile is not None:
                    await self._faults.meanwhile(what)
            result = await found(*args, **kwargs)
            if not _is_reading(what):
                self._faults.point(f"after {what}")
            return result

        return call


def _is_reading(what: str) -> bool:
    return ".INFO." in what or "tail-" in what
