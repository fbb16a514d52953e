"""Leases that are given back, and that what was not given back is not counted."""

import pytest

from trunkline.contracts import errors
from trunkline.contracts.messages import Held
from trunkline.runtime import metric_names as names
from trunkline.runtime.clock import SystemClock
from trunkline.runtime.metrics import Buckets, together
from trunkline.scaler.counting import Counting
from trunkline.scaler.giving_back import GivingBack

JOB = "b" * 32


class Wire:
    """Takes what is published, but for the first `refuses` times."""

    def __init__(self, refuses: int = 0) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self._refuses = refuses

    async def publish(self, subject: str, data: bytes) -> None:
        if self._refuses:
            self._refuses -= 1
            raise errors.UnavailableError("nats", "it is away")
        self.sent.append((subject, data))


def lease(job: str, sequence: int) -> Held:
    return Held(job=job, sequence=sequence, index=0, generation=1, executing=False)


def held(*sequences: int) -> list[Held]:
    return [lease(JOB, each) for each in sequences]


async def given(wire: Wire, deliveries: int | None, *sequences: int) -> tuple[object, int]:
    """Give some back; return what is counted of it: how many, and how often it was timed."""
    counting = Counting()

    async def made(*_: str) -> int | None:
        return deliveries

    giving_back = GivingBack(wire, made, SystemClock(), counting)
    await giving_back.give("edges", JOB, held(*sequences), since_s=0.0)
    found = {metric.name: value for metric, _, value in together([lambda: counting.samples([])])}
    timed = found[names.REDISTRIBUTION.name]
    assert isinstance(timed, Buckets)
    return found.get(names.GIVEN_BACK.name), sum(timed.counts)


async def test_what_is_given_back_is_counted_and_timed() -> None:
    wire = Wire()
    assert await given(wire, 9, 3, 4) == (2, 1)
    assert len(wire.sent) == 2


async def test_nothing_is_given_back_of_a_job_that_has_no_queue_and_nothing_counted() -> None:
    wire = Wire()
    assert await given(wire, None, 3, 4) == (None, 0)
    assert wire.sent == []


async def test_what_is_sent_again_is_counted_once() -> None:
    assert await given(Wire(refuses=1), 9, 3) == (1, 1)


@pytest.mark.parametrize("job", ["*", "b" * 31])
async def test_a_job_that_cannot_be_is_left_alone(job: str) -> None:
    wire, counting = Wire(), Counting()

    async def made(*_: str) -> int | None:
        raise AssertionError("it is not asked about")

    claimed = [lease(job, 1)]
    await GivingBack(wire, made, SystemClock(), counting).give("edges", job, claimed, None)
    assert wire.sent == []
