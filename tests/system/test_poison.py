"""A message that nobody can read, on every subject: the system goes on, and tells of it within bounds."""

import contextlib

from tests.support import poison
from tests.support.installation import Installation, until
from tests.support.poison import Aim, Poisoner

from trunkline.bus import permissions
from trunkline.contracts import api, errors, subjects
from trunkline.contracts.wards import Wards
from trunkline.local import server_files

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

SPEC = {
    "pipeline": {"name": "poisoned"},
    "input": {"pfs": {"repo": "poisoned-in", "glob": "/*"}},
    "parallelism_spec": {"constant": 2},
    "transform": {"cmd": ["sh"], "stdin": ["sleep 0.05", "cp /pfs/poisoned-in/* /pfs/out"]},
}


async def test_garbage_on_every_subject_from_every_role_stops_nobody(here: Installation) -> None:
    """In the middle of a job, which is exact all the same; no process ends, and logs stay small."""
    await here.repo("poisoned-in")
    await here.apply(SPEC)
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
