"""Cron inputs over hours and days of simulated time, also with a coordinator that dies at any point."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.crash_points import CrashError, Faults
from tests.support.memory import TIME, LoopClock, MemoryBus, MemoryTable

from trunkline.contracts import errors, names, records, spec
from trunkline.contracts.states import PipelineState
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.core import ticks
from trunkline.coordinator.events import Events
from trunkline.coordinator.jobsets import JobSets
from trunkline.coordinator.repos import Repos
from trunkline.coordinator.tables import Tables, branch_key, commit_key
from trunkline.coordinator.ticking import Ticking
from trunkline.storage import manifests
from trunkline.storage.store import Store, open_store

pytestmark = TIME

WRITES = ("create", "update", "put")
DAY = 24 * 3600


class Site:
    """What outlives a coordinator."""

    def __init__(self, folder: Path) -> None:
        self.store: Store = open_store(f"file://{folder}")
        made: dict[str, Any] = {name: MemoryTable() for name in Tables.__annotations__}
        self.tables = Tables(**made)

    @asynccontextmanager
    async def coordinator(self, faults: Faults | None = None) -> AsyncIterator[Ticking]:
        """Run what makes ticks and jobs of a coordinator inside."""
        faults = faults or Faults()
        tables = Tables(
            **{name: faults.around(table, *WRITES) for name, table in vars(self.tables).items()}
        )
        clock, events = LoopClock(), Events(MemoryBus(), LoopClock())
        catalog = Catalog(tables, clock, local=True)
        jobsets = JobSets(catalog, events, clock)
        store: Store = faults.around(self.store, "put")
        ticking = Ticking(catalog, jobsets, store, events, clock)
        async with catalog.following():
            repos = Repos(catalog, clock)
            for pipeline in catalog.all_pipelines():
                assert pipeline.spec is not None
                for cron in spec.crons(pipeline.spec.input):
                    await repos.ensure_ticks(pipeline.name, cron, pipeline.updated_ns)
            async with catalog.graph:
                await jobsets.create_missing()
            yield ticking

    async def run(self, seconds: float, faults: Faults | None = None) -> None:
        """Run a coordinator for so long."""
        clock = LoopClock()
        end = clock.monotonic_s() + seconds
        async with self.coordinator(faults) as ticking:
            while (left := end - clock.monotonic_s()) > 0:
                # no timer runs during a round, or simulated time would not wait for the disk
                await asyncio.sleep(min(left, await ticking.round()))

    async def pipeline(self, name: str, **cron: object) -> None:
        """Make a pipeline with a cron input `tick`, at this moment."""
        fields = {"name": "tick", "repo": f"{name}_tick", **cron}
        value = spec.Input(cron=msgspec.convert(fields, spec.CronInput))
        transform = spec.Transform(cmd=("true",))
        record = records.Pipeline(
            name=name,
            state=PipelineState.RUNNING,
            version=1,
            spec=spec.PipelineSpec(name=name, transform=transform, input=value),
            salt="s",
            updated_ns=LoopClock().wall_ns(),
        )
        await self.tables.pipelines.put(name, record)

    async def commits(self, repo: str) -> list[tuple[int, list[int]]]:
        """Return when each commit of the branch was made, and the times of the ticks in it."""
        branch = await self.tables.branches.get(branch_key(repo, "master"))
        assert branch is not None
        assert branch.value is not None
        found: list[tuple[int, list[int]]] = []
        head = branch.value.head
        while head:
            entry = await self.tables.commits.get(commit_key(repo, head))
            assert entry is not None
            assert entry.value is not None
            files = manifests.read(self.store, entry.value.manifest)
            times = [seconds(file.path) async for file in files]
            found.insert(0, (entry.value.created_ns // 10**9, times))
            head = entry.value.parent
        return found

    async def jobs(self, pipeline: str) -> list[str]:
        """Return the ids of a pipeline's jobs, in order."""
        found = [each.value for each in await self.tables.jobs.all(f"{pipeline}.") if each.value]
        return [each.id for each in sorted(found, key=lambda job: job.order)]


def seconds(path: str) -> int:
    """Return a tick's time by its file; all is early in 1970."""
    return int(datetime.fromisoformat(path[1:]).timestamp())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_each_tick_is_a_commit_with_a_file_more_and_sets_off_a_job(site: Site) -> None:
    await site.pipeline("p", spec="@every 10m")
    await site.run(3600)
    found = await site.commits("p_tick")
    times = [600, 1200, 1800, 2400, 3000]
    assert found[:5] == [(time, times[: number + 1]) for number, time in enumerate(times)]
    assert len(await site.jobs("p")) == len(found)
    assert (await site.jobs("p"))[0] == ticks.commit_id(
        "p", "tick", datetime.fromtimestamp(600, UTC)
    )


async def test_a_tick_may_take_the_place_of_those_before_it(site: Site) -> None:
    await site.pipeline("p", spec="@daily", overwrite=True)
    await site.run(3.5 * DAY)
    assert await site.commits("p_tick") == [(DAY * day, [DAY * day]) for day in (1, 2, 3)]


