"""The scaler's own entry point, for a cluster that it reaches by itself.

On one machine the cluster is the process pool, and the entry point `trunkline.local.scaler`.
"""

import sys

from trunkline.runtime import logs


def main() -> None:
    """Entry point of the container."""
    logs.configure("scaler")
    sys.exit("no cluster to scale on; on one machine, run `python -m trunkline.local.scaler`")


if __name__ == "__main__":
    main()
