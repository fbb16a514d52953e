"""Days of workers' credentials, in simulated time."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from tests.support.memory import TIME, LoopClock

from trunkline.contracts import errors
from trunkline.scaler.credentials import Keeper
from trunkline.scaler.ports import ClusterUnavailableError, Credentials, Held

pytestmark = TIME

HOUR_S = 3600.0
LIFE_S = 24 * HOUR_S


class World:
    """Pipelines, an issuer and Secrets; each may be away."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.pipelines = {"p1"}
        self.secrets: dict[str, Credentials] = {}
        self.issued: list[tuple[str, float]] = []
        self.revoked: list[str] = []
        self.revoked_from = 0.0
        self.issuer_away = self.cluster_away = False
        self.refused: set[str] = set()
        self.name = "key-1"
        self.life_s = LIFE_S
        self.revocation_s = 0.0

    # the issuer

    async def issue(self, pipeline: str) -> Credentials:
        if self.issuer_away or pipeline in self.refused:
            raise errors.UnavailableError("the issuer", "it is away")
        now = self.now()
        self.issued.append((pipeline, now))
        held = Held(issued_at=now, expires_at=now + self.life_s, issuer=self.name)
        return Credentials(text=f"{pipeline} {len(self.issued)}", held=held)

    async def revoke(self, pipeline: str, issued_at: float) -> None:
        if self.issuer_away:
            raise errors.UnavailableError("the issuer", "it is away")
        await asyncio.sleep(self.revocation_s)
        self.revoked.append(pipeline)
        self.revoked_from = issued_at

    # the Secrets

    async def held(self) -> Mapping[str, Held]:
        self._there()
        return {pipeline: each.held for pipeline, each in self.secrets.items()}

    async def put(self, pipeline: str, made: Credentials) -> None:
        self._there()
        self.secrets[pipeline] = made

    async def remove(self, pipeline: str) -> None:
        self._there()
        self.secrets.pop(pipeline, None)

    def _there(self) -> None:
        if self.cluster_away:
            raise ClusterUnavailableError("secrets", "it is away")

    # what is told

    def now(self) -> float:
        return self.clock.wall_ns() / 1e9

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[Keeper]:
        keeper = Keeper(self, self, wanted=lambda: self.pipelines, clock=self.clock)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(keeper.run())
            yield keeper
            running.cancel()

    def expired(self) -> list[str]:
        return [
            pipeline
            for pipeline, each in self.secrets.items()
            if each.held.expires_at is not None and each.held.expires_at <= self.now()
        ]


async def test_credentials_are_made_anew_at_two_thirds_of_their_life() -> None:
    world = World()
    async with world.kept():
        for _ in range(5 * 24):
            await asyncio.sleep(HOUR_S)
            assert not world.expired()
    ages = [at for _, at in world.issued]
    assert ages[0] == 0
    assert all(
        abs(later - earlier - 16 * HOUR_S) < 31 for earlier, later in itertools.pairwise(ages)
    )


async def test_a_first_credential_that_lives_shortly_is_made_anew_in_time() -> None:
    """What is due is known from what was just made, not only from what was there before."""
    world = World()
    world.life_s = 60.0
    async with world.kept():
        await asyncio.sleep(45)
    assert [at for _, at in world.issued] == [0, 40]


async def test_an_outage_of_seven_hours_is_outlived_and_told() -> None:
    """The worst moment for it to begin is when a renewal is due."""
    world = World()
    async with world.kept() as keeper:
        for away, hours in (("issuer_away", 7), ("cluster_away", 1)):
            await asyncio.sleep(16 * HOUR_S - 120)
            setattr(world, away, True)
            await asyncio.sleep(hours * HOUR_S + 120)
            assert "away" in "".join([*keeper.problems, keeper.trouble("p1")])
            assert not world.expired()
            setattr(world, away, False)
            await asyncio.sleep(61)
            assert not keeper.problems
            assert not keeper.trouble("p1")
            assert world.secrets["p1"].held.issued_at > world.now() - 62


async def test_a_pipeline_that_comes_has_credentials_at_once_and_one_that_goes_is_revoked() -> None:
    world = World()
    async with world.kept() as keeper:
        await asyncio.sleep(1)
        world.pipelines = {"p1", "p2"}
        keeper.wake()
        await asyncio.sleep(0.1)
        assert set(world.secrets) == {"p1", "p2"}
        world.pipelines = {"p2"}
        keeper.wake()
        await asyncio.sleep(0.1)
        assert (set(world.secrets), world.revoked) == ({"p2"}, ["p1"])
        await asyncio.sleep(48 * HOUR_S)
        assert world.revoked == ["p1"]


async def test_what_cannot_be_issued_holds_up_nobody_else() -> None:
    world = World()
    world.pipelines, world.refused = {"a", "b", "c"}, {"a"}
    async with world.kept() as keeper:
        await asyncio.sleep(5)
        assert set(world.secrets) == {"b", "c"}
        assert "'a'" in keeper.trouble("a")
        assert not keeper.problems  # it is that pipeline's, and the process does its work
        world.refused.clear()
        await asyncio.sleep(61)
        assert set(world.secrets) == {"a", "b", "c"}
    assert [pipeline for pipeline, _ in world.issued].count("b") == 1


