"""The supervisor as a process of its own: `python -m trunkline.local --home DIR`."""

import argparse
import logging
import os
import sys
from pathlib import Path

from trunkline.contracts import errors
from trunkline.local import home as homes
from trunkline.local import stack
from trunkline.runtime import logs, stopping

log = logging.getLogger("trunkline.local")


def main() -> None:
    """Run an installation until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m trunkline.local")
    parser.add_argument("--home", type=Path, default=homes.default_root(os.environ))
    parser.add_argument("--nodes", type=int)
    parser.add_argument("--port", type=int)
    parser.add_argument("--servers", type=int)
    parser.add_argument("--store", default=os.environ.get("TRUNKLINE_STORE") or None)
    parser.add_argument("--standbys", action="store_true")
    asked = parser.parse_args()
    logs.configure("supervisor")
    home = homes.Home(asked.home)
    try:
        stopping.run(
            stack.serve(
                home,
                nodes=asked.nodes,
                port=asked.port,
                servers=asked.servers,
                store=asked.store,
                standbys=asked.standbys,
                tell=log.info,
            )
        )
    except* errors.TrunklineError as group:
        for error in group.exceptions:
            log.error("cannot run", extra={"reason": str(error)})  # noqa: TRY400 - told, not traced
        sys.exit(1)


if __name__ == "__main__":
    main()
