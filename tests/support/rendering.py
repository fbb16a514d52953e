"""Manifests as kustomize renders them, by the newest kubectl that the lock has; the oldest in use does it in tests/cluster."""

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
def rendered(kustomization: str, kubectl: Path = KUBECTL) -> tuple[Object, ...]:
    """Return the objects of a kustomization, such as `overlays/dev`."""
    words = [str(kubectl), "kustomize", str(MANIFESTS / kustomization)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.load_all(done.stdout, _Loader))


def name(of: Mapping[str, Any]) -> str:
    """Return kind, namespace and name of an object."""
    meta = of["metadata"]
    return f"{of['kind']} {meta.get('namespace', '')}/{meta['name']}"