async def test_what_was_missed_is_made_up_for_in_one_commit_of_one_job(site: Site) -> None:
    await site.pipeline("p", spec="@hourly")
    await site.pipeline("q", spec="@hourly", overwrite=True)
    await site.run(5400)
    await asyncio.sleep(3 * 3600)
    await site.run(5500)
    hours = [3600 * hour for hour in range(1, 7)]
    assert await site.commits("p_tick") == [
        (3600, hours[:1]),
        (16200, hours[:4]),
        (18000, hours[:5]),
        (21600, hours[:6]),
    ]
    assert [times for _, times in await site.commits("q_tick")] == [
        [3600], [14400], [18000], [21600]
    ]  # fmt: skip
    assert len(await site.jobs("p")) == len(await site.jobs("q")) == 4


async def test_nothing_ticks_for_a_stopped_pipeline_and_it_catches_up_when_it_runs_again(
    site: Site,
) -> None:
    await site.pipeline("p", spec="@hourly")
    await site.run(10)
    entry = await site.tables.pipelines.get("p")
    assert entry is not None
    assert entry.value is not None
    stopped = msgspec.structs.replace(entry.value, state=PipelineState.STOPPED)
    await site.tables.pipelines.put("p", stopped)
    await site.run(4 * 3600)
    assert await site.commits("p_tick") == []
    await site.tables.pipelines.put("p", entry.value)
    await site.run(10)
    assert [len(times) for _, times in await site.commits("p_tick")] == [4]


async def test_a_start_in_the_past_is_made_up_for_and_one_in_the_future_is_waited_for(
    site: Site,
) -> None:
    await asyncio.sleep(2 * DAY)
    await site.pipeline("past", spec="@daily", start="1970-01-01T00:00:00Z")
    await site.pipeline("future", spec="@daily", start="1970-01-05T12:00:00Z")
    await site.run(4.5 * DAY)
    (_, first), *_ = await site.commits("past_tick")
    assert first == [DAY, 2 * DAY]
    found = await site.commits("future_tick")
    assert [times for _, times in found] == [[5 * DAY], [5 * DAY, 6 * DAY]]


async def test_one_that_never_ticks_does_when_it_is_told_to_and_each_time_anew(site: Site) -> None:
    await site.pipeline("p", spec="@never")
    await site.run(3600)
    assert await site.commits("p_tick") == []
    async with site.coordinator() as ticking:
        for _ in range(2):
            (made,) = await ticking.tick("p")
            assert made.repo == "p_tick"
        with pytest.raises(errors.NotFoundError):
            await ticking.tick("q")
    found = await site.commits("p_tick")
    assert [times for _, times in found] == [[3600], [3600, 3601]]
    assert len(await site.jobs("p")) == 2


async def test_a_store_that_is_away_keeps_no_other_input_from_ticking(site: Site) -> None:
    await site.pipeline("p", spec="@hourly")
    await site.pipeline("q", spec="@hourly")
    await site.run(3700)
    for each in await site.tables.commits.all("p_tick."):
        assert each.value is not None
        unreadable = msgspec.structs.replace(each.value, manifest="0" * 64)
        await site.tables.commits.put(each.key, unreadable)
    await site.run(3700)
    assert len(await site.commits("q_tick")) == 2


async def test_ticks_go_on_from_nothing_when_the_commit_before_is_lost(site: Site) -> None:
    """A server that had it in memory is gone: each tick was refused for ever, since it was to add to that."""
    await site.pipeline("p", spec="@hourly")
    await site.run(3700)
    for each in await site.tables.commits.all("p_tick."):
        await site.tables.commits.delete(each.key)
    await site.run(3700)
    (made,) = await site.tables.commits.all("p_tick.")
    assert made.value is not None
    files = manifests.read(site.store, made.value.manifest)
    assert [seconds(file.path) async for file in files] == [7200]


async def test_no_tick_is_made_twice_or_lost_wherever_the_coordinator_dies(tmp_path: Path) -> None:
    crashes = 0
    while True:
        site = Site(tmp_path)
        began = LoopClock().monotonic_s()
        await site.pipeline("p", spec="@every 1h")
        await site.run(10)  # the repo is there
        faults = Faults(at=crashes)
        try:
            await site.run(2 * 3600, faults)
        except* CrashError:
            pass
        else:
            break
        if crashes % 2:  # a user puts something there before the tick is made again
            async with site.coordinator():
                await _user_commit(site, "p_tick")
        await site.run(began + 4.5 * 3600 - LoopClock().monotonic_s())
        made = await site.commits("p_tick")
        hours = [int(began) + 3600 * hour for hour in range(1, 5)]
        assert made[-1][1] == hours
        assert len(await site.jobs("p")) == len(made)
        own = [times for _, times in made if times]
        assert all(len(set(times)) == len(times) for times in own)
        crashes += 1
    assert crashes > 8


async def _user_commit(site: Site, repo: str) -> None:
    """Put the branch to a commit of a user's with the same files."""
    entry = await site.tables.branches.get(branch_key(repo, "master"))
    assert entry is not None
    assert entry.value is not None
    head = entry.value.head
    base = await site.tables.commits.get(commit_key(repo, head)) if head else None
    manifest = base.value.manifest if base and base.value else ""
    commit = records.Commit(
        id=names.commit("e" * 32),
        repo=repo,
        branch="master",
        manifest=manifest,
        files=0,
        size=0,
        created_ns=LoopClock().wall_ns(),
        parent=head,
    )
    await site.tables.commits.put(commit_key(repo, commit.id), commit)
    moved = msgspec.structs.replace(entry.value, head=commit.id)
    await site.tables.branches.update(branch_key(repo, "master"), moved, entry.revision)
