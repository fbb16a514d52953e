"""Long stories of a scaler, in simulated time."""

import asyncio

from tests.support import counting
from tests.support.memory import TIME
from tests.support.simulated import World

from trunkline.contracts import messages, subjects
from trunkline.contracts.attempts import Ledger
from trunkline.contracts.states import Cause

pytestmark = TIME

HOUR_S = 3600.0


async def test_node_events_are_followed_within_a_moment(world: World) -> None:
    await world.pipeline(parallelism_spec={"coefficient": 2.0})
    async with world.scaled():
        await asyncio.sleep(1)
        assert len(world.names()) == 8
        for count, workers in ((10, 20), (1, 2), (4, 8)):
            world.set_nodes(count)
            await asyncio.sleep(0.5)
            assert len(world.names()) == workers


async def test_a_lost_event_costs_one_resync_at_most(world: World) -> None:
    await world.pipeline()
    async with world.scaled(resync_s=30):
        await asyncio.sleep(1)
        world.deaf = True
        world.set_nodes(10)
        await asyncio.sleep(29)
        assert len(world.names()) == 4
        await asyncio.sleep(3)
        assert len(world.names()) == 10


async def test_a_spec_that_cannot_be_decided_is_its_own_pipelines_problem(world: World) -> None:
    """A pipeline was accepted whose spec ended the scaler, and each that was started after it.

    1. Of two pipelines one cannot be decided: the other has its workers, and its state says why.
    2. The spec is mended: it has workers, too, and no problem any more.
    """
    world.unreadable.add("bad")
    await world.pipeline("bad")
    await world.pipeline("good")
    async with world.scaled(resync_s=30):
        await asyncio.sleep(2)
        assert len(world.names()) == 4
        assert "a spec like no other" in (await world.shown("bad")).problem
        world.unreadable.clear()
        await world.pipeline("bad")
        await asyncio.sleep(2)
        assert len(world.names()) == 8
        assert (await world.shown("bad")).problem == ""
    assert (await world.shown("good")).problem == ""


async def test_busy_workers_finish_their_two_hours_before_they_go(world: World) -> None:
    """Ten nodes, then four, then ten again, while six of ten workers are two hours at work.

    1. Six datums of two hours run on ten workers.
    2. Six nodes go: the four idle ones drain and are deleted at once, two busy ones drain.
    3. The nodes come back: six new workers start, though two old ones are still draining.
    4. After two hours the draining ones have finished, and are deleted.
    """
    world.set_nodes(10)
    await world.pipeline()
    async with world.scaled(gauge_s=10, resync_s=60):
        await asyncio.sleep(1)
        work = await world.job(6, 2 * HOUR_S)
        await asyncio.sleep(1)
        busy = world.busy()
        assert len(busy) == 6
        world.set_nodes(4)
        await asyncio.sleep(1)
        assert world.names() == busy
        assert (await world.shown()).want == 4
        world.set_nodes(10)
        await asyncio.sleep(1)
        assert busy < world.names()
        assert len(world.names()) == 12
        await asyncio.sleep(2 * HOUR_S)
        assert len(world.names()) == 10
    assert sorted(work.done) == list(range(6))
    assert world.killed_busy == []
    assert not [s for s in world.bus.stored if s.startswith("trunkline.attempts.")]


async def test_a_standby_pipeline_sleeps_wakes_and_sleeps(world: World) -> None:
    await world.pipeline(standby=True, parallelism_spec={"constant": 10})
    async with world.scaled(standby_cool_down_s=60):
        await asyncio.sleep(HOUR_S)
        assert world.history == []
        work = await world.job(3, 100)
        await asyncio.sleep(1)
        assert len(world.names()) == 3
        await asyncio.sleep(100)
        assert len(work.done) == 3
        await world.job_state(work, "SUCCESS")
        await asyncio.sleep(50)
        assert len(world.names()) == 3
        await asyncio.sleep(20)
        assert world.names() == set()
    assert max(count for _, count in world.history) == 3


