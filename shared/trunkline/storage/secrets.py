"""The secrets of an installation on one machine: a directory each, with a file per key.

    <state directory>/secrets/<name>/<key>      the value, mode 0600 in directories of mode 0700

The command line writes them, the coordinator reads their names, workers hand values over. Each file is
put into place whole. A secret that is replaced keeps its directory, since running workers may show that to
their commands: first the new keys come, one by one, then the old ones go. Killed in between, the secret
has some of both, and the command line is asked again.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from trunkline.contracts import errors, spec_checks

VALUE_MAX_BYTES = 1024 * 1024
"""Of a secret as a whole, as on Kubernetes."""


class TooLargeError(errors.TrunklineError):
    """A secret has too many bytes."""

    def __init__(self, name: str) -> None:
        super().__init__(f"secret {name!r} is larger than {VALUE_MAX_BYTES} bytes")
        self.name = name


class Secrets:
    """All secrets in a directory, which need not be there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def all(self) -> dict[str, tuple[str, ...]]:
        """Return the keys of each secret, both sorted."""
        with contextlib.suppress(FileNotFoundError):
            found = sorted(each.name for each in self._directory.iterdir() if _is_shown(each))
            return {name: self._keys(name) for name in found}
        return {}

    def place(self, name: str) -> Path:
        """Return the directory of a secret, which need not be there."""
        return self._directory / name

    def value(self, name: str, key: str) -> bytes:
        """Return a value; OSError if it is not there."""
        return (self._directory / name / key).read_bytes()

    def create(self, name: str, values: Mapping[str, bytes], *, replace: bool = False) -> None:
        """Write a secret.

        Raises:
            InvalidNameError: Its name, or that of a key, is none.
            AlreadyExistsError: It is there, and not to be replaced.
            TooLargeError: It is too large.
            OSError: It cannot be written.
        """
        spec_checks.object_name(name)
        for key in values:
            spec_checks.secret_key(key)
        if sum(map(len, values.values())) > VALUE_MAX_BYTES:
            raise TooLargeError(name)
        place = self.place(name)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            place.mkdir(mode=0o700)
        except FileExistsError:
            if not replace:
                raise errors.AlreadyExistsError("secret", name) from None
        for key, value in values.items():
            _write(place, key, value)
        for key in self._keys(name):
            if key not in values:
                (place / key).unlink()

    def remove(self, name: str) -> None:
        """Remove a secret; NotFoundError if there is none."""
        spec_checks.object_name(name)
        if not self.place(name).is_dir():
            raise errors.NotFoundError("secret", name)
        shutil.rmtree(self.place(name))

    def _keys(self, name: str) -> tuple[str, ...]:
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            return tuple(sorted(each.name for each in self.place(name).iterdir()))
        return ()


def _is_shown(place: Path) -> bool:
    try:
        spec_checks.object_name(place.name)
    except errors.InvalidNameError:
        return False
    return place.is_dir()


def _write(place: Path, key: str, value: bytes) -> None:
    """Put a file into place whole: written beside the secret's directory, then moved."""
    beside = place.parent / f".{place.name}.{os.getpid()}"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(value)
        beside.replace(place / key)
    finally:
        beside.unlink(missing_ok=True)
