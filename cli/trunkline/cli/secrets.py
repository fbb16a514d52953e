"""Verbs on the secrets of an installation on one machine: files in its state directory.

They need no installation that runs. Values are read from files or arguments, and never shown.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from trunkline.cli import render, session
from trunkline.cli.options import Asked
from trunkline.contracts import errors
from trunkline.storage.secrets import Secrets


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown of a secret."""

    name: str
    keys: tuple[str, ...]


class ElsewhereError(errors.TrunklineError):
    """The installation is reached by URLs, so its secrets are not in a directory of this machine."""

    def __init__(self) -> None:
        super().__init__(
            "secrets lie in the state directory of an installation on one machine: name that by --home;"
            " on Kubernetes use `kubectl create secret generic`"
        )


class InvalidLiteralError(errors.TrunklineError):
    """A literal is none; it is not repeated, since it may be the value."""

    def __init__(self) -> None:
        super().__init__("--from-literal needs KEY=VALUE")


class NoValuesError(errors.TrunklineError):
    """A secret would be empty, or a key has two values."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}: give each key once, by --from-literal KEY=VALUE or -f FILE")


def create(
    asked: Asked, name: str, files: Sequence[str], literals: Sequence[str], *, replace: bool
) -> None:
    """Write a secret."""
    with session.reporting():
        secrets = _secrets(asked)
        values = _values(files, literals)
        secrets.create(name, values, replace=replace)
        keys = tuple(sorted(values))
        done = f"secret {name} created with {', '.join(keys)}"
        render.done(asked, Listed(name=name, keys=keys), done)


def list_secrets(asked: Asked) -> None:
    """List names and keys."""
    with session.reporting():
        found = [Listed(name=name, keys=keys) for name, keys in _secrets(asked).all().items()]
        if not render.records(asked, found):
            render.table(
                asked, ("secret", "keys"), [(each.name, " ".join(each.keys)) for each in found]
            )


def delete(asked: Asked, name: str) -> None:
    """Remove a secret."""
    with session.reporting():
        secrets = _secrets(asked)
        keys = secrets.all().get(name, ())
        secrets.remove(name)
        render.done(asked, Listed(name=name, keys=keys), f"secret {name} deleted")


def _secrets(asked: Asked) -> Secrets:
    if asked.home is None and os.environ.get("TRUNKLINE_URL"):
        raise ElsewhereError
    return Secrets(session.home_of(asked.home).secrets)


def _values(files: Sequence[str], literals: Sequence[str]) -> dict[str, bytes]:
    """Return the values by key; of a file, its name is the key, or what stands before a `=`."""
    found: list[tuple[str, bytes]] = []
    for text in literals:
        key, equals, value = text.partition("=")
        if not equals:
            raise InvalidLiteralError
        found.append((key, os.fsencode(value)))
    for text in files:
        key, equals, path = text.rpartition("=")
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        found.append((key if equals else Path(path).name, data))
    if not found:
        raise NoValuesError("nothing is given")
    values = dict(found)
    if len(values) < len(found):
        raise NoValuesError("a key is given twice")
    return values
