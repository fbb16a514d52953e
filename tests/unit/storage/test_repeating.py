"""A request that fails now and then is no event for who makes a hundred of them."""

import pytest

from trunkline.contracts import errors
from trunkline.storage import repeating
from trunkline.storage.repeating import repeated

pytestmark = pytest.mark.looptime


class Failing:
    """A store's request that fails some times first."""

    def __init__(self, failures: int, error: Exception) -> None:
        self._failures, self._error, self.tries = failures, error, 0

    async def __call__(self) -> str:
        self.tries += 1
        if self.tries <= self._failures:
            raise self._error
        return "bytes"


AWAY = errors.UnavailableError("store", "503")


async def of(request: Failing) -> str:
    @repeated
    async def call() -> str:
        return await request()

    return await call()


@pytest.mark.parametrize("failures", range(len(repeating.PAUSES_S) + 1))
async def test_a_few_failures_are_not_heard_of(failures: int) -> None:
    assert await of(Failing(failures, AWAY)) == "bytes"


async def test_an_outage_is_told_after_a_second(looptime: float) -> None:
    request = Failing(100, AWAY)
    with pytest.raises(errors.UnavailableError):
        await of(request)
    assert request.tries == len(repeating.PAUSES_S) + 1
    assert looptime == pytest.approx(sum(repeating.PAUSES_S))


async def test_what_is_not_there_is_not_asked_for_again() -> None:
    request = Failing(1, errors.NotFoundError("object", "x"))
    with pytest.raises(errors.NotFoundError):
        await of(request)
    assert request.tries == 1


async def test_a_try_that_took_long_is_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "SOON_S", -1.0)
    request = Failing(1, AWAY)
    with pytest.raises(errors.UnavailableError):
        await of(request)
    assert request.tries == 1
