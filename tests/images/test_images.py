"""Images as their Dockerfiles say, step by step without an engine: what is in them, and that they run as pods run them.

A container of the process kubelet stands for the engine's: of the host it sees the base image's directories (a Debian and its Python), and
the image's own at their places; nothing can be written to but /tmp, and the process is nobody in particular.
"""

import json
import re
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path

import aiohttp
import pytest
from packaging.utils import canonicalize_name
from tests.cluster.kubelet import images, sandbox
from tests.cluster.kubelet.memory import Unlimited
from tests.cluster.kubelet.sandbox import Mount, Plan, Sandbox
from tests.images.conftest import Built, Weight
from tests.support import dockerfiles, service_locks
from tests.support.dockerfiles import COMMON, stages
from tests.support.installation import until
from tests.support.service_locks import PROJECT, SERVICES

NOBODY = 10001
NOWHERE = "nats://user:word@127.0.0.1:9"
"""Where nothing listens: a service that waits for its server is alive."""
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:9"}}],
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
    "users": [{"name": "none", "user": {}}],
    "current-context": "none",
}
TOLD = {
    "coordinator": {"CTL_URL": NOWHERE, "DATA_URL": NOWHERE, "DATA_KEY": "key"},
    "scaler": {
        "CTL_URL": NOWHERE,
        "DATA_URL": NOWHERE,
        "DATA_KEY": "key",
        "AGENT_IMAGE": "agent",
        "WORKER_NATS_URL": NOWHERE,
    },
    "worker-agent": {
        "DATA_URL": NOWHERE,
        "PIPELINE": "words",
        "WARD": "abcdefgh01234567",
        "WORKER": "words-1",
        "CODE_HASH": "hash",
        "HOME_DIR": "/tmp/home",
        "SHIM_SOCKET": "/tmp/agent.sock",
    },
}


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(service: str, built: Built) -> Path:
    return built(service)


def environ(service: str) -> dict[str, str]:
    """Return what a container has in its environment: of the runtime, and of its image."""
    found: dict[str, str] = {}
    for path in (COMMON, dockerfiles.of(service)):
        for line in dockerfiles.said(stages(path)[-1], "ENV"):
            found |= dict(each.split("=", 1) for each in line.split())
    return images.environment(images.Image(env=found), service)


@asynccontextmanager
async def container(
    service: str, root: Path, folder: Path, command: list[str], **told: str
) -> AsyncIterator[Sandbox]:
    """Run something in a container of a service's image."""
    scratch = folder / "tmp"
    scratch.mkdir(mode=0o777)
    scratch.chmod(0o777)
    (scratch / "kubeconfig").write_text(json.dumps(KUBECONFIG))
    own = [
        Mount(source=str(each), target=f"/{each.name}", read_only=True) for each in root.iterdir()
    ]
    plan = Plan(
        command=command,
        env={**environ(service), **told},
        directories=(*images.HOST, sys.base_prefix),
        mounts=[*own, Mount(source=str(scratch), target="/tmp")],
        uid=NOBODY,
        gid=NOBODY,
        drop_all=True,
        no_new_privileges=True,
        read_only_root=True,
    )
    running = await sandbox.start(plan, folder / "container", folder / "log", Unlimited())
    try:
        yield running
    finally:
        running.send(9)
        await running.wait()
        running.close()


def entry(service: str) -> list[str]:
    (said,) = dockerfiles.said(stages(dockerfiles.of(service))[-1], "ENTRYPOINT")
    command: list[str] = json.loads(said)
    return command


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


async def alive(port: int) -> bool:
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/livez") as response,
        ):
            return response.status == 200
    except aiohttp.ClientError:
        return False


