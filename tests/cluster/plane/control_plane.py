"""A control plane on loopback: etcd, the API server, the controllers and the scheduler.

Its data lie in memory where the machine has `/dev/shm` (etcd syncs every write), its ports are free
ones. A free port may be taken by somebody else before the server that it was found for has it: then that
server ends at once, and all begins again with other ports.

Killed in the middle (`kill_api_server`) the API server comes back on the same port and the same data, and
with it the controllers and the scheduler are started anew. They would connect again by themselves, but each
waits twice as long after each failure, up to a minute, and forgets its failures only two minutes later:
after a few kills the next test would find nobody who makes a pod of a deployment or binds it to a node.
"""

import asyncio
import json
import shutil
import socket
import ssl
import tempfile
from pathlib import Path
from typing import Self

import aiohttp
from tests.cluster import leftovers
from tests.cluster.plane.credentials import PlaneCredentials
from tests.cluster.plane.process import Process

# A node that has not been heard of for this long is declared lost: four of the kubelet's heartbeats.
NODE_GRACE_S = 12
_TRIES = 3
_READY_S = 60
_FOLLOWERS = ("kube-controller-manager", "kube-scheduler")
# What only clouds and real kubelets need.
_NO_CONTROLLERS = [
    "nodeipam",
    "route",
    "cloud-node-lifecycle",
    "service",
    "csrsigning",
    "csrapproving",
    "csrcleaner",
]


