"""The images, built once a run without an engine, and what they weigh, told at the end."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support import dockerfiles
from tests.support.dockerfiles import COMMON, SHIM

Built = Callable[[str], Path]
_weights = pytest.StashKey[dict[str, "Weight"]]()


class Weight(NamedTuple):
    """What an image adds to the Python that it starts from, in MB."""

    packages: float
    code: float


def pytest_collection_modifyitems(items):
    """Packages are fetched and compiled, and so is the shim: minutes on a slow machine."""
    for item in items:
        if "tests/images" in str(item.path):
            item.add_marker(pytest.mark.timeout(1500))


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of the shim's image."""
    return dockerfiles.build(SHIM, tmp_path_factory.mktemp("shim"), {})


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of what all services' images start from."""
    return dockerfiles.build(COMMON, tmp_path_factory.mktemp("common"), {})


@pytest.fixture(scope="session")
def built(
    common: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Built:
    """Return the root of a service's image."""
    roots: dict[str, Path] = {}
    weights = request.config.stash.setdefault(_weights, {})

    def root(service: str) -> Path:
        if service not in roots:
            named = {"SERVICE": common}
            if service == "worker-agent":
                named["SHIM"] = request.getfixturevalue("shim")
            folder = tmp_path_factory.mktemp(service)
            found = dockerfiles.build(dockerfiles.of(service), folder, named)
            weights[service] = Weight(_weighed(found / "venv"), _weighed(found / "opt"))
            roots[service] = found
        return roots[service]

    return root


@pytest.fixture
def weight(request: pytest.FixtureRequest, built: Built) -> Callable[[str], Weight]:
    """Return what a service's image weighs."""

    def of(service: str) -> Weight:
        built(service)
        return request.config.stash[_weights][service]

    return of


def pytest_terminal_summary(terminalreporter, config):
    for service, weight in config.stash.get(_weights, {}).items():
        terminalreporter.write_line(
            f"image of {service}: packages {weight.packages:.1f} MB, code {weight.code:.1f} MB"
        )


def _weighed(folder: Path) -> float:
    files = (each for each in folder.rglob("*") if each.is_file() and not each.is_symlink())
    return sum(each.stat().st_size for each in files) / 1e6
