"""An ended job is looked over from streams and store alone, and whatever is wrong is named."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support import job_workers
from tests.support import jobs as support
from tests.support.jobs import Site, lines
from tests.support.nats import TestServer
from tests.support.wards import ward

from trunkline.audit import evidence as evidences
from trunkline.audit import verifying
from trunkline.audit.core.findings import Report
from trunkline.bus.publishing import Window
from trunkline.bus.tables import KvTable
from trunkline.contracts import errors, messages, records, subjects
from trunkline.contracts.messages import DatumTask, File, Outcome
from trunkline.contracts.states import JobState
from trunkline.coordinator.core import outcomes as reading
from trunkline.coordinator.tables import commit_key, job_key
from trunkline.storage import manifests, runs

P = "edges"
COUNT = 40

Items = list[tuple[bytes, bytes]]


@pytest.fixture
async def site(nats_server: TestServer, tmp_path: Path) -> AsyncIterator[Site]:
    async with support.site(nats_server, tmp_path, P) as made:
        yield made


@asynccontextmanager
async def auditor(site: Site) -> AsyncIterator[evidences.Evidence]:
    urls = (site.server.url("auditor"), site.server.url("auditor-data"))
    async with evidences.opened(*urls, site.store_url) as found:
        yield found


async def verified(site: Site, job: records.Job) -> Report:
    async with auditor(site) as found:
        one = await found.job(job.pipeline, job.id[:12])
        return await verifying.verify(found, one, behind_s=0)


def broken(report: Report) -> dict[str, tuple[str, ...]]:
    return {each.check: each.examples or (each.text,) for each in report.broken}


async def ended(site: Site, contents: dict[str, str], order: int = 1, **fields: Any) -> records.Job:
    """Return a job that has ended; its datums have each copied their one file, or what is worked."""
    job = await site.job(P, await site.commit("in", contents), order=order, **fields)
    async with support.process(site) as process:
        await process.runner.run(P, job.id)
    return await site.record(job)


async def with_archive(
    site: Site, job: records.Job, change: Callable[[Items], Items]
) -> records.Job:
    """Put a changed archive in the place of a job's own; return its record."""
    run = await runs.open_run(site.store, job.outcomes)
    writer = runs.RunWriter(site.store)
    for key, value in change([pair async for pair in run.items()]):
        await writer.add(key, value)
    return await put(site, msgspec.structs.replace(job, outcomes=await writer.finish()))


async def put(site: Site, job: records.Job) -> records.Job:
    await site.tables.jobs.put(job_key(job.pipeline, job.id), job)
    return job


async def with_manifest(
    site: Site, job: records.Job, change: Callable[[list[File]], list[File]]
) -> None:
    """Put a changed manifest in the place of the output commit's own."""
    key = commit_key(P, job.output)
    entry = await site.tables.commits.get(key)
    assert entry is not None
    assert entry.value is not None
    files = [file async for file in manifests.read(site.store, entry.value.manifest)]
    written = await manifests.write(site.store, change(files))
    await site.tables.commits.put(
        key,
        msgspec.structs.replace(
            entry.value, manifest=written.manifest, files=written.files, size=written.size
        ),
    )


async def test_a_job_holds_that_has_lost_nothing_and_did_nothing_twice(site: Site) -> None:
    contents = lines(COUNT)
    async with job_workers.worker(site, P):
        first = await ended(site, contents)
        second = await ended(site, {**contents, "/new": "new"}, order=2)
    report = await verified(site, first)
    assert broken(report) == {}
    assert (report.datums, report.outcomes, report.lost, report.twice) == (COUNT, COUNT, 0, 0)
    assert (report.files, report.bytes) == (COUNT, sum(map(len, contents.values())))
    report = await verified(site, second)
    assert broken(report) == {}
    assert (report.datums, report.files) == (COUNT + 1, COUNT + 1)
    assert verifying.as_error(report) is None
    async with auditor(site) as found:
        assert (await found.job(P, "")).id == second.id, "a pipeline stands for its newest job"