async def test_a_death_between_any_two_steps_is_made_good_by_the_next_process() -> None:
    """Issued and not put; revoked and not removed; nothing is held that nobody looks after."""
    world = World()
    world.cluster_away = True
    async with world.kept():
        await asyncio.sleep(1)
    world.cluster_away = False
    async with world.kept():
        await asyncio.sleep(1)
    assert world.secrets["p1"].text == "p1 1"
    world.pipelines = set()
    world.revoked.append("p1")  # by one that died before it removed the Secret
    async with world.kept():
        await asyncio.sleep(1)
    assert (world.secrets, world.revoked) == ({}, ["p1", "p1"])


async def test_another_workers_key_has_all_made_anew() -> None:
    world = World()
    async with world.kept() as keeper:
        await asyncio.sleep(1)
        world.name = "key-2"
        keeper.wake()
        await asyncio.sleep(1)
    assert world.secrets["p1"].held.issuer == "key-2"


async def test_a_hundred_revocations_hold_up_nobody() -> None:
    world = World()
    world.pipelines = {f"p{number}" for number in range(100)}
    world.revocation_s = 1.0
    async with world.kept() as keeper:
        await asyncio.sleep(1)
        world.pipelines = set()
        keeper.wake()
        await asyncio.sleep(0.1)
        world.pipelines = {"new"}
        keeper.wake()
        await asyncio.sleep(0.1)
        assert "new" in world.secrets
        assert not world.revoked
        await asyncio.sleep(1)
        assert set(world.secrets) == {"new"}
    assert len(world.revoked) == 100


async def test_who_starts_a_worker_finds_its_credential_made_once() -> None:
    """Also of a pipeline that comes back while what it had before is being revoked."""
    world = World()
    world.revocation_s = 1.0
    async with world.kept() as keeper:
        world.pipelines = {"p1", "p2"}
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(keeper.ensure("p2"))
        assert [pipeline for pipeline, _ in world.issued].count("p2") == 1
        world.pipelines = {"p1"}
        keeper.wake()
        await asyncio.sleep(0.5)
        world.pipelines = {"p1", "p2"}
        keeper.wake()
        await keeper.ensure("p2")
        assert world.revoked == ["p2"]
        assert world.secrets["p2"].text == f"p2 {len(world.issued)}"
        await asyncio.sleep(60)
    assert [pipeline for pipeline, _ in world.issued] == ["p1", "p2", "p2"]


async def test_who_starts_a_worker_is_told_that_its_credential_cannot_be_made() -> None:
    world = World()
    world.cluster_away = True
    async with world.kept() as keeper:
        with pytest.raises(ClusterUnavailableError, match=r"'p1'.*it is away"):
            await keeper.ensure("p1")
        world.cluster_away = False
        await asyncio.sleep(61)
        await keeper.ensure("p1")


async def test_what_somebody_has_taken_away_is_made_anew_before_the_next_worker_starts() -> None:
    world = World()
    async with world.kept() as keeper:
        await asyncio.sleep(1)
        world.secrets.clear()
        keeper.forget("p1")
        await keeper.ensure("p1")
        assert world.secrets["p1"].text == "p1 2"
        await asyncio.sleep(60)
    assert len(world.issued) == 2


async def test_what_nobody_has_issued_is_no_credential_and_goes_with_its_pipeline() -> None:
    """A ConfigMap whose Secret was never made, or says nothing of itself."""
    world = World()
    empty = Credentials(text="", held=Held(issued_at=0))
    world.secrets = {"p1": empty, "gone": empty}
    world.refused = {"p1"}
    async with world.kept() as keeper:
        await asyncio.sleep(1)
        assert set(world.secrets) == {"p1"}
        with pytest.raises(ClusterUnavailableError, match="it is away"):
            await keeper.ensure("p1")
        world.refused = set()
        await keeper.ensure("p1")
        assert world.secrets["p1"].text == "p1 1"


async def test_the_trouble_of_a_pipeline_ends_with_it() -> None:
    world = World()
    world.refused = {"p1"}
    async with world.kept() as keeper:
        await asyncio.sleep(1)
        assert keeper.trouble("p1")
        world.pipelines = set()
        keeper.wake()
        await asyncio.sleep(1)
        assert not keeper.trouble("p1")
        assert not keeper.problems


async def test_a_revocation_that_cannot_be_done_is_a_problem_of_the_process() -> None:
    """Its pipeline is gone, so nobody else would tell."""
    world = World()
    async with world.kept() as keeper:
        await asyncio.sleep(10)
        world.pipelines, world.issuer_away = set(), True
        keeper.wake()
        await asyncio.sleep(1)
        assert "'p1'" in keeper.problems[0]
        world.issuer_away = False
        await asyncio.sleep(61)
        assert not keeper.problems
    assert world.revoked == ["p1"]
    assert world.revoked_from == world.issued[0][1]
