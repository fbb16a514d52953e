"""The scaler's own entry point, for a cluster that it reaches by itself: Kubernetes.

On one machine the cluster is the process pool, and the entry point `trunkline.local.scaler`.
"""

import os

from trunkline.runtime import ending, logs, stopping


def main() -> None:
    """Entry point of the container."""
    logs.configure("scaler")
    # only here: it costs seconds and 100 MB to import
    from trunkline.scaler.kubernetes import installed  # noqa: PLC0415

    stopping.run(installed.run(os.environ))


if __name__ == "__main__":
    ending.run(main)
