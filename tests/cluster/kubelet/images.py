"""What stands for images: a table that says, for a name, what a container of it sees and runs."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROJECT = Path(__file__).parents[3]

HOST = tuple(
    place for place in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc") if Path(place).exists()
)
"""The directories of the host that make a Debian of a container's root."""

PYTHON = (*HOST, sys.base_prefix, sys.prefix, str(_PROJECT))
"""Those, with this interpreter, its packages and the project."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """What a registry would hold."""

    directories: tuple[str, ...] = HOST
    """Of the host's; they are seen under the same name, and cannot be written to."""
    entrypoint: tuple[str, ...] = ()
    """Run where the container has no `command`."""
    env: Mapping[str, str] = field(default_factory=dict)
    user: int = 0
    """The user id where the pod asks for none."""
    workdir: str = "/"
    runs: bool = True
    """False: nothing is run, the container just is, and an init step is done; for pods by the hundred."""


def with_gates(kubelet: Path, user: int) -> tuple[Image, Path]:
    """Return an image of somebody's commands, and the folder in which these see whether a gate is open."""
    gates = kubelet / "gates"
    gates.mkdir()
    gates.chmod(0o755)
    return Image(user=user, directories=(*HOST, str(gates))), gates


DEBIAN = Image()
"""A shell and the usual tools."""

OURS = Image(directories=PYTHON, env={"PATH": f"{sys.prefix}/bin:{_PATH}"})
"""Any image that is built from this project; `command: [python, -m, trunkline.scaler]` works."""

PAUSE = Image(runs=False)


class Images(dict[str, Image]):
    """The registry: a name that it lacks cannot be pulled."""


def usual() -> Images:
    """Return a table with `debian`, `ours` and `pause`, to which a test adds its own."""
    return Images(debian=DEBIAN, ours=OURS, pause=PAUSE)


def environment(image: Image, hostname: str) -> dict[str, str]:
    """Return what a container has in its environment before the pod has said anything."""
    return {"PATH": _PATH, "HOSTNAME": hostname, "HOME": "/", **image.env}
