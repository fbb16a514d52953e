"""The done index: appended per job, merged, and looked up in windows."""

import random
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from tests.support.job_records import job_record

from trunkline.bus.ports import Entry
from trunkline.contracts import errors, messages, records
from trunkline.contracts.messages import Outcome
from trunkline.contracts.states import DatumState, JobState
from trunkline.coordinator.archiving import Archiver
from trunkline.coordinator.core import outcomes as reading
from trunkline.coordinator.core import tiers
from trunkline.coordinator.core.job import ListingEnded, Opened
from trunkline.coordinator.done import Done
from trunkline.coordinator.folding import LiveJob
from trunkline.coordinator.lookup import Lookup
from trunkline.storage import runs
from trunkline.storage.store import Store, open_store

P = "edges"


class Heads:
    """A table of done indexes in memory."""

    def __init__(self) -> None:
        self.value: records.DoneIndex | None = None
        self.revision = 0
        self.conflicts = 0
        """How many of the next writes find that somebody was faster."""

    async def get(self, key: str) -> Entry[records.DoneIndex] | None:
        if self.value is None:
            return None
        return Entry(key=key, value=self.value, revision=self.revision)

    async def create(self, key: str, value: records.DoneIndex) -> int:
        if self.value is not None:
            raise errors.AlreadyExistsError("doneindex", key)
        return self._set(key, value)

    async def update(self, key: str, value: records.DoneIndex, revision: int) -> int:
        if revision != self.revision:
            raise errors.ConflictError("doneindex", key)
        return self._set(key, value)

    def _set(self, key: str, value: records.DoneIndex) -> int:
        if self.conflicts:
            self.conflicts -= 1
            self.revision += 1
            raise errors.ConflictError("doneindex", key)
        self.value = value
        self.revision += 1
        return self.revision


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/store")


@pytest.fixture
def heads() -> Heads:
    return Heads()


@pytest.fixture
def done(heads: Heads, store: Store) -> Done:
    return Done(heads, store)  # type: ignore[arg-type] # it needs no more of a table


def fingerprint(number: int) -> bytes:
    return random.Random(number).randbytes(16)


def outcome(job: str, index: int, number: int, state: DatumState = DatumState.PROCESSED) -> Outcome:
    return Outcome(
        pipeline=P,
        job=job,
        index=index,
        generation=1,
        datum="d",
        fingerprint=fingerprint(number).hex(),
        state=state,
        worker="w",
        incarnation="i",
        files=(),
    )


def a_record(job: str) -> records.Job:
    return job_record(P, job, JobState.SUCCESS)


async def ended(store: Store, job: str, outcomes: Iterable[Outcome]) -> records.Job:
    """Return an ended job with its archive."""
    record = a_record(job)
    live = LiveJob(record)
    for each in outcomes:
        live.handle(Opened(each.index + 1))
        live.seen(each, messages.encode(each))
    live.handle(ListingEnded(live.fold.opened))
    archiver = Archiver(None, store, None)  # type: ignore[arg-type] # all of it is gathered
    archive = await archiver.archive(record, live)
    live.close()
    return archive.in_record(record)


async def found(store: Store, heads: Heads, numbers: Iterable[int]) -> dict[int, Outcome]:
    by_fingerprint = {fingerprint(number): number for number in numbers}
    runs_ = heads.value.runs if heads.value else ()
    hits = await Lookup(store, runs_).find(by_fingerprint)
    return {by_fingerprint[each]: reading.whole(value) for each, value in hits.items()}


async def test_only_what_was_processed_is_found(done: Done, heads: Heads, store: Store) -> None:
    states = [state for state in DatumState if state is not DatumState.SKIPPED]
    outcomes = [outcome("j1", index, index, state) for index, state in enumerate(states)]
    await done.append(await ended(store, "j1", outcomes))
    expected = states.index(DatumState.PROCESSED)
    assert await found(store, heads, range(20)) == {expected: outcomes[expected]}


async def test_an_append_that_is_repeated_is_none(done: Done, heads: Heads, store: Store) -> None:
    job = await ended(store, "j1", [outcome("j1", 0, 1)])
    heads.conflicts = 2
    await done.append(job)
    first = heads.value
    await done.append(job)
    assert heads.value == first
    assert first is not None
    assert (len(first.runs), first.jobs) == (1, ("j1",))


async def test_a_job_that_processed_nothing_adds_no_run(
    done: Done, heads: Heads, store: Store
) -> None:
    await done.append(await ended(store, "j1", []))
    assert heads.value == records.DoneIndex(runs=(), jobs=("j1",))


async def test_many_jobs_become_few_runs_that_find_all_the_newest_first(
    done: Done, heads: Heads, store: Store
) -> None:
    newest: dict[int, str] = {}
    chance = random.Random(1)
    for number in range(40):
        job = f"j{number}"
        chosen = chance.sample(range(300), chance.randrange(1, 40))
        outcomes = [outcome(job, index, each) for index, each in enumerate(chosen)]
        await done.append(await ended(store, job, outcomes))
        newest |= dict.fromkeys(chosen, job)
    assert heads.value is not None
    assert len(heads.value.runs) <= tiers.MOST
    hits = await found(store, heads, range(300))
    assert {number: each.job for number, each in hits.items()} == newest


async def test_a_run_that_is_gone_finds_nothing_and_hurts_nothing_else(
    done: Done, heads: Heads, store: Store, tmp_path: Path
) -> None:
    for number in range(3):
        await done.append(await ended(store, f"j{number}", [outcome(f"j{number}", 0, number)]))
    assert heads.value is not None
    (tmp_path / "store" / heads.value.runs[1]).unlink()
    assert sorted(await found(store, heads, range(3))) == [0, 2]
    gone = await runs.open_run(store, heads.value.runs[2])
    (tmp_path / "store" / gone.blocks[0].key).unlink()
    assert sorted(await found(store, heads, range(3))) == [0]
    for number in range(3, 12):
        await done.append(await ended(store, f"j{number}", [outcome(f"j{number}", 0, number)]))
    assert sorted(await found(store, heads, range(12))) == [0, *range(3, 12)]


async def test_fingerprints_that_begin_alike_are_told_apart(
    done: Done, heads: Heads, store: Store
) -> None:
    """Only their first bytes are in memory; what they lead to says whose it is."""
    alike = [bytes(4) + fingerprint(number)[4:] for number in range(6)]
    outcomes = [
        msgspec.structs.replace(outcome("j1", index, 0), fingerprint=alike[index].hex())
        for index in range(5)
    ]
    await done.append(await ended(store, "j1", outcomes))
    assert heads.value is not None
    hits = await Lookup(store, heads.value.runs).find([*alike[1:], fingerprint(7)])
    assert {each: reading.whole(kept) for each, kept in hits.items()} == {
        alike[index]: outcomes[index] for index in range(1, 5)
    }
