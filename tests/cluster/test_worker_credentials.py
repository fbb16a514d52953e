"""What the workers of a scaler on a real API server log in to NATS by: made, kept, renewed, revoked."""

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from kubernetes_asyncio import client
from tests.cluster import pods
from tests.cluster.whole import Whole
from tests.support import gates
from tests.support.gates import Gate
from tests.support.installation import until

from trunkline.bus import jwts, logins, probe
from trunkline.contracts import errors
from trunkline.contracts.states import Cause
from trunkline.runtime.clock import SystemClock
from trunkline.scaler.kubernetes import object_names
from trunkline.scaler.kubernetes.object_names import CREDS_KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")

COPY = "cp /pfs/in/* /pfs/out"


async def secret(installed: Whole, pipeline: str) -> Any:
    """Return what a pipeline's workers log in by, as the API has it; None if there is nothing."""
    name = object_names.credentials_name(pipeline)
    try:
        return await installed.pods.core.read_namespaced_secret(name, installed.pods.namespace)
    except client.ApiException as error:
        if error.status == 404:
            return None
        raise


def now_s() -> int:
    return SystemClock().wall_ns() // 10**9


def creds(found: Any) -> str:
    return b64decode(found.data[CREDS_KEY]).decode()


async def accepted(installed: Whole, text: str, folder: Path) -> bool:
    """Say whether the server lets somebody in by these credentials."""
    path = folder / "worker.creds"
    path.write_text(text)
    return await probe.accepts(logins.url_of(installed.server.address, path))


async def at_work(installed: Whole, pipeline: str, count: int = 1) -> list[Any]:
    """Return a pipeline's pods once so many of them have logged in."""
    await installed.workers(pipeline, count, within_s=60)
    return await installed.pods_of(pipeline)


async def test_workers_stay_logged_in_when_another_scaler_takes_over(
    installed: Whole, tmp_path: Path
) -> None:
    """Nothing is revoked, and nothing made anew, by one that does not know yet what there is."""
    await installed.add_nodes(1)
    repo = await installed.new_repo("files")
    pipeline = await installed.pipeline("stays", COPY, repo=repo, parallelism_spec={"constant": 2})
    before = await at_work(installed, pipeline, 2)
    said = installed.scaler.said.decode()
    issued, created = (
        said.index(f'"message":"{what}","pipeline":"{pipeline}"')
        for what in ("credentials issued", "worker created")
    )
    assert issued < created  # no pod waits for its Secret
    held = await secret(installed, pipeline)
    (owner,) = held.metadata.owner_references
    assert (owner.kind, owner.name) == ("ConfigMap", object_names.owner_name(pipeline))
    for _ in range(2):
        installed.scaler.kill()
        installed.scaler.start()
        await installed.scaler_ready()
    job = await installed.put(repo, {f"/{n}": b"x" for n in range(20)})
    await installed.succeeded(pipeline, job)
    after = await installed.pods_of(pipeline)
    assert {each.metadata.uid for each in after} == {each.metadata.uid for each in before}
    for each in after:
        assert [status.restart_count for status in each.status.container_statuses] == [0, 0]
        log = installed.kubelet.log(installed.pods.namespace, each.metadata.name, "agent")
        assert log.count('"message":"connected"') == 1
    kept = await secret(installed, pipeline)
    assert kept.metadata.resource_version == held.metadata.resource_version
    assert await accepted(installed, creds(held), tmp_path)


async def test_credentials_are_renewed_under_a_worker_that_goes_on_working(
    installed: Whole,
) -> None:
    """Its first ones have expired before it ends, and no datum has a second attempt for it."""
    life_s = 12
    await installed.restart_scaler(TRUNKLINE_CREDENTIALS_LIFE_S=str(life_s))
    await installed.add_nodes(1)
    repo = await installed.new_repo("files")
    pipeline = await installed.pipeline("lives", f"sleep 0.1; {COPY}", repo=repo)
    await at_work(installed, pipeline)
    first = jwts.read(jwts.read_creds(creds(await secret(installed, pipeline))).jwt)
    assert first.exp - first.iat == life_s
    total = 10 * (first.exp - now_s() + 2)
    job = await installed.put(repo, {f"/{n}": b"x" for n in range(total)})
    await installed.succeeded(pipeline, job)
    assert now_s() > first.exp
    attempts = await installed.attempts(pipeline, job)
    assert {each.cause for each in attempts} <= {Cause.DONE}
    assert {
        view.outcome.attempts for view in await installed.datums(pipeline, job) if view.outcome
    } == {1}
    (pod,) = await installed.pods_of(pipeline)
    assert [each.restart_count for each in pod.status.container_statuses] == [0, 0]
    log = installed.kubelet.log(installed.pods.namespace, pod.metadata.name, "agent")
    assert '"message":"credentials renewed"' in log
    assert '"level":"error"' not in log


