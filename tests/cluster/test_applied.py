"""The manifests as they are, run: from `kubectl apply -k` to the output commit, all of it in pods."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kubernetes_asyncio import client
from tests.cluster import applied, scraping, words
from tests.cluster.applied import Applied
from tests.cluster.kubelet.kubelet import Kubelet
from tests.cluster.plane.control_plane import ControlPlane
from tests.support.installation import until

from trunkline.client import files
from trunkline.contracts.states import Cause


@pytest.fixture
async def dev(
    own_plane: ControlPlane, connection: client.ApiClient, kubelet: Kubelet, tmp_path: Path
) -> AsyncIterator[Applied]:
    tmp_path.chmod(0o755)
    async with applied.running("dev", own_plane, connection, kubelet, tmp_path) as started:
        yield started


@pytest.fixture
async def prod(
    own_plane: ControlPlane, connection: client.ApiClient, kubelet: Kubelet, tmp_path: Path
) -> AsyncIterator[Applied]:
    tmp_path.chmod(0o755)
    async with applied.running("prod", own_plane, connection, kubelet, tmp_path) as started:
        yield started


async def read(site: Applied, repo: str) -> dict[str, bytes]:
    found = {}
    async for file in files.ls(site.client, repo, "master"):
        found[file.path] = b"".join([piece async for piece in site.client.store.read(file)])
    return found


async def all_are_scraped(site: Applied) -> None:
    """Return once who leads and who works has been found, and reached, and has said what it must."""
    found = await asyncio.to_thread(scraping.targets, site.installer.kubectl)
    assert found
    refused = await asyncio.to_thread(scraping.kept_out, site.installer.kubectl, found)
    assert refused == []
    elsewhere = [each._replace(port=each.port + 1) for each in found]
    refused = await asyncio.to_thread(scraping.kept_out, site.installer.kubectl, elsewhere)
    assert refused == [each.pod for each in found]
    pages = [await scraping.page(each.url) for each in found]
    by = Counter(
        value for page in pages for value in scraping.labels(page, "build_info", "component")
    )
    assert by == {"coordinator": 2, "scaler": 2, "worker-agent": 2}
    made = sum(scraping.value(page, "kubernetes_requests_total", code="201") for page in pages)
    assert made >= 2  # the pods of the two workers, and their credentials
    assert sum(scraping.value(page, "datums_total", state="processed") for page in pages) == 100


@pytest.mark.timeout(300)  # many processes start, which takes what the machine has
async def test_what_is_applied_counts_words_and_is_restarted_in_mid_job(dev: Applied) -> None:
    """Bootstrap job -> Secrets -> NATS -> coordinator and scaler -> workers -> commit; then

    0. all of them are scraped, as the Prometheus that is applied would find and reach them,
    1. a job runs, of which some datums have ended and all others wait,
    2. both services' pods are replaced, as an upgrade does it,
    3. the job ends: no datum is lost, none is attempted twice,
    4. the demo counts right, whose specs name no image.
    """
    await dev.pipeline("words", words.script("texts"))
    contents = words.texts(100)
    job = await dev.put("texts", contents)
    await dev.succeeded("words", job)
    assert await read(dev, "words") == words.counted(contents)
    await all_are_scraped(dev)

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

    assert "as in the plain count" in await dev.demo("--files", "20")


SERVERS = [f"trunkline-nats-{number}" for number in range(3)]


async def on_all_servers(site: Applied) -> None:
    """Return once each stream is on all servers, and none is behind."""

    async def look() -> bool:
        copies = await site.copies()
        return len(copies) > 5 and all(servers == SERVERS for servers in copies.values())

    await until(look, what="three copies of each stream")


async def half_done(site: Applied, contents: dict[str, bytes]) -> str:
    """Start a word count of which most datums wait; return the job once one has ended."""
    waits = f"ls /pfs/texts/t? || until [ -e {site.gate} ]; do sleep 0.1; done\n"
    await site.pipeline("words", waits + words.script("texts"))
    job = await site.put("texts", contents)
    await site.listed("words", job, 1)
    return job


@pytest.mark.timeout(300)
async def test_three_servers_of_prod_keep_a_copy_each_and_one_may_be_killed_in_mid_job(
    prod: Applied,
) -> None:
    await on_all_servers(prod)
    contents = words.texts(40)
    job = await half_done(prod, contents)
    killed = ("delete", "pod", SERVERS[0], "--grace-period=0", "--force")
    await prod.installer.meanwhile("-n", applied.SERVICES, *killed)
    prod.gate.touch()
    await prod.succeeded("words", job)
    assert await read(prod, "words") == words.counted(contents)
    await applied.rolled_out(prod.installer, "statefulset/trunkline-nats")
    await on_all_servers(prod)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_servers_of_prod_are_restarted_one_by_one_and_nobody_is_charged(
    prod: Applied,
) -> None:
    """As an upgrade does it: each says goodbye (`preStop`) before it ends."""
    contents = words.texts(40)
    job = await half_done(prod, contents)
    await prod.restarted("statefulset/trunkline-nats")
    prod.gate.touch()
    await prod.succeeded("words", job)
    assert await read(prod, "words") == words.counted(contents)
    free = {Cause.DONE, Cause.SERVER_RESTART}
    assert {each.cause for each in await prod.attempts("words", job)} <= free
