"""The Dockerfiles, and their steps taken in directories that stand for the roots of images: no engine is needed."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support.service_locks import PROJECT, SERVICES

COMMON = "services/Dockerfile"
SHIM = "services/worker-agent/shim/Dockerfile"
FILES = [*(f"services/{service}/Dockerfile" for service in SERVICES), SHIM]
_STEP_S = 900
"""The shim's compiler compiles its C library first, each time that it is installed anew."""


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


def of(service: str) -> str:
    """Return the file of a service."""
    return f"services/{service}/Dockerfile"


def copies(stage: list[Step]) -> Iterator[tuple[str, str]]:
    """Yield what a stage copies out of the project, and where to."""
    for step in stage:
        if step.word == "COPY" and not step.rest.startswith("--from"):
            source, target = step.rest.split()
            yield source, target


def own(service: str) -> list[Step]:
    """Return the stage in which a service's packages and rooms are put together."""
    return next(stage for stage in stages(of(service)) if stage[0].rest.endswith("AS own"))


def said(stage: list[Step], word: str) -> list[str]:
    """Return what follows a word in a stage, such as USER."""
    return [step.rest for step in stage if step.word == word]


def build(path: str, folder: Path, named: Mapping[str, Path]) -> Path:
    """Take all steps of a file; return the root of its image.

    Args:
        path: Of the file.
        folder: Where roots are made; empty.
        named: Roots of images by the arguments that name them in `FROM`; others are empty.
    """
    roots: dict[str, Path] = {}
    root = folder
    for number, stage in enumerate(stages(path)):
        base, _, name = stage[0].rest.partition(" AS ")
        root = folder / (name or str(number))
        source = named.get(base.strip("${}"))
        if source is None:
            root.mkdir(parents=True)
        elif name and len(stage) == 1:  # it gives a name, and changes nothing
            root = source
        else:
            shutil.copytree(source, root, symlinks=True)
        roots[name] = root
        for step in stage[1:]:
            take(step, root, roots)
    return root


def take(step: Step, root: Path, roots: Mapping[str, Path]) -> None:
    """Take a step in a directory in place of the image's root."""
    if step.word == "COPY":
        *source, target = step.rest.split()
        stage, place = PROJECT, source[-1]
        if len(source) == 2:
            stage = roots[source[0].removeprefix("--from=")]
        _copy(stage / place.lstrip("/"), root / target.lstrip("/"))
    elif step.word == "RUN":
        program, *words = [
            f"{root}{word}" if word.startswith("/") else word for word in step.rest.split()
        ]
        programs = {"python": sys.executable, "sh": "/bin/sh"}
        subprocess.run([programs[program], *words], check=True, timeout=_STEP_S)
    else:
        assert step.word in ("ENV", "LABEL", "USER", "ENTRYPOINT")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if PROJECT in source.parents and source.is_dir():  # as .dockerignore says
        ignored = shutil.ignore_patterns("__pycache__", "bin")
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=ignored)
    else:
        whole = ["cp", "-a", "--no-target-directory", "--remove-destination"]
        subprocess.run([*whole, str(source), str(target)], check=True)