async def test_files_that_several_datums_have_written_are_put_together_again(site: Site) -> None:
    """Also those that an outcome names by a manifest of its own."""
    total = await support.stored(site.store, "/total", "one\n")
    many = [await support.stored(site.store, f"/more/{n:02}", f"{n}") for n in range(20)]
    written = await manifests.write(site.store, many)

    def work(task: DatumTask) -> Outcome:
        if task.index:
            return job_workers.done(task, [total])
        outcome = job_workers.done(task, [])
        return msgspec.structs.replace(
            outcome, files=None, manifest=written.manifest, output_files=20
        )

    async with job_workers.worker(site, P, work):
        job = await ended(site, lines(4), same_path="concatenate")
    report = await verified(site, job)
    assert broken(report) == {}
    assert report.files == 21
    assert report.bytes == 3 * total.size + sum(file.size for file in many)
    await with_manifest(site, job, lambda files: [*files[:-1], total])
    assert broken(await verified(site, job)) == {
        "manifest": ("/total is in the manifest with other contents",)
    }


async def test_whatever_is_wrong_with_the_outcomes_is_named(site: Site) -> None:
    async with job_workers.worker(site, P):
        job = await ended(site, lines(COUNT))

    await with_archive(site, job, lambda items: items[:7] + items[8:])
    report = await verified(site, job)
    assert report.lost == 1
    assert broken(report) == {
        "none lost": ("datum 7 has no outcome",),
        "counts": ("the job's record says 40 processed",),
        "manifest": ("/f000007 is in the manifest, and nobody has written it",),
    }

    def exchanged(items: Items) -> Items:
        return [items[0], (items[1][0], items[2][1]), *items[2:]]

    await with_archive(site, job, exchanged)
    found = broken(await verified(site, job))
    assert "the outcome of datum 1 is another datum's" in found["each its own"]
    assert "the outcome of datum 1: it names datum 2" in found["each its own"]

    def stranger(items: Items) -> Items:
        return [*items, (reading.key(COUNT + 2), items[-1][1])]

    await with_archive(site, job, stranger)
    assert broken(await verified(site, job))["none twice"] == (
        f"an outcome of index {COUNT + 2}, which no datum has",
    )

    # a window of the listing says that datum 3 was skipped, which has an outcome of its own as well
    run = await runs.open_run(site.store, job.outcomes)
    kept = await run.get(reading.key(3))
    assert kept is not None
    writer = runs.RunWriter(site.store)
    await writer.add(reading.key(3), kept)
    window = records.Skipped(run=await writer.finish(), count=1)
    await put(site, msgspec.structs.replace(job, skipped=(window,)))
    report = await verified(site, job)
    assert (report.twice, report.lost) == (1, 0)
    assert broken(report)["none twice"] == ("datum 3 has 2 outcomes",)

    await put(site, msgspec.structs.replace(job, total=COUNT + 1))
    assert broken(await verified(site, job)) == {"datums": ("the job's record says 41",)}


async def test_whatever_is_wrong_with_the_output_is_named(site: Site) -> None:
    contents = lines(COUNT)
    async with job_workers.worker(site, P):
        job = await ended(site, contents)

    await with_manifest(site, job, lambda files: files[1:])
    found = broken(await verified(site, job))
    assert found == {"manifest": ("/f000000 was written, and is not in the manifest",)}

    extra = await support.stored(site.store, "/zzz", "made up")
    await with_manifest(site, job, lambda files: [*files, extra])
    found = broken(await verified(site, job))
    assert found["manifest"][-1] == "/zzz is in the manifest, and nobody has written it"

    other = await support.stored(site.store, "/f000001", "other contents")
    await with_manifest(site, job, lambda files: [other, *files[1:-1]])
    found = broken(await verified(site, job))
    assert found["manifest"][-1] == "/f000001 is in the manifest with other contents"


async def test_a_job_that_succeeded_has_an_output_and_one_that_was_killed_needs_none(
    site: Site,
) -> None:
    async with job_workers.worker(site, P):
        job = await ended(site, lines(COUNT))
    without = await put(site, msgspec.structs.replace(job, output=""))
    assert broken(await verified(site, without)) == {"output": ("its record names no commit",)}
    killed = await put(site, msgspec.structs.replace(without, state=JobState.KILLED))
    assert broken(await verified(site, killed)) == {}


async def test_a_byte_that_was_flipped_and_an_object_that_is_gone_are_named(site: Site) -> None:
    async with job_workers.worker(site, P):
        job = await ended(site, lines(COUNT))
    files = {
        file.path: site.folder / "store" / file.object
        async for file in manifests.read(site.store, await manifest_of(site, job))
    }
    data = files["/f000003"].read_bytes()
    files["/f000003"].chmod(0o600)
    files["/f000003"].write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    files["/f000005"].unlink()
    found = broken(await verified(site, job))
    assert list(found) == ["every byte"]
    flipped, gone = sorted(found["every byte"])
    assert flipped.startswith("/f000003: ")
    assert "is corrupt" in flipped
    assert gone.startswith("/f000005: ")
    assert "does not exist" in gone


