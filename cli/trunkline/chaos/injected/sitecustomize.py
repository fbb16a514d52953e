"""Run by Python itself at the start of a process whose PYTHONPATH leads here; see `chaos.inside`."""

import os
from pathlib import Path

if "TRUNKLINE_CHAOS" in os.environ:
    from trunkline.chaos import inside

    inside.install(Path(os.environ["TRUNKLINE_CHAOS"]))
