"""The lock of each service's image: that part of the whole lock which it needs, and nothing else.

`--write` makes them anew, `--check` fails if one is not what it would make. What needs what is known from
what is installed here, so the whole lock is installed first (`make venv`).
"""

import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[2]
REQUIREMENTS = PROJECT / "requirements"
SERVICES = ("coordinator", "scaler", "worker-agent")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def entries(lock: str) -> dict[str, str]:
    """Return the entries of a lock, by name: a line that begins with one, and those that go on from it."""
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", lock.strip()):
        match = _NAME.match(entry)
        assert match is not None, entry
        found[canonicalize_name(match[0])] = entry
    return found


def needed(roots: list[str]) -> set[str]:
    """Return the names of all distributions that these need here, themselves included."""
    found: set[str] = set()
    waiting = [Requirement(each) for each in roots]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found:
            continue
        found.add(name)
        for text in metadata.requires(name) or []:
            further = Requirement(text)
            extras = [{"extra": extra} for extra in wanted.extras] or [{"extra": ""}]
            if further.marker is None or any(further.marker.evaluate(each) for each in extras):
                waiting.append(further)
    return found


def roots(service: str) -> list[str]:
    lines = (REQUIREMENTS / f"{service}.in").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def lock(service: str) -> str:
    """Return what the lock of a service is to be."""
    whole = entries((REQUIREMENTS / "dev.txt").read_text())
    return "".join(f"{whole[name]}\n" for name in sorted(needed(roots(service))))


def main() -> None:
    for service in SERVICES:
        path, wanted = REQUIREMENTS / f"{service}.txt", lock(service)
        if sys.argv[1:] == ["--write"]:
            path.write_text(wanted)
        elif not path.exists() or path.read_text() != wanted:
            sys.exit(f"{path.name} is out of date: run `make docs`")


if __name__ == "__main__":
    main()
