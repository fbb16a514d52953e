"""The scaler's own process, killed at every bad moment, and before an API server that fails it.

Pods run nothing here: what is asked is how many were ever made. A pod too many would have to drain first,
which takes seconds, so whoever looks all the time sees it.
"""

import asyncio
import contextlib
import json
import random
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from kubernetes_asyncio import client
from tests.cluster import faults
from tests.cluster.faults import FaultProxy
from tests.cluster.kubelet import images
from tests.cluster.plane.control_plane import ControlPlane
from tests.cluster.whole import Whole
from tests.support.installation import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

PODS = "/pods$"
IDLE = {"TRUNKLINE_AGENT_IMAGE": "idle"}
AWAY = (client.ApiException, aiohttp.ClientError, OSError)


class Watched:
    """A pipeline whose pods are looked at all the time."""

    def __init__(self, installed: Whole) -> None:
        self._installed, self.name = installed, installed.name("idle")
        self.ever: set[str] = set()
        """Of all pods that have been seen."""

    async def want(self, count: int) -> None:
        """Ask for so many workers, and wait for nothing."""
        await self._installed.pipeline(
            "idle",
            "true",
            repo=self._installed.name("texts"),
            parallelism_spec={"constant": count},
            transform={"image": "idle"},
        )

    async def come(self, count: int) -> None:
        """Return once so many pods are there."""

        async def look() -> bool:
            return len(await self.there()) >= count

        await until(look, within_s=60, what=f"{count} pods of {self.name}")

    async def there(self) -> set[str]:
        """Return the names of pods; none while the server is away."""
        with contextlib.suppress(*AWAY):
            found = await self._installed.pods_of(self.name)
            self.ever |= {each.metadata.uid for each in found}
            return {each.metadata.name for each in found}
        return set()

    async def look_on(self) -> None:
        """Look for ever."""
        while True:
            await self.there()
            await asyncio.sleep(0.05)


@asynccontextmanager
async def watched(installed: Whole) -> AsyncIterator[Watched]:
    installed.kubelet.images["idle"] = images.PAUSE
    await installed.new_repo("texts")
    await installed.add_nodes(3)
    made = Watched(installed)
    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(made.look_on(), name="look-on")
        yield made
        looking.cancel()


@asynccontextmanager
async def failing(installed: Whole, folder: Path) -> AsyncIterator[FaultProxy]:
    """Put a proxy between the scaler and the API server."""
    environ = installed.scaler.environ
    assert environ is not None
    said = json.loads(Path(environ["KUBECONFIG"]).read_text())
    server, token = said["clusters"][0]["cluster"], said["users"][0]["user"]["token"]
    authority = b64decode(server["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    async with faults.before(server["server"], context) as proxy:
        path = proxy.kubeconfig(token, folder / "failing.kubeconfig")
        await installed.restart_scaler(KUBECONFIG=str(path), **IDLE)
        yield proxy
        installed.scaler.kill()


def reborn(installed: Whole) -> None:
    """Kill the scaler, and start it again."""
    installed.scaler.kill()
    installed.scaler.start()


async def test_a_scaler_killed_between_a_creation_and_its_answer_leaves_no_pod_too_many(
    installed: Whole, tmp_path: Path
) -> None:
    """1. Three are wanted; the server makes them, its answers are held. 2. The scaler is killed before it knows.
    3. Its successor finds them.
    """
    async with watched(installed) as pods, failing(installed, tmp_path) as proxy:
        rule = proxy.add(faults.hold(PODS, method="POST", times=3))
        await pods.want(3)
        await pods.come(3)
        reborn(installed)
        await installed.scaler_ready()
        await pods.want(5)
        await pods.come(5)
        assert rule.held is not None
        rule.held.set()
        assert len(pods.ever) == 5


async def test_a_scaler_whose_watches_are_cut_expire_or_freeze_makes_what_is_wanted_once(
    installed: Whole, tmp_path: Path
) -> None:
    async with watched(installed) as pods, failing(installed, tmp_path) as proxy:
        await pods.want(2)
        await pods.come(2)
        expired = proxy.add(faults.expire(PODS))
        proxy.add(faults.refuse(500, PODS))
        proxy.cut_watches()
        await pods.want(4)
        await pods.come(4)
        async with asyncio.timeout(20):
            await expired.met.wait()
        proxy.flowing.clear()  # late from here on
        await pods.want(6)
        await pods.come(6)
        core = installed.pods.core
        lost = min(await pods.there())
        await core.delete_namespaced_pod(
            lost, installed.pods.namespace, body={"gracePeriodSeconds": 0}
        )
        proxy.flowing.set()
        await pods.come(6)
        assert len(pods.ever) == 7  # the one in the place of that which somebody has deleted


async def test_a_scaler_that_outlives_a_crash_of_the_server_makes_what_is_wanted_once(
    installed: Whole, own_plane: ControlPlane
) -> None:
    """The server is killed amid the creations."""
    async with watched(installed) as pods:
        await installed.restart_scaler(**IDLE)
        await pods.want(12)
        await pods.come(1)
        own_plane.kill_api_server()
        await own_plane.restart_api_server()
        await pods.come(12)
        assert len(pods.ever) == 12


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))]
)
async def test_a_scaler_killed_at_any_moment_leaves_none_too_many_and_none_too_few(
    installed: Whole, seed: int
) -> None:
    chance = random.Random(seed)
    async with watched(installed) as pods:
        await installed.restart_scaler(**IDLE)
        for count in (4, 9, 15):
            await pods.want(count)
            await asyncio.sleep(chance.uniform(0, 0.4))
            reborn(installed)
        await pods.come(15)
        await installed.scaler_ready()
        assert len(pods.ever) == 15