class ControlPlane:
    """`with ControlPlane(programs) as plane`: ready when entered, gone when left.

    Args:
        programs: Where they lie.
        audited: Whether the API server writes each request that it has answered into `audit_log`.
    """

    def __init__(self, programs: Path, *, audited: bool = False) -> None:
        self._programs, self._audited = programs, audited
        memory = Path("/dev/shm")
        place = memory if memory.is_dir() else Path(tempfile.gettempdir())
        self.directory = leftovers.make(place, "plane")
        self.credentials = PlaneCredentials(self.directory)
        self.processes: dict[str, Process] = {}
        self.url = ""

    def __enter__(self) -> Self:
        try:
            self.credentials.make()
            for tried in range(1, _TRIES + 1):
                self._choose_ports()
                try:
                    self._start("etcd", "kube-apiserver")
                    asyncio.run(self.ready())
                    # Only now: started before, they would wait some ten seconds longer than it does.
                    self._start(*_FOLLOWERS)
                except ComponentEndedError:
                    self._stop()
                    if tried == _TRIES:
                        raise
                else:
                    break
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        shutil.rmtree(self.directory)

    @property
    def kubeconfig(self) -> Path:
        """The file by which an administrator reaches it."""
        return self.credentials.kubeconfig("admin", self.url)

    @property
    def kubectl(self) -> Path:
        """The client program that was built with it."""
        return self._programs / "kubectl"

    @property
    def audit_log(self) -> Path:
        """A line of JSON for each request: who, what, when. Empty unless `audited`."""
        return self.directory / "audit.log"

    def kill_api_server(self) -> None:
        """Kill it; what it knows is in etcd."""
        self.processes["kube-apiserver"].kill()

    async def restart_api_server(self) -> None:
        """Start it again on the same port and data, wait until it is ready, and start its followers anew."""
        self.processes["kube-apiserver"].start()
        await self.ready()
        for name in _FOLLOWERS:
            self.processes[name].kill()
        self._start(*_FOLLOWERS)

    async def ready(self) -> None:
        """Wait until the API server says that it is ready.

        Raises:
            ComponentEndedError: A component has ended instead.
        """
        context = ssl.create_default_context(cafile=str(self.credentials.authority))
        token = {"Authorization": f"Bearer {self.credentials.tokens['admin']}"}
        async with asyncio.timeout(_READY_S), aiohttp.ClientSession(headers=token) as session:
            while not await _says_ok(session, f"{self.url}/readyz", context):
                for name in ("etcd", "kube-apiserver"):
                    if not self.processes[name].running:
                        raise ComponentEndedError(self.processes[name])
                await asyncio.sleep(0.05)

    def _choose_ports(self) -> None:
        etcd_port, port = _free_port(), _free_port()
        self.url = f"https://127.0.0.1:{port}"
        etcd = f"http://127.0.0.1:{etcd_port}"
        commands = {
            "etcd": self._etcd(etcd),
            "kube-apiserver": self._api_server(etcd, port),
            "kube-controller-manager": self._controllers(),
            "kube-scheduler": self._scheduler(),
        }
        logs = self.directory / "logs"
        logs.mkdir(exist_ok=True)
        for name, command in commands.items():
            words = [str(self._programs / name), *command]
            self.processes[name] = Process(name, words, logs / f"{name}.log")

    def _start(self, *names: str) -> None:
        for name in names:
            self.processes[name].start()

    def _stop(self) -> None:
        """Stop all, the latest first, so that none waits for one that is gone."""
        for process in reversed(self.processes.values()):
            process.kill() if process.name in _STATELESS else process.stop()
        self.processes.clear()
        shutil.rmtree(self.directory / "etcd", ignore_errors=True)

    def _etcd(self, url: str) -> list[str]:
        peers = "http://127.0.0.1:0"  # it has none; nobody is told this port
        return [
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--logger=zap",
            "--log-level=warn",
        ]

    def _api_server(self, etcd: str, port: int) -> list[str]:
        files = self.credentials
        issuer = "https://trunkline-tests"
        return [
            *(self._audit() if self._audited else ()),
            f"--etcd-servers={etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={port}",
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={files.certificate}",
            f"--tls-private-key-file={files.key}",
            f"--token-auth-file={files.token_file}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--service-account-key-file={files.account_key}",
            f"--service-account-signing-key-file={files.account_key}",
            f"--service-account-issuer={issuer}",
            f"--api-audiences={issuer}",
            "--service-cluster-ip-range=10.96.0.0/16",
        ]

    def _audit(self) -> list[str]:
        """Return what has each request written down, its own components' excepted."""
        inner = ["system:apiserver", "system:kube-scheduler", "system:kube-controller-manager"]
        policy = {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [{"level": "None", "users": inner}, {"level": "Metadata"}],
        }
        path = self.directory / "audit-policy.json"
        path.write_text(json.dumps(policy))
        return [f"--audit-policy-file={path}", f"--audit-log-path={self.audit_log}"]

    def _controllers(self) -> list[str]:
        without = ",".join(f"-{name}" for name in _NO_CONTROLLERS)
        return [
            *self._client("system:kube-controller-manager"),
            f"--controllers=*,{without}",
            f"--service-account-private-key-file={self.credentials.account_key}",
            f"--root-ca-file={self.credentials.authority}",
            "--node-monitor-period=1s",
            f"--node-monitor-grace-period={NODE_GRACE_S}s",
        ]

    def _scheduler(self) -> list[str]:
        return self._client("system:kube-scheduler")

    def _client(self, user: str) -> list[str]:
        kubeconfig = self.credentials.kubeconfig(user, self.url)
        # They serve nobody, and have no twin to agree with.
        return [f"--kubeconfig={kubeconfig}", "--secure-port=0", "--port=0", "--leader-elect=false"]


_STATELESS = ("etcd", "kube-controller-manager", "kube-scheduler")
"""What is not worth a goodbye: their data are thrown away, or they have none."""


class ComponentEndedError(Exception):
    """A program of the control plane has ended by itself."""

    def __init__(self, process: Process) -> None:
        super().__init__(f"{process.name} has ended; the last that it said:\n{process.tail()}")


async def _says_ok(session: aiohttp.ClientSession, url: str, context: ssl.SSLContext) -> bool:
    try:
        async with session.get(url, ssl=context) as response:
            return await response.text() == "ok"
    except aiohttp.ClientError:
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
