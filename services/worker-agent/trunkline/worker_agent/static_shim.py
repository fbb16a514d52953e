"""The static shim's binaries, which come with this package: found, and handed to a pod's user container.

`python -m trunkline.worker_agent.static_shim /trunk` puts the one for this machine into a directory, as the
init step of a worker's pod does with a volume that both containers mount. It is written beside its place
and renamed, so that whoever finds it finds all of it.
"""

import os
import shutil
import sys
from pathlib import Path

from trunkline.contracts import errors

NAME = "shim"
"""What it is called where it is handed over."""

_BINARIES = Path(__file__).parent / "bin"


class ShimNotBuiltError(errors.TrunklineError):
    """There is no binary for a machine."""

    def __init__(self, machine: str) -> None:
        super().__init__(f"there is no static shim for {machine} here: `make shim` builds it")
        self.machine = machine


def binary(machine: str = "") -> Path:
    """Return the binary for a machine (`x86_64`, `aarch64`), this one if none is named.

    Raises:
        ShimNotBuiltError: it is not there.
    """
    machine = machine or os.uname().machine
    path = _BINARIES / f"shim-{machine}"
    if not path.exists():
        raise ShimNotBuiltError(machine)
    return path


def hand_over(directory: Path) -> Path:
    """Put the binary for this machine into a directory, for anybody to execute; return where it is."""
    place = directory / NAME
    beside = directory / f".{NAME}"
    shutil.copyfile(binary(), beside)
    beside.chmod(0o555)
    beside.replace(place)
    return place


if __name__ == "__main__":
    hand_over(Path(sys.argv[1]))
