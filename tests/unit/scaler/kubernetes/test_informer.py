"""How a cache follows an API server that behaves badly; hours pass in milliseconds."""

import asyncio
import contextlib
import itertools
import weakref

from tests.support.memory import TIME, LoopClock

from trunkline.scaler.kubernetes.api import ApiError, Told
from trunkline.scaler.kubernetes.cache import Cache
from trunkline.scaler.kubernetes.informer import Informer, Pages, Watch
from trunkline.scaler.kubernetes.reading import Object

pytestmark = TIME


def thing(number: int) -> Object:
    return {"metadata": {"name": f"a{number}", "uid": f"u{number}", "resourceVersion": str(number)}}


def page(*items: Object, after: str = "") -> Object:
    return {"metadata": {"resourceVersion": "1", "continue": after}, "items": list(items)}


async def empty(after: str) -> Object:
    del after
    return page()


async def silent(version: str, limit_s: int, told: Told) -> None:
    del version, told
    await asyncio.sleep(limit_s)


def kept() -> Cache[str]:
    return Cache(lambda found: str(found["metadata"]["name"]), lambda *_: None)


async def follow(cache: Cache[str], pages: Pages, watches: Watch, *, for_s: float) -> Informer[str]:
    tick = itertools.count(1).__next__
    followed = Informer(
        "pods", cache, pages, watches, clock=LoopClock(), tick=tick, woken=lambda: None
    )
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(for_s):
            await followed.run()
    return followed


async def test_watches_that_end_at_once_are_asked_for_with_growing_waits() -> None:
    asked = 0

    async def cut(version: str, limit_s: int, told: Told) -> None:
        nonlocal asked
        del version, limit_s, told
        asked += 1

    await follow(kept(), empty, cut, for_s=60)
    assert 6 <= asked <= 25


async def test_watches_that_tell_something_are_asked_for_again_at_once() -> None:
    numbers = itertools.count(2)
    at: list[float] = []

    async def busy(version: str, limit_s: int, told: Told) -> None:
        del version, limit_s
        at.append(LoopClock().monotonic_s())
        await asyncio.sleep(0.5)
        told({"type": "ADDED", "object": thing(next(numbers))})

    await follow(kept(), empty, busy, for_s=30)
    assert max(later - before for before, later in itertools.pairwise(at)) < 0.6


async def test_a_list_is_held_one_page_at_a_time() -> None:
    class Page(dict[str, object]):
        """A dictionary that can be referred to weakly."""

    alive: list[weakref.ref[Page]] = []
    at_once: list[int] = []

    async def pages(after: str) -> Object:
        number = int(after or 0)
        at_once.append(sum(each() is not None for each in alive))
        made = Page(page(thing(number), after=str(number + 1) if number < 9 else ""))
        alive.append(weakref.ref(made))
        return made

    cache = kept()
    await follow(cache, pages, silent, for_s=5)
    assert len(cache) == 10
    assert at_once == [0] * 10


async def test_a_list_that_fails_amid_its_pages_changes_nothing() -> None:
    fails = True

    async def pages(after: str) -> Object:
        if after and fails:
            raise ApiError("list pods", 0, "cut")
        return page(thing(2)) if after else page(thing(1), after="2")

    cache = kept()
    followed = await follow(cache, pages, silent, for_s=5)
    assert (len(cache), followed.problem) == (0, "list pods: no answer: cut")
    fails = False
    await follow(cache, pages, silent, for_s=5)
    assert len(cache) == 2
