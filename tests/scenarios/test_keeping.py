"""Collections at random moments of random histories, and what they must leave and take."""

import random
from pathlib import Path

import pytest
from tests.support.dated import nothing
from tests.support.keeping import Kept

from trunkline.coordinator.core import tiers

NAMES = ["a0", "a1", "b0", "b1"]


async def act(kept: Kept) -> None:
    """Let something happen."""
    chance = kept.chance
    jobs = kept.catalog.jobs.unsettled()
    what = chance.random()
    if jobs and what < 0.6:
        await kept.step(chance.choice(jobs))
    elif what < 0.72:
        contents = [f"{name} {chance.randrange(2)}" for name in chance.sample(NAMES, 2)]
        await kept.put(*contents, branch=chance.choice(("master", "master", "side")))
    elif what < 0.8:
        await kept.pipeline()
    elif what < 0.85:
        await kept.delete_pipeline()
    elif what < 0.88:
        await kept.delete_repo()
    elif what < 0.91:
        await kept.delete_branch("side")
    else:
        kept.pass_hours(chance.choice((1, 10, 30, 70)))


async def act_often(kept: Kept, most: int) -> None:
    for _ in range(kept.chance.randrange(most)):
        await act(kept)


@pytest.mark.parametrize(
    "seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 30))]
)
async def test_nothing_that_can_be_asked_for_is_ever_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(tiers, "MOST", 2)  # so that runs are merged all the time
    chance = random.Random(seed)
    kept = Kept(tmp_path, chance, keep_commits=chance.choice((0, 0, 2)))
    async with kept.running():
        for _ in range(10):
            kept.meanwhile = nothing
            await act_often(kept, 20)
            kept.meanwhile = lambda: act_often(kept, 4)
            assert not (await kept.collect()).damaged
            await kept.read_all()
        kept.meanwhile = nothing
        await everything_is_deleted(kept)
        kept.pass_hours(100)
        await kept.collect()
        assert kept.objects() == set()


async def everything_is_deleted(kept: Kept) -> None:
    while jobs := kept.catalog.jobs.unsettled():
        await kept.step(jobs[0])
    await kept.delete_pipeline()
    await kept.delete_repo()
    if "p" in kept.catalog.repos:
        await kept.repos.delete("p")