async def test_credentials_of_a_deleted_pipeline_end_and_those_of_its_successor_count(
    installed: Whole, tmp_path: Path
) -> None:
    await installed.add_nodes(1)
    repo = await installed.new_repo("files")
    pipeline = await installed.pipeline("goes", COPY, repo=repo)
    (pod,) = await at_work(installed, pipeline)
    old = creds(await secret(installed, pipeline))
    assert await accepted(installed, old, tmp_path)
    await installed.delete(pipeline)
    await installed.pods.until_gone(pod.metadata.name)

    async def refused() -> bool:
        return not await accepted(installed, old, tmp_path)

    await until(refused, within_s=20, what="the end of the old credentials")

    async def gone() -> bool:
        owners = await installed.pods.core.list_namespaced_config_map(installed.pods.namespace)
        there = {each.metadata.name for each in owners.items}
        return object_names.owner_name(pipeline) not in there and not await secret(
            installed, pipeline
        )

    await until(gone, within_s=20, what="the end of the Secret and of its owner")
    await installed.server.kill()
    await installed.server.start()
    assert not await accepted(installed, old, tmp_path)  # it has kept what it was told
    await installed.pipeline("goes", COPY, repo=repo)
    job = await installed.put(repo, {"/a": b"a"})
    await installed.succeeded(pipeline, job)
    assert not await accepted(installed, old, tmp_path)
    assert await accepted(installed, creds(await secret(installed, pipeline)), tmp_path)


@pytest.mark.parametrize("how", ["before it has ended", "with its end"])
async def test_a_pipeline_that_follows_a_deleted_one_at_once_has_workers(
    installed: Whole, how: str
) -> None:
    """Its pods belong to a ConfigMap that stays, and find a Secret, though the scaler knew those before."""
    await installed.add_nodes(1)
    repo = await installed.new_repo("files")
    pipeline = await installed.pipeline("again", COPY, repo=repo)
    await at_work(installed, pipeline)
    await installed.delete(pipeline)
    revoked = f'"message":"credentials revoked","pipeline":"{pipeline}"'

    async def applied() -> bool:
        if how == "with its end" and revoked not in installed.scaler.said.decode():
            return False
        try:
            await installed.pipeline("again", COPY, repo=repo)
        except errors.RequestRefusedError:
            return False
        return True

    await until(applied, within_s=20, what="the name's being free")
    job = await installed.put(repo, {"/b": b"b"})
    await installed.succeeded(pipeline, job)
    (pod,) = await at_work(installed, pipeline)
    await installed.pods.until(pod.metadata.name, pods.running)


async def test_workers_come_back_though_somebody_has_deleted_what_they_log_in_by(
    installed: Whole,
) -> None:
    """The Secret alone, and a pod: the next one does not come up without it."""
    await installed.add_nodes(1)
    repo = await installed.new_repo("files")
    pipeline = await installed.pipeline("robbed", COPY, repo=repo)
    (pod,) = await at_work(installed, pipeline)
    core, namespace = installed.pods.core, installed.pods.namespace
    await core.delete_namespaced_secret(object_names.credentials_name(pipeline), namespace)
    await core.delete_namespaced_pod(pod.metadata.name, namespace)
    await installed.pods.until_gone(pod.metadata.name)
    job = await installed.put(repo, {"/a": b"a"})
    await installed.succeeded(pipeline, job, within_s=60)


async def test_workers_go_on_by_new_credentials_when_the_key_that_signed_theirs_is_rotated(
    installed: Whole, tmp_path: Path
) -> None:
    """Those signed by the old key end with the server's restart; what runs is charged to nobody."""
    await installed.add_nodes(1)
    repo = await installed.new_repo("files")
    wait = gates.of_job(installed.gates, "*/59")
    pipeline = await installed.pipeline("turns", f"sleep 0.1; {wait}; {COPY}", repo=repo)
    await at_work(installed, pipeline)
    old = creds(await secret(installed, pipeline))
    job = await installed.put(repo, {f"/{n}": b"x" for n in range(60)})
    await installed.listed(pipeline, job, 10)
    await installed.rotate("workers")
    Gate(installed.gates / job).open()
    await installed.succeeded(pipeline, job)
    assert not await accepted(installed, old, tmp_path)
    assert await accepted(installed, creds(await secret(installed, pipeline)), tmp_path)
    charged = {Cause.USER_EXIT, Cause.WORKER_LOST}
    assert not charged & {each.cause for each in await installed.attempts(pipeline, job)}
    report = await installed.verified(pipeline, job)
    assert (report.datums, report.lost, report.twice) == (60, 0, 0)