async def test_a_job_that_is_not_there_is_told_by_what_was_asked_for(site: Site) -> None:
    async with auditor(site) as found:
        with pytest.raises(errors.NotFoundError, match=f"a job of '{P}' does not exist"):
            await found.job(P, "")
        with pytest.raises(errors.NotFoundError, match=f"job '{P}@abc' does not exist"):
            await found.job(P, "abc")


async def manifest_of(site: Site, job: records.Job) -> str:
    entry = await site.tables.commits.get(commit_key(P, job.output))
    assert entry is not None
    assert entry.value is not None
    return entry.value.manifest


async def test_what_is_gone_in_good_order_makes_a_job_unknown_not_broken(site: Site) -> None:
    async with job_workers.worker(site, P):
        job = await ended(site, lines(COUNT))
    await site.tables.commits.delete(commit_key("in", job.inputs[0].commit))
    await site.tables.commits.delete(commit_key(P, job.output))
    report = await verified(site, job)
    assert broken(report) == {}
    assert [each.check for each in report.unknown] == ["datums", "output"]
    assert "TRUNKLINE_KEEP_COMMITS" in report.unknown[1].text
    assert isinstance(verifying.as_error(report), errors.NotFoundError)
    await site.tables.jobs.delete(job_key(P, job.id))
    with pytest.raises(errors.NotFoundError, match="TRUNKLINE_KEEP_JOBS"):
        await verified(site, job)


async def test_a_job_without_an_archive_yet_is_read_from_the_stream(site: Site) -> None:
    """An ended job's outcomes are in the stream until they are put away."""
    async with job_workers.worker(site, P):
        job = await ended(site, lines(COUNT))
    run = await runs.open_run(site.store, job.outcomes)
    async with site.server.connect_worker(P) as worker:
        window = Window(worker)
        async for key, kept in run.items():
            index = int.from_bytes(key, "big")
            if index == 9:
                continue
            subject = subjects.outcome(ward(P), job.id, index, 1)
            await window.put(subject, messages.encode(reading.whole(kept)))
    await put(site, msgspec.structs.replace(job, outcomes="", compacted=False))
    report = await verified(site, job)
    assert (report.datums, report.outcomes, report.lost) == (COUNT, COUNT - 1, 1)
    assert broken(report)["none lost"] == ("datum 9 has no outcome",)


async def test_an_outcome_that_a_copy_has_missed_is_waited_for(site: Site) -> None:
    """As one that comes late: what is read behind the others lacks the newest ones, and gets them."""
    async with job_workers.worker(site, P):
        job = await ended(site, lines(COUNT))
    run = await runs.open_run(site.store, job.outcomes)
    kept = [(key, reading.whole(value)) async for key, value in run.items()]
    await put(site, msgspec.structs.replace(job, outcomes="", compacted=False))
    async with (
        asyncio.timeout(20),
        auditor(site) as found,
        asyncio.TaskGroup() as tasks,
        site.server.connect_worker(P) as worker,
    ):
        audit = verifying.verify(found, await found.job(P, job.id))
        verified_late = tasks.create_task(audit, name="verify")
        for key, outcome in kept:
            index = int.from_bytes(key, "big")
            subject = subjects.outcome(ward(P), job.id, index, 1)
            await Window(worker).put(subject, messages.encode(outcome))
        assert broken(await verified_late) == {}


async def test_a_job_that_is_at_work_is_not_looked_over(site: Site) -> None:
    job = await site.job(P, await site.commit("in", lines(3)))
    with pytest.raises(evidences.NotEndedError, match="trunkline wait"):
        await verified(site, job)


async def test_an_auditor_can_write_nothing(site: Site) -> None:
    job = await site.job(P, await site.commit("in", lines(3)))
    async with site.server.connect("auditor") as connection:
        table = KvTable(connection, subjects.JOBS, records.Job)
        entry = await table.get(job_key(P, job.id))
        assert entry is not None
        changed = msgspec.structs.replace(job, state=JobState.KILLED)
        with pytest.raises(errors.PermissionViolationError):
            await table.put(job_key(P, job.id), changed)
