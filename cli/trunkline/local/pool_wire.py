"""What is said on the pool's socket: one JSON object a line, requests one way, answers the other.

Each request carries a number that its answer repeats. A client that sent `Watch` also gets `Started`
and `Exited`, in the order in which they happen, between the answers. The socket's file is the
user's alone (0600), so whoever can connect may do everything.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

LINE_MAX_BYTES = 1 << 20
"""A longer line is no request of ours: the pool hangs up."""

_ADDRESS_MAX_BYTES = 100
"""What fits into a socket address everywhere (108 on Linux, 104 on macOS)."""


class Create(msgspec.Struct, frozen=True, kw_only=True, tag="create"):
    """Start a worker of this name; refused as `exists` while one of the name is not gone."""

    id: int
    name: str
    environ: dict[str, str]
    """`TRUNKLINE_...` of the worker; the rest of its environment is the pool's own."""
    labels: dict[str, str] = {}
    """Told again in every list; the pool does not look at them."""


class Delete(msgspec.Struct, frozen=True, kw_only=True, tag="delete"):
    """SIGTERM now, SIGKILL after the grace. Answered at once; no worker of the name is no error."""

    id: int
    name: str
    grace_s: float = 30.0


class List(msgspec.Struct, frozen=True, kw_only=True, tag="list"):
    """Tell which workers there are."""

    id: int


class Watch(msgspec.Struct, frozen=True, kw_only=True, tag="watch"):
    """Tell from now on what starts and ends; the answer is the list as of now."""

    id: int


Request = Create | Delete | List | Watch


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's process."""

    name: str
    pid: int
    created_ns: int
    """Wall clock."""
    labels: dict[str, str]
    stopping: bool = False
    """Whether it was told to end."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="answer"):
    """What came of a request."""

    id: int
    code: str = ""
    """Empty: done. Else `exists`, `invalid`, `refused` (by the system), or `stopping`."""
    text: str = ""
    workers: tuple[Process, ...] = ()


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """A worker's process is there."""

    worker: Process


class Exited(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="exited"):
    """A worker's process, and all that it had started, is gone."""

    worker: Process
    exit_code: int | None = None
    signal: int | None = None
    lived_s: float = 0.0


Told = Answer | Started | Exited


@contextlib.contextmanager
def address(path: Path) -> Iterator[str]:
    """Return the path as a socket's address, also where it is longer than an address may be."""
    if len(os.fsencode(path)) <= _ADDRESS_MAX_BYTES:
        yield os.fspath(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
