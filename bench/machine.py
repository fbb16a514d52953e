"""On what it was measured: versions, the commit, the machine and how busy it was."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from bench import environments
from trunkline.local import server

PACKAGES = ("trunkline", "nats-py", "msgspec", "uvloop", "obstore")


def described() -> dict[str, object]:
    """Return all that a figure is worth little without."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "changed": bool(_git("status", "--porcelain")),
        "cores": os.cpu_count(),
        "processor": _field(Path("/proc/cpuinfo"), "model name"),
        "memory": _field(Path("/proc/meminfo"), "MemTotal"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "nats-server": _printed(str(server.find_binary(os.environ)), "--version"),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "peers": {name: path.read_text().split() for name, path in environments.PEERS.items()},
    }


def load() -> float:
    """Return how many processes wanted to run in the last minute."""
    return os.getloadavg()[0]


def _git(*command: str) -> str:
    return _printed("git", "-C", str(environments.ROOT), *command)


def _printed(*command: str) -> str:
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.strip()


def _field(path: Path, name: str) -> str:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
