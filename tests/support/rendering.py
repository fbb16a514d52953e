"""Manifests as kustomize renders them, by the newest kubectl, which the lock has."""

import functools
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

MANIFESTS = Path(__file__).parents[2] / "manifests"
KUSTOMIZATIONS = ("base", "overlays/dev", "overlays/prod")
KUBECTL = Path(sys.prefix) / "bin" / "kubectl"

_Loader = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # dashboards take Python's own ten times as long

Object = dict[str, Any]
"""An object of the API."""


@functools.cache
def rendered(kustomization: str) -> tuple[Object, ...]:
    """Return the objects of a kustomization, such as `overlays/dev`."""
    return tuple(yaml.load_all(text(MANIFESTS / kustomization), _Loader))


def text(folder: Path) -> str:
    """Return what a kustomization makes; a warning is a fault, as what is deprecated goes some day."""
    words = [str(KUBECTL), "kustomize", str(folder)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def name(of: Mapping[str, Any]) -> str:
    """Return kind, namespace and name of an object."""
    meta = of["metadata"]
    return f"{of['kind']} {meta.get('namespace', '')}/{meta['name']}"