async def test_a_job_that_waits_for_its_inputs_keeps_one_worker_awake(world: World) -> None:
    await world.pipeline(standby=True, parallelism_spec={"constant": 4})
    async with world.scaled(standby_cool_down_s=60):
        first = await world.job(4, 10)
        await asyncio.sleep(1)
        second = await world.job(0, 10, state="WAITING", number=2)
        await asyncio.sleep(20)
        await world.job_state(first, "SUCCESS")
        await asyncio.sleep(HOUR_S)
        assert len(world.names()) == 1
        await world.job_state(second, "UNRUNNABLE")
        await asyncio.sleep(70)
        assert world.names() == set()


async def test_a_killed_workers_datum_runs_elsewhere_and_the_worker_is_replaced(
    world: World,
) -> None:
    await world.pipeline()
    async with world.scaled():
        await asyncio.sleep(1)
        work = await world.job(4, 600)
        await asyncio.sleep(1)
        victim = min(world.busy())
        await world.kill(victim)
        await asyncio.sleep(0.5)
        assert len(world.busy()) == 4  # its successor, of the same name, has taken the datum
        assert victim in world.names()
        await asyncio.sleep(700)
    assert sorted(work.done) == [0, 1, 2, 3]
    ledgers = [
        messages.decode(subject, stored.data, Ledger)
        for subject, stored in world.bus.stored.items()
        if subject.startswith("trunkline.attempts.")
    ]
    assert [[attempt.cause for attempt in each.attempts] for each in ledgers] == [
        [Cause.WORKER_LOST]
    ]


async def test_a_death_that_nobody_tells_of_is_found_by_the_next_look(world: World) -> None:
    await world.pipeline()
    async with world.scaled(resync_s=3):
        await asyncio.sleep(1)
        work = await world.job(4, 600)
        await asyncio.sleep(1)
        await world.kill(min(world.busy()), told=False)
        await asyncio.sleep(4)
        assert len(world.busy()) == 4
        await asyncio.sleep(700)
    assert sorted(work.done) == [0, 1, 2, 3]


async def test_a_worker_that_dies_while_there_is_no_scaler_is_found_by_the_next(
    world: World,
) -> None:
    await world.pipeline()
    async with world.scaled():
        await asyncio.sleep(1)
        await world.job(4, 600)
        await asyncio.sleep(1)
    await world.kill(min(world.busy()))
    async with world.scaled():
        await asyncio.sleep(8)
        assert len(world.busy()) == 4
        assert len([subject for subject in world.bus.stored if ".attempts." in subject]) == 1


async def test_a_restart_in_the_middle_of_drains_goes_on_with_them(world: World) -> None:
    world.set_nodes(10)
    await world.pipeline()
    async with world.scaled():
        await asyncio.sleep(1)
        work = await world.job(10, 1000)
        await asyncio.sleep(1)
        world.set_nodes(4)
        await asyncio.sleep(1)
    draining = {name for name, worker in world.workers.items() if worker.draining}
    assert len(draining) == 6
    created = len(world.created)
    async with world.scaled():
        await asyncio.sleep(500)
        assert {name for name, worker in world.workers.items() if worker.draining} == draining
        await asyncio.sleep(600)
        assert len(world.names()) == 4
    assert len(world.created) == created
    assert sorted(work.done) == list(range(10))
    assert world.killed_busy == []


async def test_restarts_of_the_scaler_touch_nobody(world: World) -> None:
    await world.pipeline()
    async with world.scaled():
        await asyncio.sleep(1)
    await world.job(40, 60)
    created = list(world.created)
    for _ in range(20):
        async with world.scaled(standby_cool_down_s=1):
            await asyncio.sleep(7)
    assert world.created == created
    assert not any(worker.draining for worker in world.workers.values())


async def test_a_cordoned_nodes_workers_move(world: World) -> None:
    await world.pipeline(parallelism_spec={"constant": 4})
    async with world.scaled():
        await asyncio.sleep(1)
        await world.job(4, 600)
        await asyncio.sleep(1)
        world.set_nodes(4, cordoned=1)
        await asyncio.sleep(3)
        assert len(world.names()) == 5  # the one that moves finishes its datum
        shown = await world.shown()
        assert (shown.want, shown.have, shown.ready) == (4, 5, 4)
        await asyncio.sleep(700)
        assert {worker.listed.node for worker in world.workers.values()} <= {"n0", "n1", "n2"}
        assert len(world.names()) == 4
    assert world.killed_busy == []


