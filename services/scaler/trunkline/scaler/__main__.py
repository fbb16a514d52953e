"""The scaler's own entry point, for a cluster that it reaches by itself: `TRUNKLINE_CLUSTER=kubernetes`.

On one machine the cluster is the process pool, and the entry point `trunkline.local.scaler`.
"""

import os
import sys

from trunkline.runtime import ending, logs, stopping


def main() -> None:
    """Entry point of the container."""
    logs.configure("scaler")
    kind = os.environ.get("TRUNKLINE_CLUSTER", "kubernetes")
    if kind != "kubernetes":
        sys.exit(
            f"TRUNKLINE_CLUSTER={kind!r} is no cluster that is scaled on from here; on one machine, "
            "run `python -m trunkline.local.scaler`"
        )
    # only here: it costs seconds and 100 MB to import
    from trunkline.scaler.kubernetes import installed  # noqa: PLC0415

    stopping.run(installed.run(os.environ))


if __name__ == "__main__":
    ending.run(main)
