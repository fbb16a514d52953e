"""Worker pods as they are made, on the process kubelet: from files in a repo to the output commit."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.cluster import pods, words, worker_site
from tests.cluster.kubelet.kubelet import Kubelet
from tests.cluster.pods import Pods
from tests.cluster.worker_site import Site
from tests.support import gates, installation
from tests.support.gates import Gate
from tests.support.operator import OperatorServer

from trunkline.client import files
from trunkline.contracts import errors
from trunkline.contracts.states import Cause, JobState


@pytest.fixture
async def site(
    operator_server: OperatorServer, made: Pods, kubelet: Kubelet, tmp_path: Path
) -> AsyncIterator[Site]:
    await kubelet.add_node("n1")
    async with worker_site.running(operator_server, made, kubelet, tmp_path) as started:
        yield started


async def read(site: Site, repo: str) -> dict[str, bytes]:
    found = {}
    async for file in files.ls(site.client, repo, "master"):
        found[file.path] = b"".join([piece async for piece in site.client.store.read(file)])
    return found


async def test_words_of_500_files_are_counted_by_pods(site: Site, kubelet: Kubelet) -> None:
    contents = words.texts(500)
    spec = await site.pipeline("words", words.script("texts"))
    names = await site.start(spec, 2)
    job = await site.put("texts", contents)
    await site.succeeded("words", job, within_s=40)
    assert await read(site, "words") == words.counted(contents)
    for name in names:
        await site.pods.until(name, pods.running)
        assert kubelet.log(site.pods.namespace, name, "user") == ""


HUNGRY = "sh -c 'exec tail /dev/zero'; exit $?"


async def test_a_command_that_takes_too_much_memory_is_charged_and_nobody_else_ends(
    site: Site,
) -> None:
    limits = {"resource_limits": {"memory": "64Mi"}, "datum_tries": 2}
    spec = await site.pipeline("hungry", HUNGRY, **limits)
    (name,) = await site.start(spec)
    job = await site.put("texts", {"/a": b"a"})
    assert (await site.ended("hungry", job)).state is JobState.FAILURE
    tries = await site.attempts("hungry", job)
    assert [each.cause for each in tries] == [Cause.OOM, Cause.OOM]
    found = await site.pods.until(name, pods.running)
    assert [pods.status(found, each).restart_count for each in ("user", "agent")] == [0, 0]


async def test_an_agent_outlives_its_user_container_and_goes_on_with_the_next(
    site: Site, kubelet: Kubelet
) -> None:
    """What the container's death has cut short is tried again, and charged to nobody."""
    spec = await site.pipeline("slow", f"{held(site)}; cp /pfs/texts/* /pfs/out")
    (name,) = await site.start(spec)
    job = await site.put("texts", {"/a": b"a"})
    await begun(site, "slow", job)
    agent = kubelet.pid(site.pods.namespace, name, "agent")
    os.kill(kubelet.pid(site.pods.namespace, name, "user"), signal.SIGKILL)
    Gate(site.gates / job).open()
    await site.succeeded("slow", job)
    (first, last) = await site.attempts("slow", job)
    assert (first.cause, last.cause) == (Cause.CONTAINER_LOST, Cause.DONE)
    assert first.incarnation != last.incarnation
    found = await site.pods.until(name, pods.running)
    assert pods.status(found, "user").restart_count == 1
    assert kubelet.pid(site.pods.namespace, name, "agent") == agent


async def test_a_killed_agent_comes_back_and_finds_the_same_user_container(
    site: Site, kubelet: Kubelet
) -> None:
    """Its directories are cleared in place, also of what only the command could read."""
    locked = "mkdir -p /pfs/x/y; chmod 700 /pfs/x; chmod 000 /pfs/x/y"
    script = f"{locked}; {held(site)}; ls /pfs > /pfs/out/ls"
    spec = await site.pipeline("slow", script, datum_tries=3)
    (name,) = await site.start(spec)
    job = await site.put("texts", {"/a": b"a"})
    await begun(site, "slow", job)
    os.kill(kubelet.pid(site.pods.namespace, name, "agent"), signal.SIGKILL)
    Gate(site.gates / job).open()
    await site.succeeded("slow", job)
    assert (await read(site, "slow"))["/ls"] == b"out\ntexts\nx\n"
    found = await site.pods.until(name, pods.running)
    assert pods.status(found, "user").restart_count == 0
    assert pods.status(found, "agent").restart_count == 1


async def test_a_deleted_pod_finishes_what_runs_and_gives_the_rest_to_others(
    site: Site,
) -> None:
    spec = await site.pipeline("slow", f"{held(site)}; cp /pfs/texts/* /pfs/out")
    names = await site.start(spec, 2)
    contents = {f"/t{n}": b"x" for n in range(4)}
    job = await site.put("texts", contents)
    await begun(site, "slow", job)
    await site.pods.delete(names[0])
    Gate(site.gates / job).open()
    await site.pods.until_gone(names[0])
    await site.succeeded("slow", job)
    assert await read(site, "slow") == contents
    assert {each.cause for each in await site.attempts("slow", job)} <= {Cause.DONE}


def held(site: Site) -> str:
    """Return the lines by which a command says that it has begun, and waits at the gate of its job."""
    return f"echo began; {gates.of_job(site.gates, '*')}"


async def begun(site: Site, pipeline: str, job: str) -> None:
    """Return once a command has printed its first line."""

    async def look() -> bool:
        with contextlib.suppress(errors.RequestRefusedError):
            lines = [line async for line in site.client.logs(pipeline, job)]
            return any("began" in line.line.text for line in lines)
        return False

    await installation.until(look, what="the first line of a command")
