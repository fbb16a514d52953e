"""What is measured: the whole installation of the tests, with nodes by the hundred whose pods run nothing."""

import asyncio
import sys
import tempfile
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from tests.cluster import whole
from tests.cluster.kubelet.images import OURS, PAUSE, Image
from tests.cluster.plane.control_plane import ControlPlane
from tests.cluster.whole import USER_UID, Whole
from tests.support.installation import until

from bench.cluster import claimants
from bench.cluster.claimants import Claimants
from trunkline.bus import connection, logins
from trunkline.contracts import messages, records, subjects
from trunkline.contracts.wards import Ward
from trunkline.scaler.kubernetes import object_names, pods
from trunkline.scaler.kubernetes.api import Api

PAUSING, WORKING = "pausing", "working"
"""A pipeline whose pods run nothing, and one with real agents; nodes are labelled for either."""
_LABEL = "bench"


class Site:
    """The installation, with a scaler that times its rounds."""

    def __init__(self, made: Whole, rounds: Path) -> None:
        self.whole, self.rounds = made, rounds
        self.kubelet = made.kubelet
        namespace = made.pods.namespace.removesuffix("-workers")
        self.user = f"system:serviceaccount:{namespace}:trunkline-scaler"
        """As whom the scaler asks."""

    @property
    def scaler_cpu_s(self) -> float:
        """CPU seconds that the scaler has used."""
        return self.whole.scaler.cpu_s

    async def node(self, name: str, kind: str) -> None:
        """Have a node join."""
        await self.kubelet.add_node(name, labels={_LABEL: kind})

    async def apply(self, name: str, command: list[str], parallelism: Mapping[str, object]) -> None:
        """Apply a pipeline on the nodes of that kind, with a repo of its own."""
        await self.whole.repo(f"for-{name}")
        spec = {
            "pipeline": {"name": name},
            "transform": {"cmd": command, "image": "users"},
            "input": {"pfs": {"repo": f"for-{name}", "glob": "/*"}},
            "parallelism_spec": parallelism,
            "scheduling_spec": {"node_selector": {_LABEL: name}},
        }
        await self.whole.apply(spec)

    async def work(self, name: str, datums: int) -> None:
        """Give a pipeline's workers something to pull."""
        await self.whole.put(f"for-{name}", {f"/{number}": b"" for number in range(datums)})

    async def settled(self, name: str, count: int, within_s: float) -> records.Scaling:
        """Return what the scaler says once exactly so many workers are wanted, there and ready."""

        async def look() -> records.Scaling | None:
            found = await self.whole.scaling(name)
            if found is None or not count == found.want == found.have == found.ready:
                return None
            return found

        try:
            return await until(look, within_s=within_s, what=f"{count} workers of {name}")
        except AssertionError:
            sys.stderr.write(f"{await self.whole.scaling(name)}\n")
            raise

    async def decisions(self, name: str) -> list[messages.Event]:
        """Return what the scaler has decided."""
        listed = self.whole.client.every("event.list", messages.Event, key=name)
        return [each async for each in listed if each.kind == "scaled"]

    def real_agents(self) -> None:
        """Have pods run what they say, from now on."""
        self.kubelet.images.update({"agent": OURS, "users": Image(user=USER_UID)})

    @asynccontextmanager
    async def standing_in(self, name: str) -> AsyncIterator[Claimants]:
        """Claim for a pipeline's pods, by the credentials that the scaler has made for them."""
        made, core = self.whole.pods, self.whole.pods.core
        secret = object_names.credentials_name(name)

        async def look() -> dict[str, str] | None:
            listed = await core.list_namespaced_secret(made.namespace)
            return next((each.data for each in listed.items if each.metadata.name == secret), None)

        data = await until(look, within_s=60, what="credentials")
        texts = {key: b64decode(text).decode() for key, text in data.items()}
        path = self.rounds.parent / "stand-in.creds"
        path.write_text(texts[object_names.CREDS_KEY])
        ward = Ward(name, texts[object_names.WARD_KEY])
        url = logins.url_of(self.whole.server.address, path)
        inbox = subjects.worker_inbox(ward, "stand-in")
        async with (
            connection.connect(url, name="stand-in", inbox=inbox) as connected,
            claimants.standing_in(
                connected, ward, Api(core.api_client, made.namespace, pods.SELECTOR)
            ) as them,
        ):
            yield them


@asynccontextmanager
async def running(plane: ControlPlane) -> AsyncIterator[Site]:
    """Install all; leave nothing behind."""
    settings = {"TRUNKLINE_AGENT_IMAGE": "agent", "TRUNKLINE_RESYNC_S": "3"}
    with tempfile.TemporaryDirectory(prefix="tl-") as folder:
        async with whole.running(plane.kubeconfig, Path(folder), settings=settings) as made:
            made.kubelet.images.update({"agent": PAUSE, "users": PAUSE})
            rounds = Path(folder) / "rounds.json"
            made.scaler.kill()
            made.scaler.command = [sys.executable, "-m", "bench.cluster.rounds", str(rounds)]
            made.scaler.start()
            try:
                yield Site(made, rounds)
            except BaseException:
                sys.stderr.write(made.scaler.tail())
                raise


async def stopped(made: Site) -> list[tuple[int, float, float]]:
    """Stop the scaler; return its rounds."""
    await asyncio.to_thread(made.whole.scaler.stop)
    found: list[tuple[int, float, float]] = msgspec.json.decode(made.rounds.read_bytes())
    return found
