"""The manifests as they are, run: from `kubectl apply -k` to the output commit, all of it in pods."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kubernetes_asyncio import client
from tests.cluster import applied, words
from tests.cluster.applied import Applied
from tests.cluster.kubelet.kubelet import Kubelet
from tests.cluster.plane.control_plane import ControlPlane

from trunkline.client import files
from trunkline.contracts.states import Cause


@pytest.fixture
async def dev(
    own_plane: ControlPlane, connection: client.ApiClient, kubelet: Kubelet, tmp_path: Path
) -> AsyncIterator[Applied]:
    tmp_path.chmod(0o755)
    async with applied.running("dev", own_plane, connection, kubelet, tmp_path) as started:
        yield started


async def read(site: Applied, repo: str) -> dict[str, bytes]:
    found = {}
    async for file in files.ls(site.client, repo, "master"):
        found[file.path] = b"".join([piece async for piece in site.client.store.read(file)])
    return found


@pytest.mark.timeout(300)  # many processes start, which takes what the machine has
async def test_what_is_applied_counts_words_and_is_restarted_in_mid_job(dev: Applied) -> None:
    """Bootstrap job -> Secrets -> NATS -> coordinator and scaler -> workers -> commit; then

    1. a job runs, of which some datums have ended and all others wait,
    2. both services' pods are replaced, as an upgrade does it,
    3. the job ends: no datum is lost, none is attempted twice.
    """
    await dev.pipeline("words", words.script("texts"))
    contents = words.texts(100)
    job = await dev.put("texts", contents)
    await dev.succeeded("words", job)
    assert await read(dev, "words") == words.counted(contents)

    waits = f"ls /pfs/more/t? || until [ -e {dev.gate} ]; do sleep 0.1; done\n"
    await dev.repo("more")
    await dev.pipeline("slow", waits + words.script("more"), repo="more")
    job = await dev.put("more", contents)
    await dev.listed("slow", job, 1)
    await dev.restarted("deployment/trunkline-scaler", "deployment/trunkline-coordinator")
    assert not (await dev.job("slow", job)).state.ended
    dev.gate.touch()
    await dev.succeeded("slow", job)
    assert await read(dev, "slow") == words.counted(contents)
    views = await dev.datums("slow", job)
    assert len(views) == len(contents)
    assert {each.cause for each in await dev.attempts("slow", job)} <= {Cause.DONE}
