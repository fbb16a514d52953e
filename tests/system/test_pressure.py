"""More than anybody asks for in good faith: what is bounded stays so, and says what it leaves out."""

import asyncio
import contextlib
import re
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support import installation, poison
from tests.support.installation import Installation, until
from tests.support.poison import Aim, Poisoner

from trunkline.bus import permissions
from trunkline.client import files
from trunkline.contracts import api, errors, records, subjects
from trunkline.contracts.wards import Wards
from trunkline.local import server_files

MB = 1_000_000
ROLES: tuple[permissions.Role, ...] = (
    "user",
    "coordinator",
    "coordinator-data",
    "scaler",
    "scaler-data",
    "worker",
)
"""Of those who publish; who looks a job over only asks, and who revokes credentials is not here."""
USERS = {"worker": "worker.poisoned"}
DATUMS = 40
FLOOD = 10_000
LOG_MAX_BYTES = 500_000
"""Of all processes together; the flood alone would make four times as much of it."""


def spec(name: str, *lines: str, repo: str, workers: int = 1) -> dict[str, object]:
    return {
        "pipeline": {"name": name},
        "input": {"pfs": {"repo": repo, "glob": "/*"}},
        "parallelism_spec": {"constant": workers},
        "transform": {"cmd": ["sh"], "stdin": list(lines)},
    }


async def test_garbage_on_every_subject_from_every_role_stops_nobody(here: Installation) -> None:
    """In the middle of a job, which is exact all the same; no process ends, and logs stay small."""
    await here.repo("poisoned-in")
    copy = ("sleep 0.05", "cp /pfs/poisoned-in/* /pfs/out")
    await here.apply(spec("poisoned", *copy, repo="poisoned-in", workers=2))
    workers = (await here.workers("poisoned", 2)).workers
    starts, pids = all_starts(here), await here.pids()
    before = log_bytes(here)
    commit = await here.put("poisoned-in", {f"{n}": f"{n}".encode() for n in range(DATUMS)})
    await until(lambda: first_is_done(here, commit), what="the first outcome")
    known = server_files.Files(here.home / "nats").read()
    assert known is not None
    aim = Aim(wards=Wards(known.data_key), pipeline="poisoned", job=commit, worker=workers[0].name)
    for role in ROLES:
        async with Poisoner.at(known.url(USERS.get(role, role))) as sender:
            for subject in poison.targets(role, aim):
                await sender.send(subject, *poison.garbage())
    async with Poisoner.at(known.url(USERS["worker"])) as flooder:
        claims = subjects.claims(aim.wards.of("poisoned"), "nobody")
        await flooder.send(claims, *[b"no claim"] * FLOOD)
    job = await here.succeeded("poisoned", commit)
    assert job.counts.processed == DATUMS
    assert len(await here.content("poisoned")) == DATUMS
    assert (all_starts(here), await here.pids()) == (starts, pids)
    assert log_bytes(here) - before < LOG_MAX_BYTES
    status = await here.client.call("status", None, api.Status)
    assert any("$KV.trunkline_jobs.nobody cannot be read" in each for each in status.problems)


async def test_what_a_role_sends_beyond_the_largest_message_costs_it_its_connection(
    here: Installation,
) -> None:
    known = server_files.Files(here.home / "nats").read()
    assert known is not None
    for role in ROLES[:-1]:
        async with Poisoner.at(known.url(role)) as sender:
            assert b"Maximum Payload" in await sender.refused("trunkline.pipelines.apply")
    assert (await here.client.call("status", None, api.Status)).services


@pytest.mark.parametrize(
    "size", [100 * MB, pytest.param(2000 * MB, marks=pytest.mark.slow)], ids=["short", "long"]
)
async def test_a_datum_that_prints_without_end_costs_a_bounded_log_and_no_memory(
    here: Installation, size: int
) -> None:
    name = f"prints-{size}"
    await here.repo(f"{name}-in")
    await here.apply(
        spec(
            name,
            f"yes to-stdout | head -c {size // 2}",
            f"head -c {size // 2} /dev/zero >&2",
            repo=f"{name}-in",
        )
    )
    await here.workers(name, 1)
    before = await grown(here, name)
    commit = await here.put(f"{name}-in", {"a": b""})
    job = await here.succeeded(name, commit, within_s=120)
    assert job.counts.processed == 1
    texts = [each.line.text for each in await lines(here, job)]
    assert sum(len(each) for each in texts) < 2 * MB
    left_out = re.search(r"(\d+) bytes of output were not kept", "\n".join(texts))
    assert left_out is not None
    assert (
        0 <= size - (1 << 20) - int(left_out[1]) <= 2 * 16 * 1024
    )  # the last lines of two streams
    assert await grown(here, name) - before < 20 * MB


@pytest.mark.slow
async def test_a_file_of_1_gb_goes_in_and_out_of_a_datum_in_flat_memory(
    here: Installation, tmp_path: Path
) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1000 * MB)
    await here.repo("large-in")
    await here.apply(spec("large", "cp /pfs/large-in/large /pfs/out", repo="large-in"))
    await here.workers("large", 1)
    before = await grown(here, "large")
    commit = await files.put(here.client, "large-in", "master", tmp_path)
    await here.succeeded("large", commit.id, within_s=120)
    assert await grown(here, "large") - before < 60 * MB


@pytest.mark.slow
async def test_workers_wait_for_a_coordinator_that_says_nothing_and_lose_nothing() -> None:
    """They end the window that is listed, and go on once it wakes; who asks is told in a sentence."""
    async with installation.running(nodes=4) as here:
        await here.repo("in")
        await here.apply(spec("waits", "true", repo="in", workers=4))
        await here.workers("waits", 4)
        commit = await here.put("in", {f"{n}": b"" for n in range(12_000)})
        await here.listed("waits", commit, 100)
        pids = await here.pids()
        here.stack.kill("coordinator", signal.SIGSTOP)
        try:
            with pytest.raises(errors.UnavailableError, match="no answer in time"):
                await here.job("waits", commit)
            await asyncio.sleep(50)  # longer than NATS keeps a connection that says nothing
        finally:
            here.stack.kill("coordinator", signal.SIGCONT)
        job = await until(lambda: ended(here, commit), what="the end", within_s=60)
        assert job.counts.processed == 12_000
        assert await here.pids() == pids
        assert await here.attempts("waits", commit) == []


async def ended(here: Installation, commit: str) -> records.Job | None:
    try:
        job = await here.job("waits", commit)
    except errors.UnavailableError:
        return None
    return job if job.state.ended else None


async def lines(here: Installation, job: records.Job) -> Sequence[api.LogEntry]:
    return [each async for each in here.client.logs(job.pipeline, job.id)]


async def grown(here: Installation, pipeline: str) -> int:
    """Return the most memory that a pipeline's agent had to itself so far."""
    (pid,) = [pid for name, pid in (await here.pids()).items() if name.startswith(f"{pipeline}-")]
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def first_is_done(here: Installation, commit: str) -> bool:
    """Return whether what stands at the subject of its outcome comes too late."""
    with contextlib.suppress(errors.RequestRefusedError):
        found = await here.datums("poisoned", commit)
        return bool(found) and found[0].outcome is not None
    return False


def all_starts(here: Installation) -> dict[str, int]:
    return {each: here.stack.starts(each) for each in here.stack.services}


def log_bytes(here: Installation) -> int:
    return sum(each.stat().st_size for each in (here.home / "logs").rglob("*.log"))
