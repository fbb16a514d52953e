"""The bootstrap job: `python -m trunkline.scaler.bootstrap --directory DIR`.

Makes all that operator mode needs, or what of it is missing; what it makes, and what a crash in between
leaves, stands in `bus.bootstrap`. Run by one at a time: it locks the directory.
"""

import argparse
import fcntl
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from trunkline.bus import bootstrap
from trunkline.contracts import errors
from trunkline.runtime.clock import SystemClock
from trunkline.scaler.shelves import Directory

RESOLVER_DIR = "/data/resolver"
"""Beside JetStream's files, on the volume that the server has anyway."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the job: print what was written, a name a line."""
    parser = argparse.ArgumentParser(prog="trunkline.scaler.bootstrap", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="where it is kept")
    parser.add_argument(
        "--resolver-dir", default=RESOLVER_DIR, help="where the server keeps accounts' claims"
    )
    parser.add_argument(
        "--rotate", default="", metavar="NAME", help=f"make anew: {', '.join(bootstrap.ROTATABLE)}"
    )
    given = parser.parse_args(arguments)
    shelf = Directory(given.directory)
    given.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (given.directory / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            written = bootstrap.run(
                shelf,
                bootstrap.Settings(resolver_dir=given.resolver_dir),
                now=SystemClock().wall_ns() // 10**9,
                new_secret=lambda: secrets.token_urlsafe(32),
                rotate=given.rotate,
            )
        except errors.TrunklineError as error:
            sys.exit(str(error))
    sys.stdout.write("".join(f"{name}\n" for name in written))


if __name__ == "__main__":
    main()
