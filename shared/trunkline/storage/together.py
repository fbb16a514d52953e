"""Several requests to the store at once, a bounded number of them, with one error if any fails."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

AT_ONCE = 8
"""Requests in flight where a caller has no reason for another number."""


async def run(calls: Iterable[Callable[[], Awaitable[T]]], *, at_once: int = AT_ONCE) -> list[T]:
    """Return the results of all calls, in order, at most `at_once` of them running.

    The first error cancels the rest and is raised as it is, not as a group.
    """
    waiting = enumerate(calls)
    results: dict[int, T] = {}

    async def work() -> None:
        for position, call in waiting:
            results[position] = await call()

    try:
        async with asyncio.TaskGroup() as tasks:
            for number in range(at_once):
                tasks.create_task(work(), name=f"store-{number}")
    except BaseExceptionGroup as group:
        raise _first(group) from None
    return [results[position] for position in sorted(results)]


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
