"""The first step of a worker's pod, with our image: what the user's container is to find.

    python -m trunkline.worker_agent.init_step <volume for the shim> <home of the agent>

The static shim goes into a volume that both containers see and neither may write to. The directory that
the user's container has as /pfs must be there before that container is made, and stay the same one (see `files`):
nobody else may make it, or it would belong to root. A pod that is started again on its node repeats
all of it.
"""

import os
import sys
from pathlib import Path

from trunkline.worker_agent import static_shim

PFS = "pfs"


def prepare(tools: Path, home: Path) -> None:
    """Hand over the shim, and make the directory."""
    static_shim.hand_over(tools)
    os.umask(0o002)
    (home / PFS).mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), Path(sys.argv[2]))
