"""A datum that came again: what its ledger says is decided once, though an answer of the server is lost."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from tests.support.memory import TIME, LoopClock, MemoryBus
from tests.support.wards import ward

from trunkline.bus.ports import Acked, Outgoing
from trunkline.contracts import attempts, errors, messages, subjects
from trunkline.contracts.attempts import Ledger
from trunkline.contracts.messages import DatumTask, JobTicket
from trunkline.contracts.spec import Transform
from trunkline.contracts.states import Cause
from trunkline.worker_agent import datum as datums
from trunkline.worker_agent.datum import Bench
from trunkline.worker_agent.idle import Idle
from trunkline.worker_agent.printing import Printer
from trunkline.worker_agent.records import Records
from trunkline.worker_agent.work import Datum, Nak

pytestmark = TIME

TASK = DatumTask(
    pipeline="p", job="0" * 32, index=0, datum="d" * 32, fingerprint="f" * 32, inputs=()
)
TICKET = JobTicket(
    job=TASK.job, version=1, code_hash="c", transform=Transform(cmd=("x",)), datum_tries=1
)
LEDGER = subjects.attempts(ward("p"), TASK.job, TASK.index)


class Forgetful(MemoryBus):
    """A server that stores what it is given, and whose answer to the first of it is lost."""

    told = False

    async def put(self, subject: str, data: bytes, **how: Any) -> Acked:
        acked = await super().put(subject, data, **how)
        if not self.told:
            self.told = True
            raise errors.UnavailableError(subject, "its answer was lost")
        return acked

    def recorded(self) -> Ledger:
        return messages.decode(LEDGER, self.stored[LEDGER].data, Ledger)


class NoOutcome:
    """Takes what is printed, and is not to get an outcome."""

    async def put(self, subject: str, *_: object, **__: object) -> None:
        raise AssertionError(subject)

    def flush(self) -> None: ...

    async def put_all(self, messages: Iterable[Outgoing], *, timeout_s: float = 30.0) -> None: ...


def bench(bus: MemoryBus) -> Bench:
    clock = LoopClock()
    ours: dict[str, Any] = {"worker": "w1", "clock": clock}
    printer = Printer(
        NoOutcome(), ward("p"), incarnation="i1", limit_bytes=1000, flush_s=1000.0, **ours
    )
    return Bench(
        executor=Idle(clock, 0.0),
        records=Records(bus, bus, NoOutcome(), ward("p"), **ours),
        printer=printer,
        incarnation="i1",
        resting=lambda: True,
        **ours,
    )


async def again(bus: MemoryBus, *former: attempts.Attempt) -> object:
    """Let a datum with these former attempts come once more; return what that came to."""
    if former:
        bus.store(LEDGER, messages.encode(Ledger(attempts=former)))
    await asyncio.sleep(3600)
    datum = Datum(TASK, TICKET, fresh=False, received_s=0.0)

    async def alone() -> None: ...

    return await datums.run(datum, bench(bus), alone, lambda: None)


def ended_long_ago(cause: Cause, by: str) -> attempts.Attempt:
    return attempts.Attempt(worker=by, incarnation=by, started_ns=1, ended_ns=2, cause=cause)


async def test_its_start_is_recorded_once():
    bus = Forgetful()
    await again(bus)
    assert [(each.worker, each.cause) for each in bus.recorded().attempts] == [("w1", None)]


@pytest.mark.parametrize("bus", [Forgetful(), MemoryBus()], ids=["answer-lost", "answered"])
async def test_the_verdict_against_it_is_put_off_for_as_long(bus):
    """Else a worker that was taken for lost too early would have no time to say that it lives."""
    came_to = await again(bus, ended_long_ago(Cause.WORKER_LOST, "w2"))
    assert came_to == Nak(attempts.CHARGE_AFTER_S)
    assert messages.decode(LEDGER, bus.stored[LEDGER].data, Ledger).waited == 1


async def test_a_pass_to_another_worker_is_counted_once():
    bus = Forgetful()
    failed = ended_long_ago(Cause.NO_RESOURCES, "i1")
    assert isinstance(await again(bus, failed), Nak)
    assert bus.recorded().passed == 1