async def test_a_pipeline_that_went_while_there_was_no_scaler_leaves_nothing_behind(
    world: World,
) -> None:
    await world.pipeline()
    async with world.scaled():
        await asyncio.sleep(2)
        assert await world.scaling.get("p") is not None
    await world.pipelines.delete("p")
    async with world.scaled():
        await asyncio.sleep(30)
        assert world.names() == set()
        assert await world.scaling.get("p") is None


async def test_a_refusal_is_told_and_tried_again_with_patience(world: World) -> None:
    world.refuse = "no room"
    await world.pipeline(parallelism_spec={"constant": 1})
    asked: list[float] = []
    create = world.create

    async def counted(worker: object) -> None:
        asked.append(world.clock.monotonic_s())
        await create(worker)  # type: ignore[arg-type]

    world.create = counted  # type: ignore[method-assign]
    async with world.scaled():
        await asyncio.sleep(600)
        shown = await world.shown()
        assert "no room" in shown.problem
        assert 10 < len(asked) < 40
        world.refuse = ""
        await asyncio.sleep(31)
        assert len(world.names()) == 1
        await asyncio.sleep(20)
        assert not (await world.shown()).problem


async def test_a_cluster_that_is_away_changes_nothing_and_spins_nowhere(world: World) -> None:
    await world.pipeline()
    async with world.scaled():
        await asyncio.sleep(1)
        work = await world.job(4, 100)
        before = world.names()
        world.away = True
        await asyncio.sleep(HOUR_S)
        assert world.names() == before
        assert sorted(work.done) == [0, 1, 2, 3]
        assert not [subject for subject in world.bus.stored if ".attempts." in subject]
        world.away = False
        world.set_nodes(6)
        await asyncio.sleep(4)
        assert len(world.names()) == 6


async def test_while_we_hear_nobody_nobody_is_taken_for_gone(world: World) -> None:
    """NATS is away for an hour while four workers drain, each in the middle of a datum."""
    world.set_nodes(8)
    await world.pipeline()
    async with world.scaled(gauge_s=10):
        await asyncio.sleep(1)
        work = await world.job(8, 2 * HOUR_S)
        await asyncio.sleep(1)
        world.set_nodes(4)
        await asyncio.sleep(1)
        world.bus.connected = False
        await asyncio.sleep(HOUR_S)
        assert len(world.names()) == 8
        world.bus.reconnect()
        await asyncio.sleep(HOUR_S)
    assert sorted(work.done) == list(range(8))
    assert world.killed_busy == []
    assert not [subject for subject in world.bus.stored if ".attempts." in subject]


async def test_every_decision_is_an_event_with_its_inputs(world: World) -> None:
    await world.pipeline(parallelism_spec={"coefficient": 0.5})
    async with world.scaled():
        await asyncio.sleep(5)
        world.set_nodes(5, cordoned=1)
        await asyncio.sleep(5)
        shown = await world.shown()
    assert shown.reason == "4 nodes x 0.5 = 2 workers; 1 node not counted: cordoned"
    assert [node.why_not for node in shown.nodes] == ["", "", "", "", "cordoned"]
    subject = subjects.event("p", "scaled")
    event = messages.decode(subject, world.bus.stored[subject].data, messages.Event)
    assert shown.reason in event.text
    assert {"nodes", "pending", "in_flight", "cap", "have", "want"} <= set(event.facts)


async def cost_of_more_among(many: int) -> float:
    """Return what thirty more pipelines cost a scaler that has so many, all of which stand by."""
    async with World(nodes=4).turning() as world, world.scaled(resync_s=60):
        for number in range(many):
            await world.pipeline(f"p{number}", standby=True)
        await asyncio.sleep(1)
        with counting.operations() as cost:
            for number in range(many, many + 30):
                await world.pipeline(f"p{number}", standby=True)
                await asyncio.sleep(1)
        assert (await world.shown(f"p{many + 29}")).want == 0
        return cost.count


async def test_a_pipeline_among_hundreds_that_stand_by_costs_what_it_costs_among_a_few() -> None:
    assert await cost_of_more_among(300) < 4 * await cost_of_more_among(10)