def test_an_image_holds_the_packages_of_its_lock_and_no_others(root: Path, service: str) -> None:
    (site,) = (root / "venv/lib").glob("python*/site-packages")
    there = {canonicalize_name(each.name) for each in metadata.distributions(path=[str(site)])}
    lock = service_locks.REQUIREMENTS / f"{service}.txt"
    wanted = service_locks.entries(lock.read_text()).keys()
    assert there <= wanted
    assert wanted - there <= {"tzdata"}  # which other systems need


def test_an_image_holds_what_all_have_and_its_own_code(root: Path, service: str) -> None:
    shared = {each.name for each in (PROJECT / "shared/trunkline").iterdir() if each.is_dir()}
    rooms = {each.name for each in (root / "opt/trunkline/trunkline").iterdir()}
    assert rooms - shared == {service.replace("-", "_")}
    assert {each.name for each in root.iterdir()} <= {"venv", "opt", "requirements.txt"}


def test_all_code_is_compiled_and_taken_as_it_was_compiled(root: Path) -> None:
    for place in ("venv/lib", "opt/trunkline"):
        sources = list((root / place).rglob("*.py"))
        assert len(sources) > 20
        for each in sources:
            (compiled,) = (each.parent / "__pycache__").glob(f"{each.stem}.cpython-*.pyc")
            assert (
                compiled.read_bytes()[4:8] == b"\1\0\0\0"
            )  # by hash, and not compared with its source


async def test_a_service_is_alive_as_nobody_where_nothing_can_be_written(
    root: Path, service: str, tmp_path: Path
) -> None:
    port = free_port()
    told = {**TOLD[service], "STORE": "file:///tmp/store", "PROBE_PORT": str(port)}
    settings = {f"TRUNKLINE_{name}": text for name, text in told.items()}
    log = tmp_path / "log"
    async with container(
        service, root, tmp_path, entry(service), KUBECONFIG="/tmp/kubeconfig", **settings
    ) as running:
        try:
            await until(lambda: alive(port), what="/livez")
        except AssertionError:
            pytest.fail(log.read_text())
        status = Path(f"/proc/{running.pid}/status").read_text()
        assert (
            re.findall(r"^[UG]id:\t(\d+)\t\1\t\1\t\1$", status, re.MULTILINE) == [str(NOBODY)] * 2
        )
        assert re.findall(r"^CapEff:\t(\d+)$", status, re.MULTILINE) == ["0" * 16]
        running.send(15)
        code, _ = await running.wait()
    assert code == 0, log.read_text()
    assert "Read-only file system" not in log.read_text()


async def test_an_agents_image_hands_over_the_shim(built: Built, tmp_path: Path) -> None:
    """As the first step of a worker pod does it, with what the pod says of it."""
    words = ["python", "-m", "trunkline.worker_agent.init_step", "/tmp", "/tmp/home"]
    root = built("worker-agent")
    async with container("worker-agent", root, tmp_path, words) as running:
        code, _ = await running.wait()
        assert code == 0, (tmp_path / "log").read_text()
        files = [each for each in (tmp_path / "tmp").iterdir() if each.is_file()]
        assert [each.read_bytes()[:4] for each in files if each.name != "kubeconfig"] == [
            b"\x7fELF"
        ]


def test_the_shims_image_holds_a_shim_for_each_machine_and_nothing_else(shim: Path) -> None:
    files = sorted(str(each.relative_to(shim)) for each in shim.rglob("*") if each.is_file())
    assert files == ["bin/shim-aarch64", "bin/shim-x86_64"]
    assert sum((shim / each).stat().st_size for each in files) < 200_000


def test_images_weigh_what_the_page_says(weight: Callable[[str], Weight], service: str) -> None:
    page = (PROJECT / "docs" / "kubernetes.md").read_text()
    ((packages, code),) = re.findall(
        rf"^\| `trunkline/{service}` \| ([\d.]+) \| ([\d.]+) \|", page, re.MULTILINE
    )
    found = weight(service)
    assert found.packages == pytest.approx(float(packages), rel=0.15)
    assert found.code == pytest.approx(float(code), rel=0.15)
